"""Cross-validation: who is trained and measured on what, interruption, refusals, the table out of fold."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny

from pgsam_monai.base.child_processes import Cost
from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.data.splits import select_cases
from pgsam_monai.evaluation.after_folds import calibrate_confidence, choose_postprocessing
from pgsam_monai.evaluation.folds import make_folds, run_folds
from pgsam_monai.evaluation.soft_dice import read_soft_dice, write_soft_dice
from pgsam_monai.predicting.confidence import read_confidence

COST = Cost(wall_s=3.0, cpu_s=2.5)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("folds")
    folder = write_nnunet(work / "Dataset001_Pair", cases=6, shape=(12, 10, 4))
    return plan_tiny(folder, work, "epochs=2", "folds=3")


class Fake:
    """Stands in for the processes: notes the commands, writes what they would; fails at the `fail`-th.

    The Dice of case_n is n / 10, of the second class NaN; Soft Dice Confidence of the first is n / 8, if it is `told`.
    """

    def __init__(self, planned, fail=None, told=True):
        self.commands, self.fail, self.told, self.splits = [], fail, told, splits_of(planned)

    def __call__(self, command, *, log, threads, held, gpu):
        self.commands.append(command)
        if len(self.commands) == self.fail:
            raise UserFault("exit status 1: no luck")
        if command[3] == "train":
            write(Path(flag(command, "--ckpt_dir")) / "checkpoint_last.pt", "half")
        else:
            folder = Path(flag(command, "--output_dir")) / "validation"
            names = self.splits["folds"][int(flag(command, "--fold"))]["validation"]
            for name in names:
                write(folder / "predictions" / f"{name}.nii.gz", name)
            write(folder / "metrics.json", json.dumps(metrics(names)))
            if self.told:
                write_soft_dice(
                    folder / "soft_dice.json", {name: {"organ1": int(name[-1]) / 8} for name in names}
                )
        return COST

    @property
    def done(self):
        return [(command[3], int(flag(command, "--fold"))) for command in self.commands]


def flag(command, name):
    return command[command.index(name) + 1]


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def splits_of(bundle):
    return json.loads((bundle / "configs/splits.json").read_text())


def metrics(names):
    values = {name: int(name[-1]) / 10 for name in names}
    rest = {
        "hd95": None,
        "nsd": 0.5,
        "prediction_ml": 1.0,
        "reference_ml": 1.0,
        "value": 1,
        "outcome": "found",
    }
    cases = [
        {
            "name": name,
            "classes": [{"label": "organ1", "dice": dice, **rest}, {"label": "organ2", "dice": None, **rest}],
        }
        for name, dice in values.items()
    ]
    mean = sum(values.values()) / len(values)
    summary = [{"label": label, "metric": "dice", "mean": mean} for label in ("organ1", "mean")]
    return {"protocol": "mm", "tolerance_mm": 2.0, "summary": summary, "cases": cases}


def cross_validate(bundle, folder, *, folds=None, fake=None, say=lambda line: None, **overrides):
    fake = fake or Fake(bundle)
    validation, chosen = make_folds(bundle, folds=folds, overrides=overrides, folder=folder)
    return run_folds(validation, chosen, parallel=1, call=fake, say=say), fake


def test_every_case_is_in_one_table_with_its_fold(planned, tmp_path):
    said = []
    done, fake = cross_validate(planned, tmp_path, say=said.append)
    assert fake.done == [(what, fold) for fold in range(3) for what in ("train", "evaluate")]
    held_out = {name: n for n, fold in enumerate(splits_of(planned)["folds"]) for name in fold["validation"]}
    with done.table.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["case"]: int(row["fold"]) for row in rows} == held_out and len(rows) == 12
    assert [(row["dice"], row["hd95"]) for row in rows if row["case"] == "case_3"] == [("0.3", ""), ("", "")]
    assert {file.name: file.read_text() for file in done.predictions.iterdir()} == {
        f"{name}.nii.gz": name for name in held_out
    }
    content = json.loads((tmp_path / "folds.json").read_text())
    (dice,) = [s for s in content["summary"] if (s["label"], s["metric"]) == ("organ1", "dice")]
    assert dice["mean"] == pytest.approx(0.35) and dice["n"] == 6 and dice["low"] < 0.35 < dice["high"]
    assert content["interval"] == "95 %, percentile bootstrap over 6 cases, 2000 resamples, seed 0"
    first = content["trainings"][0]
    assert first["training_cases"] == 4 and first["steps"] == 4 and first["wall_s"] == 3.0
    assert first["device"] == "cpu" and not first["resumed"]
    assert any("all 3 folds: 6 cases" in line for line in said)
    assert not list(tmp_path.rglob("checkpoint_last.pt")) and not list(tmp_path.rglob("*.partial"))


def test_the_last_network_is_measured_and_the_splits_are_the_bundles(planned, tmp_path):
    _, fake = cross_validate(planned, tmp_path, folds=[1], epochs=5)
    training, evaluating = fake.commands
    assert flag(training, "--model_selection") == "last" and flag(training, "--val_interval") == "5"
    assert flag(training, "--fold") == flag(evaluating, "--fold") == "1"
    assert flag(training, "--ckpt_dir") == flag(evaluating, "--ckpt_dir") == str(tmp_path / "fold_1/models")
    assert "--splits_file" not in training


def test_an_interrupted_cross_validation_goes_on_and_repeats_nothing(planned, tmp_path):
    with pytest.raises(UserFault, match="cross-validation: evaluating of fold 1 failed with exit status 1"):
        cross_validate(planned, tmp_path / "killed", fake=Fake(planned, fail=4))
    assert not (tmp_path / "killed/metrics.csv").exists()
    write(tmp_path / "killed/fold_2/models/checkpoint_last.pt", "half")
    said = []
    done, second = cross_validate(planned, tmp_path / "killed", say=said.append)
    assert second.done == [("evaluate", 1), ("train", 2), ("evaluate", 2)]
    assert "1 of 3 folds are finished already." in said
    assert [row.resumed for row in done.rows] == [False, False, True]
    undisturbed, _ = cross_validate(planned, tmp_path / "undisturbed")
    assert done.table.read_bytes() == undisturbed.table.read_bytes()


def test_a_part_of_the_folds_says_so_and_later_ones_are_added(planned, tmp_path):
    said = []
    done, _ = cross_validate(planned, tmp_path, folds=[2, 0], say=said.append)
    assert done.summary.cases == 4 and any("A PART ONLY, fold 0, 2 of 3 folds" in line for line in said)
    done, fake = cross_validate(planned, tmp_path, folds=[1])
    assert fake.done == [("train", 1), ("evaluate", 1)] and done.summary.cases == 6


def test_intervals_are_over_subjects_where_these_are_known(planned, tmp_path):
    bundle = shutil.copytree(planned / "configs", tmp_path / "bundle/configs").parent
    splits = splits_of(planned)
    for name, case in splits["cases"].items():
        case["subject"] = "ab"[name in ("case_1", "case_2", "case_3")]
    (bundle / "configs/splits.json").write_text(json.dumps(splits))
    done, _ = cross_validate(bundle, tmp_path / "folds")
    dice = done.summary.score("organ1", "dice")
    assert (dice.low, dice.high) == pytest.approx((0.2, 0.5))  # of two subjects, those of one drawn twice
    assert "over 2 subjects" in (tmp_path / "folds/folds.json").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": [3]}, "folds are different numbers from 0 to 2, or all; got 3"),
        ({"folds": [0, 0]}, "got 0,0"),
        ({"folds": []}, "got none"),
        ({"fold": 1}, "it sets --fold of every run itself"),
        ({"model_selection": "best"}, "it sets --model_selection"),
        ({"epoch": 1}, "Did you mean --epochs"),
    ],
)
def test_wishes_that_cannot_be_granted_are_one_sentence(planned, tmp_path, options, said):
    with pytest.raises(UserFault, match=said):
        cross_validate(planned, tmp_path / "folds", **options)
    assert not (tmp_path / "folds").exists()


def test_a_case_that_two_folds_keep_out_is_refused(planned, tmp_path):
    bundle = shutil.copytree(planned / "configs", tmp_path / "bundle/configs").parent
    splits = splits_of(planned)
    splits["folds"][1]["validation"].append(splits["folds"][0]["validation"][0])
    (bundle / "configs/splits.json").write_text(json.dumps(splits))
    with pytest.raises(UserFault, match="is a validation case of several folds"):
        cross_validate(bundle, tmp_path / "folds")


def test_other_settings_need_another_folder(planned, tmp_path):
    cross_validate(planned, tmp_path, folds=[0])
    with pytest.raises(UserFault, match=r"--epochs changed\).* or another --folds_folder"):
        cross_validate(planned, tmp_path, epochs=4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folds", "most"], "--folds takes whole numbers"),
        (["--folds", "0", "--few_shot_curve", "1"], "are different trainings; give one of them"),
        (["--folds_folder", "x"], "--folds_folder belongs to --folds"),
        (["--parallel", "2"], "--parallel belongs to --folds or --few_shot_curve"),
        (["--folds", "all", "--parallel", "0"], "at least 1; got 0"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(planned, words, said):
    with pytest.raises(SystemExit, match=said):
        cli.main(["train", str(planned), *words])
    assert not (planned / "eval").exists()


def with_stray_voxels(validation):
    """Predictions out of fold that are the labels, and a piece of organ1 in a corner besides."""
    for fold in validation.finished():
        for case in select_cases(
            validation.bundle.config_file("splits.json"), validation.bundle.content("dataset_dir"), fold=fold,
            part="validation",
        ):  # fmt: skip
            label = nib.load(case["label"])
            voxels = np.asarray(label.dataobj).copy()
            voxels[0, 0, :2] = 1
            nib.save(
                nib.Nifti1Image(voxels, label.affine),
                validation.folder / f"predictions/{case['name']}.nii.gz",
            )


def test_post_processing_is_chosen_once_all_folds_are_finished(planned, tmp_path):
    bundle = shutil.copytree(planned / "configs", tmp_path / "bundle/configs").parent
    validation, _ = make_folds(bundle, overrides={})
    run_folds(validation, [0, 1], parallel=1, call=(fake := Fake(bundle)), say=lambda line: None)
    assert all(flag(command, "--clean_predictions") == "False" for command in fake.commands)
    said = []
    assert choose_postprocessing(validation, say=said.append) is None
    assert said == ["Post-processing is not chosen, nor which Dice to expect: not all folds are finished."]
    run_folds(validation, [2], parallel=1, call=fake, say=lambda line: None)
    with_stray_voxels(validation)
    file = choose_postprocessing(validation, say=said.append)
    assert file == bundle / "configs/postprocessing.json" and "organ1: pieces of" in said[2]
    content = json.loads(file.read_text())
    assert content["chosen_on"] == "6 cases out of fold"
    assert [each["gain"] > 0 for each in content["structures"]] == [True, False]
    stray = np.asarray(nib.load(bundle / "eval/folds/predictions/case_2.nii.gz").dataobj)
    cleaned = Bundle(bundle, device="cpu").clean(stray)
    assert stray[0, 0].any() and not cleaned[0, 0].any() and cleaned.any()


def test_a_cross_validation_elsewhere_leaves_the_bundle_alone(planned, tmp_path):
    validation, chosen = make_folds(planned, overrides={}, folder=tmp_path)
    run_folds(validation, chosen, parallel=1, call=Fake(planned), say=lambda line: None)
    with_stray_voxels(validation)
    assert choose_postprocessing(validation, say=print) == tmp_path / "postprocessing.json"
    assert not (planned / "configs/postprocessing.json").exists()


def calibrated(bundle, folder, monkeypatch, *, told=True, least=6):
    """The folds' confidence.json, and what was said."""
    monkeypatch.setattr("pgsam_monai.evaluation.calibration.LEAST_SUBJECTS", least)
    validation, chosen = make_folds(bundle, overrides={}, folder=folder)
    run_folds(validation, chosen, parallel=1, call=Fake(bundle, told=told), say=lambda line: None)
    with_stray_voxels(validation)
    said = []
    cleaning = choose_postprocessing(validation, say=said.append)
    said.clear()
    return calibrate_confidence(validation, cleaning, say=said.append), said


