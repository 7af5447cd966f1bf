"""The few-shot curve: draws, budget, refusals, interruption, results."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny
from typed import typed

from pgsam_monai.base.child_processes import Cost
from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands import main as cli
from pgsam_monai.commands.values import seed_numbers
from pgsam_monai.evaluation.few_shot import do_run, make_curve, run_curves, runs_of
from pgsam_monai.evaluation.few_shot_results import (
    Row,
    by_cases,
    draw_curves,
    draw_panels,
    read_rows,
    spread,
    write_results,
)
from preprocess.splits.few_shot import BY_SEED_ALONE, few_shot_splits
from preprocess.splits.records import Splits

COST = Cost(wall_s=3.0, cpu_s=2.5)


def subset(record, cases, seed):
    return few_shot_splits(Splits.from_json(record), cases, seed).to_json()


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("few_shot")
    folder = write_nnunet(work / "Dataset001_Pair", cases=8, shape=(40, 36, 6))
    return plan_tiny(folder, work, "epochs=2")


def curve_of(bundle, folder, **changes):
    options = {"cases": (1, 3), "seeds": (0, 1), "overrides": {}} | changes
    return make_curve(bundle, subset, folder=folder, **options)


class Fake:
    """Stands in for the processes: notes the commands, writes what they would; fails at the `fail`-th."""

    def __init__(self, fail=None):
        self.commands, self.fail = [], fail

    def __call__(self, command, *, log, threads, held, gpu):
        self.commands.append(command)
        self.threads = threads
        if len(self.commands) == self.fail:
            raise UserFault("exit status 1: no luck")
        flags = dict(zip(command[5::2], command[6::2], strict=True))
        if command[3] == "train":
            write(Path(flags["--ckpt_dir"]) / "checkpoint_last.pt", "half")
        else:
            splits = json.loads(Path(flags["--splits_file"]).read_text())
            dice = 0.1 * len(splits["folds"][0]["training"]) + 0.01 * int(flags["--seed"])
            scores = {"mean": dice, "left": dice + 0.1, "right": None}
            summary = [{"label": label, "metric": "dice", "mean": mean} for label, mean in scores.items()]
            write(Path(flags["--output_dir"]) / "validation/metrics.json", json.dumps({"summary": summary}))
        return COST

    @property
    def done(self):
        return [(command[3], Path(self.flag(command, "--output_dir")).name) for command in self.commands]

    @staticmethod
    def flag(command, name):
        return command[command.index(name) + 1]


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_every_run_draws_and_seeds_and_has_the_same_budget(planned, tmp_path):
    curve, fake = curve_of(planned, tmp_path / "curve", overrides={"epochs": 5}), Fake()
    run_curves([curve], call=fake, say=lambda line: None)
    assert [Fake.flag(command, "--seed") for command in fake.commands] == ["0"] * 4 + ["1"] * 4
    for command in fake.commands:
        assert Fake.flag(command, "--epochs") == "5" and "--iterations_per_epoch" not in command
        assert (
            Fake.flag(command, "--model_selection") == "last" and Fake.flag(command, "--val_interval") == "5"
        )
    assert Fake.flag(fake.commands[0], "--resume") == "True" and "--resume" not in fake.commands[1]
    for seed in curve.seeds:
        small, large = (
            json.loads((run.folder / "splits.json").read_text())["folds"][0]
            for run in runs_of(curve)
            if run.seed == seed
        )
        assert set(small["training"]) < set(large["training"]) and small["validation"] == large["validation"]
    assert {row.steps for row in read_rows(curve.folder)} == {5 * 2}
    assert fake.threads is None


def test_results_are_written_as_csv_json_and_figure(planned, tmp_path):
    lines = []
    curve = curve_of(planned, tmp_path)
    run_curves([curve], call=Fake(), say=lines.append)
    with (tmp_path / "few_shot.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["cases"], row["seed"], row["dice"]) for row in rows] == [
        ("samed", "1", "0", "0.100000"), ("samed", "1", "1", "0.110000"),
        ("samed", "3", "0", "0.300000"), ("samed", "3", "1", "0.310000"),
    ]  # fmt: skip
    assert (rows[0]["dice_left"], rows[0]["dice_right"], rows[0]["cpu_s"]) == ("0.200000", "", "2.5")
    assert rows[0]["resumed"] == "False"
    assert len(json.loads((tmp_path / "few_shot.json").read_text())["runs"]) == 4
    assert (tmp_path / "few_shot.png").read_bytes().startswith(b"\x89PNG")
    assert lines[0].startswith("samed, 1 case, seed 0: Dice 0.100 in 3 s; 3 of 4 runs left")
    assert lines[-1] == "samed, 3 cases, seed 1: Dice 0.310 in 3 s; 0 of 4 runs left"
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("checkpoint_last.pt"))


def test_an_interrupted_curve_goes_on_and_repeats_nothing(planned, tmp_path):
    first = Fake(fail=4)  # training of the second run succeeds, its evaluation doesn't
    with pytest.raises(
        UserFault, match="evaluating of samed, 3 cases, seed 0 failed with exit status 1: no luck"
    ):
        run_curves([curve_of(planned, tmp_path)], call=first, say=print)
    assert [row.cases for row in read_rows(tmp_path)] == [1]
    second, lines = Fake(), []
    run_curves([curve_of(planned, tmp_path)], call=second, say=lines.append)
    assert lines[0] == "1 of 4 runs are finished already."
    assert second.done == [
        ("evaluate", "cases_003_seed_0"),
        ("train", "cases_001_seed_1"), ("evaluate", "cases_001_seed_1"),
        ("train", "cases_003_seed_1"), ("evaluate", "cases_003_seed_1"),
    ]  # fmt: skip
    third = Fake()
    run_curves([curve_of(planned, tmp_path)], call=third, say=print)
    assert third.commands == []
    assert not any(row.resumed for row in read_rows(tmp_path))


def test_a_half_trained_run_says_that_its_cost_is_partial(planned, tmp_path):
    curve = curve_of(planned, tmp_path, cases=(2,), seeds=(0,))
    (run,) = runs_of(curve)
    write(run.folder / "models/checkpoint_last.pt", "half")
    assert do_run(run, None, Fake()).resumed


def test_more_sizes_and_seeds_add_to_a_curve(planned, tmp_path):
    run_curves([curve_of(planned, tmp_path)], call=Fake(), say=print)
    fake = Fake()
    run_curves([curve_of(planned, tmp_path, cases=(2,), seeds=(7,))], call=fake, say=print)
    assert fake.done == [("train", "cases_002_seed_7"), ("evaluate", "cases_002_seed_7")]
    assert [(row.cases, row.seed) for row in read_rows(tmp_path)] == [(1, 0), (1, 1), (2, 7), (3, 0), (3, 1)]


def test_several_curves_take_turns_with_one_thread_each(planned, tmp_path):
    curves = [curve_of(planned, tmp_path / name, cases=(1, 2)) for name in "ab"]
    fake = Fake()
    run_curves(curves, parallel=1, call=fake, say=print)
    where = [Path(Fake.flag(command, "--output_dir")).parent.name for command in fake.commands[::2]]
    assert where == ["a", "b"] * 4
    fake = Fake()
    run_curves([curve_of(planned, tmp_path / "c")], parallel=2, call=fake, say=print)
    assert fake.threads == 1 and len(read_rows(tmp_path / "c")) == 4


def test_evaluation_takes_only_what_it_knows(planned, tmp_path):
    fake = Fake()
    overrides = {"weights": "None", "protocol": "synapse", "network_def#rank": 2}
    run_curves(
        [curve_of(planned, tmp_path, cases=(1,), seeds=(0,), overrides=overrides)], call=fake, say=print
    )
    training, evaluating = fake.commands
    assert "--weights" in training and "--protocol" not in training and "--network_def#rank" in training
    assert "--weights" not in evaluating and Fake.flag(evaluating, "--protocol") == "synapse"
    assert "--network_def#rank" in evaluating


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"cases": (3, 50)}, r"50 cases were asked for, the bundle's training lists hold 6; ask for at most 6"),
        ({"cases": (0, 3)}, "cases must be different whole numbers of at least 1, got 0, 3"),
        ({"cases": (3, 3)}, "different whole numbers"),
        ({"seeds": ()}, "seeds must be .* got none"),
        ({"overrides": {"epoch": 3}}, "Did you mean --epochs"),
        ({"overrides": {"seed": 3}}, "it sets --seed of every run itself; leave it out"),
    ],
)  # fmt: skip
def test_wishes_that_cannot_be_granted_are_one_sentence(planned, tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        curve_of(planned, tmp_path / "curve", **changes)
    assert not (tmp_path / "curve").exists()


def test_other_settings_need_another_folder(planned, tmp_path):
    curve_of(planned, tmp_path, overrides={"epochs": 3})
    with pytest.raises(
        ValueError, match=r"other settings \(--epochs, --val_interval changed\); use the former"
    ):
        curve_of(planned, tmp_path, overrides={"epochs": 4})
    curve_of(planned, tmp_path, overrides={"epochs": 3})
    with pytest.raises(FileNotFoundError, match="is no bundle"):
        curve_of(tmp_path, tmp_path)


def test_subjects_are_counted_where_they_have_several_cases(planned, tmp_path):
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(planned / "configs", bundle / "configs")
    record = json.loads((bundle / "configs/splits.json").read_text())
    for place, name in enumerate(record["folds"][0]["training"]):
        record["cases"][name]["subject"] = f"p{place // 2}"
    record |= {"subjects": {"rule": "names", "reason": "By name."}, "folds": record["folds"][:1]}
    (bundle / "configs/splits.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="4 subjects were asked for, the bundle's training lists hold 3"):
        curve_of(bundle, tmp_path / "curve", cases=(1, 4))
    curve = curve_of(bundle, tmp_path / "curve", cases=(1, 2))
    one, two = runs_of(curve)[:2]
    assert str(one).endswith("1 subject, seed 0") and str(two).endswith("2 subjects, seed 0")
    drawn = [json.loads((run.folder / "splits.json").read_text()) for run in (one, two)]
    assert [len(splits["folds"][0]["training"]) for splits in drawn] == [2, 4]
    assert drawn[0]["few_shot"] == {"spec": "1", "level": "subject", "seed": 0}


def test_a_draw_by_seed_alone_is_said(planned, tmp_path):
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(planned / "configs", bundle / "configs")
    record = json.loads((bundle / "configs/splits.json").read_text())
    for case in record["cases"].values():
        case.pop("labels")
    (bundle / "configs/splits.json").write_text(json.dumps(record))
    said = []
    curve_of(bundle, tmp_path / "curve", say=said.append)
    assert said == [BY_SEED_ALONE]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--few_shot_curve", "1,many"], "takes whole numbers separated by commas, as in 1,3,5; got 1,many"),
        (["--few_shot_curve"], "--few_shot_curve needs a value"),
        (["--few_shot_curve", "1,99"], "99 cases were asked for"),
        (["--few_shot_curve", "1", "--parallel", "0"], "at least 1; got 0"),
        (["--seeds", "3"], "--seeds belongs to --few_shot_curve"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(planned, words, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pgsam", "train", str(planned), *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert said in str(end.value) and str(end.value).count("\n") == 0
    assert not (planned / "eval").exists()


def test_seeds_are_a_number_of_them_or_a_list():
    assert seed_numbers(3) == [0, 1, 2] == seed_numbers(None)
    assert seed_numbers((4, 7)) == [4, 7] and seed_numbers((5,)) == [5]


def row(network="a", cases=1, seed=0, dice=0.5):
    return Row(
        network=network, cases=cases, seed=seed, dice=dice, dice_by_class={"x": dice}, steps=4, wall_s=1.0,
        cpu_s=1.0, resumed=False,
    )  # fmt: skip


def test_points_of_a_curve():
    rows = [row(cases=5, dice=0.8), row(dice=0.4), row(seed=1, dice=0.6), row(seed=2, dice=None)]
    assert by_cases(rows) == {1: [0.4, 0.6], 5: [0.8]}
    assert spread([0.4, 0.6]) == pytest.approx(0.02**0.5)
    assert spread([0.8]) == 0.0


def test_a_figure_of_several_networks(tmp_path):
    curves = {name: [row(name, cases, dice=0.1 * cases) for cases in (1, 3, 5)] for name in ("one", "two")}
    assert draw_curves(curves, tmp_path / "both.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="no run has a Dice yet"):
        draw_curves({"one": [row(dice=None)]}, tmp_path / "none.png")


def test_a_figure_of_several_data_sets(tmp_path):
    """Three panels take two rows of the same width."""
    from PIL import Image

    curves = {"one": [row(cases=cases, dice=0.1 * cases) for cases in (1, 3)]}
    with Image.open(draw_panels({title: curves for title in "ab"}, tmp_path / "two.png")) as two:
        width, height = two.size
    with Image.open(draw_panels({title: curves for title in "abc"}, tmp_path / "three.png")) as three:
        assert three.size == (width, 2 * height)


def test_a_dice_that_no_case_defines_is_an_empty_cell(tmp_path):
    write_results([row(dice=None)], tmp_path)
    assert (tmp_path / "few_shot.csv").read_text().splitlines()[1] == "a,1,0,,,4,1.0,1.0,False"


def test_a_real_curve_from_the_command_line(planned, tmp_path):
    """One size, one seed, in processes of their own."""
    words = ["train", str(planned), "--few_shot_curve", "1", "--seeds", "1", "--parallel", "2"]
    done = typed("-m", "pgsam_monai.commands.main", *words, "--few_shot_folder", tmp_path / "curve")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = read_rows(tmp_path / "curve")
    assert [(row.cases, row.seed, row.steps) for row in rows] == [(1, 0, 4)]
    assert all(0 <= row.dice <= 1 and row.cpu_s > 0.5 and not row.resumed for row in rows)
    assert "0 of 1 runs left" in done.stdout and "few_shot.png" in done.stdout
    predicted = {file.name for file in (tmp_path / "curve").glob("cases_001_*/validation/predictions/*")}
    held_out = json.loads((planned / "configs/splits.json").read_text())["folds"][0]["validation"]
    assert len(predicted) == len(held_out)