def test_confidence_is_calibrated_on_the_cleaned_predictions_out_of_fold(planned, tmp_path, monkeypatch):
    file, said = calibrated(planned, tmp_path, monkeypatch)
    assert file == tmp_path / "confidence.json" and not (planned / "configs/confidence.json").exists()
    assert read_soft_dice(tmp_path / "soft_dice.json") == {
        f"case_{n}": {"organ1": n / 8} for n in range(1, 7)
    }
    found = read_confidence(file, Bundle(planned).decisions["labels"])
    organ, (choice, _) = (
        found.of["organ1"],
        json.loads((tmp_path / "postprocessing.json").read_text())["structures"],
    )
    assert organ.map == "constant" and choice["dice_before"] < organ.expect(0.5) <= 1
    assert abs(organ.expect(0.5) - choice["dice_after"]) < 0.01
    assert [organ.points[0][0], organ.points[-1][0]] == [1 / 8, 6 / 8]
    assert found.calibrated_on == "6 cases of 6 subjects out of fold"
    assert list(found.untold) == ["organ2"]
    assert said[1].startswith("organ1: the usual Dice") and said[2].startswith("organ2: nothing, found in 0")


def test_too_few_cases_tell_nothing(planned, tmp_path, monkeypatch):
    file, said = calibrated(planned, tmp_path, monkeypatch, least=10)
    assert not read_confidence(file, Bundle(planned).decisions["labels"]).of
    assert said == [
        "No Dice is expected of predictions: on 6 cases of 6 subjects out of fold, no structure was found in the 10 "
        "subjects that it takes to calibrate one."
    ]
    reasons = [each["why"] for each in json.loads(file.read_text())["structures"]]
    assert reasons[0] == "found in 6 subjects only, at least 10 are needed"


def test_folds_of_older_bundles_say_that_confidence_is_not_calibrated(planned, tmp_path, monkeypatch):
    file, said = calibrated(planned, tmp_path, monkeypatch, told=False)
    assert file is None and not (tmp_path / "confidence.json").exists()
    (line,) = said
    assert line.startswith("Confidence is not calibrated: these folds don't tell how sure")


def test_the_command_does_it_all(planned, tmp_path, monkeypatch, capsys):
    def run_here(validation, folds, *, parallel=None):
        done = run_folds(validation, folds, parallel=1, call=Fake(planned))
        with_stray_voxels(validation)
        return done

    monkeypatch.setattr("pgsam_monai.evaluation.folds.run_folds", run_here)
    cli.main(["train", str(planned), "--folds", "all", "--folds_folder", str(tmp_path / "folds")])
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [
        str(tmp_path / f"folds/{name}") for name in ("postprocessing.json", "confidence.json")
    ]
