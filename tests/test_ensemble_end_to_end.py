"""Folds of a 2-D and a 3-D network become a bundle: chosen out of fold, interrupted, and used as any bundle."""

import csv
import json
import math
import os
import shutil

import jsonschema
import numpy as np
import pytest
from fold_weights import finish_folds, plan_pair, splits_of, write_weights
from tiny_bundle import check_predicted_as_inferred, read_voxels, run_bundle

from pgsam_monai.base.trained_on import trained_on
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.ensembles import making, out_of_fold
from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.predicting.predict import predict

UNET = [(0.0, 4.0, 0.0), (0.0, 4.0, 0.0), (0.0, 0.0, 4.0)]
"""the folds' networks find class 1, 1 and 2 everywhere"""
DYNUNET = [(0.5, 0.0, 0.0)] * 3
"""all find background, and are hardly sure"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    found = plan_pair(tmp_path_factory.mktemp("ensemble"))
    for bundle, logits in zip(found, (UNET, DYNUNET), strict=True):
        finish_folds(bundle, logits)
    return found


def ensemble(bundles, output, *options):
    cli.main(["ensemble", *map(str, bundles), "--output", str(output), "--device", "cpu", *options])
    return output


@pytest.fixture(scope="module")
def chosen(bundles):
    return ensemble(bundles, bundles[0].with_name("chosen"))


@pytest.fixture(scope="module")
def both(bundles):
    return ensemble(bundles, bundles[0].with_name("both"), "--choose", "False")


def record(bundle):
    return json.loads((bundle / "configs/ensemble.json").read_text())


def expected_dice(bundle):
    """By hand: (cases, 2) of the UNet's answers, each case's by the fold that kept it out."""
    splits, rows = splits_of(bundle), []
    for fold, answer in enumerate((1, 1, 2)):
        for name in splits["folds"][fold]["validation"]:
            label, _ = read_voxels(
                Bundle(bundle).folder.parents[1] / "Dataset001_Pair/labelsTr" / f"{name}.nii.gz"
            )
            true = [int((label == value).sum()) for value in (1, 2)]
            rows.append(
                [2 * n / (label.size + n) if value == answer else 0.0 for value, n in enumerate(true, 1)]
            )
    return np.array(rows)


def test_each_case_is_answered_by_the_folds_that_did_not_see_it(bundles, chosen):
    found = record(chosen)
    alone, other, together = [entry["dice"] for entry in found["candidates"]]
    assert alone == pytest.approx(expected_dice(bundles[0]).mean()) and other == 0 and together == alone
    assert found["chosen"] == ["unet_pair"] and found["chosen_on"] == "6 cases out of fold"
    assert [len(network["members"]) for network in found["networks"]] == [3, 3]
    assert found["networks"][0]["members"][0]["file"] == "eval/folds/fold_0/models/model.pt"


def test_the_choices_predictions_are_measured(bundles, chosen):
    folder = chosen / "eval/out_of_fold"
    with (folder / "metrics.csv").open() as file:
        rows = {(row["case"], row["label"]): float(row["dice"]) for row in csv.DictReader(file)}
    assert len(rows) == 12 and np.mean(list(rows.values())) == pytest.approx(
        record(chosen)["candidates"][0]["dice"]
    )
    for fold, answer in enumerate((1, 1, 2)):
        for name in splits_of(bundles[0])["folds"][fold]["validation"]:
            assert np.unique(read_voxels(folder / f"predictions/{name}.nii.gz")[0]).tolist() == [answer]
    assert (chosen / "configs/postprocessing.json").is_file()
    assert not [path for path in (folder / "candidates").iterdir() if path.suffix != ".json"]


def test_an_interrupted_choice_goes_on_and_ends_alike(bundles, chosen, tmp_path, monkeypatch):
    measured = []

    def dice(prediction, case, measures):
        measured.append(case["name"])
        if len(measured) == 8:  # the third case's second way of three
            raise KeyboardInterrupt
        return real(prediction, case, measures)

    real = out_of_fold._dice
    monkeypatch.setattr(out_of_fold, "_dice", dice)
    with pytest.raises(SystemExit, match="the same command goes on after them"):
        ensemble(bundles, tmp_path / "chosen")
    assert not (tmp_path / "chosen/configs").exists()
    ensemble(bundles, tmp_path / "chosen")
    assert len(measured) == 8 + 4 * 3
    for name in (
        "configs/ensemble.json", "configs/inference.json", "configs/confidence.json", "eval/out_of_fold/metrics.csv",
        "eval/out_of_fold/soft_dice.json",
    ):  # fmt: skip
        assert (tmp_path / "chosen" / name).read_bytes() == (chosen / name).read_bytes()
    ensemble(bundles, tmp_path / "chosen")
    assert len(measured) == 20


def test_results_of_other_weights_are_refused(bundles, chosen, tmp_path):
    output = shutil.copytree(chosen, tmp_path / "chosen")
    with pytest.raises(SystemExit, match="holds results of other networks or weights"):
        ensemble(bundles[:1], output)
    stamp = output / "eval/out_of_fold/settings.json"
    stamp.write_text(json.dumps({"networks": json.loads(stamp.read_text())["networks"]}))
    with pytest.raises(SystemExit, match="or of an older version; delete the folder"):
        ensemble(bundles, output)


def share(place, *logits):
    """The softmax of one class."""
    return math.exp(logits[place]) / sum(map(math.exp, logits))


def everywhere(probability):
    """Soft Dice Confidence of a class that all voxels are, each with this probability."""
    return 2 * probability / (1 + probability)


def test_how_sure_each_way_was_is_recorded_and_the_choices_stands_beside_its_predictions(bundles, chosen):
    alone = share(1, *UNET[0])
    together = (alone + share(1, *DYNUNET[0])) / 2
    told = read_soft_dice(chosen / "eval/out_of_fold/soft_dice.json")
    for fold, answer in enumerate(("organ1", "organ1", "organ2")):
        for name in splits_of(bundles[0])["folds"][fold]["validation"]:
            ways = json.loads((chosen / f"eval/out_of_fold/candidates/{name}.json").read_text())["candidates"]
            sure = [way["soft_dice"] for way in ways]
            assert told[name] == sure[0] == pytest.approx({answer: everywhere(alone)}, rel=1e-3)
            assert sure[1] == {} and sure[2] == pytest.approx({answer: everywhere(together)}, rel=1e-3)
    assert len(told) == 6


def test_too_few_subjects_calibrate_nothing(chosen):
    content = json.loads((chosen / "configs/confidence.json").read_text())
    assert content["calibrated_on"] == "6 cases of 6 subjects out of fold"
    assert [each["map"] for each in content["structures"]] == [None, None]
    assert content["structures"][0]["why"] == "found in 4 subjects only, at least 10 are needed"


def test_a_calibrated_ensemble_expects_a_dice(bundles, tmp_path, monkeypatch, capsys):
    """All folds together find class 1, less sure of it than the two whose answers it was calibrated on."""
    monkeypatch.setattr("pgsam_monai.evaluation.calibration.LEAST_SUBJECTS", 3)
    output = ensemble(bundles, tmp_path / "ensemble")
    said = capsys.readouterr().out
    assert "organ1: the usual Dice, sureness tells nothing" in said
    assert "organ2: nothing, found in 2 subjects only" in said
    image = bundles[0].parents[1] / "Dataset001_Pair/imagesTr/case_1_0000.nii.gz"
    predict(output, image, tmp_path / "out", device="cpu", summary=True)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    found, missing = summary["cases"][0]["structures"]
    dice = expected_dice(bundles[0])[:4, 0]
    assert found["expected_dice"] == pytest.approx(np.median(dice), abs=1e-5)
    errors = [abs(each - np.median(np.delete(dice, place))) for place, each in enumerate(dice)]
    assert found["expected_dice_error"] == pytest.approx(np.mean(errors), abs=1e-4)
    sure = everywhere(sum(share(1, *logits) for logits in UNET) / 3)
    assert any(
        f"organ1: soft Dice {sure:.2f}; 0.98 to 0.98 out of fold" in told for told in found["warnings"]
    )
    assert missing["expected_dice"] is None
    assert summary["runs"][0]["expected_dice"].startswith(
        "Expected Dice is calibrated on 6 cases of 6 subjects"
    )
    ensemble(bundles, output, "--choose", "False")
    assert not (output / "configs/confidence.json").exists()
    assert (output / "configs/confidence.json.bak").is_file()


def test_unknown_voxels_calibrate_nothing(bundles, tmp_path, capsys):
    bundle = shutil.copytree(bundles[0], tmp_path / "unet_pair")
    plan = json.loads((bundle / "configs/plan.json").read_text())
    plan["dataset"]["ignore"] = 9
    (bundle / "configs/plan.json").write_text(json.dumps(plan))
    output = ensemble([bundle], tmp_path / "ensemble")
    assert "nor which Dice to expect: some voxels of the labels are unknown" in capsys.readouterr().out
    assert not (output / "configs/confidence.json").exists()


def test_members_of_both_networks_answer_together(bundles, both):
    """Class 1: (0.65 + 0.27) / 2; class 2: (0.33 + 0.27) / 2; background: (0.02 + 0.45) / 2."""
    image = bundles[0].parents[1] / "Dataset001_Pair/imagesTr/case_1_0000.nii.gz"
    answer = Bundle.trained(both, device="cpu").label_map(image)
    assert np.unique(answer.voxels).tolist() == [1] and answer.voxels.shape == (12, 10, 6)
    assert record(both)["candidates"] == [] and record(both)["chosen_on"].startswith("nothing was measured")
    assert not (both / "eval").exists()
    assert not [name for name in ("postprocessing", "confidence") if (both / f"configs/{name}.json").exists()]


def test_it_predicts_as_monais_bundle_runner_infers(both, tmp_path):
    run_bundle("inferring", both, ("inference.json",))
    check_predicted_as_inferred(both, tmp_path)


def test_what_any_member_has_seen_is_not_measured(bundles, both):
    cases = list(splits_of(bundles[0])["cases"])
    assert trained_on(both / "models/model.pt", cases) == cases
    with pytest.raises(SystemExit, match="was trained on 2 of these 2 cases"):
        cli.main(["evaluate", str(both), "--device", "cpu"])
    cli.main(["evaluate", str(both), "--device", "cpu", "--allow_trained", "True"])
    assert len(read_soft_dice(both / "eval/validation/soft_dice.json")) == 2
    assert (both / "eval/validation/metrics.json").is_file()
    shutil.rmtree(both / "eval")


def test_it_is_a_bundle_by_its_form(both, chosen):
    for bundle in (both, chosen):
        configs = bundle / "configs"
        metadata = json.loads((configs / "metadata.json").read_text())
        jsonschema.validate(metadata, json.loads((configs / "meta_schema_20240725.json").read_text()))
        for name in ("train", "evaluate", "inference"):
            assert max(map(len, (configs / f"{name}.json").read_text().splitlines())) <= 120
        for name in ("LICENSE", "docs/README.md", "configs/logging.conf", "configs/plan.json"):
            assert (bundle / name).stat().st_size > 0
    assert Bundle(both).capabilities.title == "Ensemble of 3 x UNet, 3 x DynUNet3D"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "{}"], "is an ensemble, which isn't trained itself"),
        (["train", "{}", "--folds", "all"], "is an ensemble, which isn't trained itself"),
        (["export", "{}", "--form", "onnx"], "ensemble of several networks, each with its own input"),
        (["export", "{}", "--form", "sam"], "takes no clicks and no boxes: its network is Ensemble of"),
        (["describe", "{}", "--endpoint", "http://localhost:1", "--model", "m"], "its network reads no text"),
        (["ensemble", "{}", "--output", "{}/other"], "is an ensemble itself"),
        (["ensemble"], "name at least one trained bundle, and with --output"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(both, command, said):
    with pytest.raises(SystemExit, match=said):
        cli.main([word.format(both) for word in command])


def test_monais_runner_trains_none_either(both):
    with pytest.raises(SystemExit, match="An ensemble isn't trained itself"):
        run_bundle("training", both)


def test_places_of_other_bundles_are_left_alone(bundles, tmp_path):
    with pytest.raises(SystemExit, match="is one of the bundles that are put together"):
        ensemble(bundles, bundles[0])
    other = shutil.copytree(bundles[1] / "configs", tmp_path / "other/configs").parent
    with pytest.raises(SystemExit, match="is another bundle; choose another folder"):
        ensemble(bundles[:1], other)
    with pytest.raises(SystemExit, match="is a folder of one of the bundles"):
        ensemble(bundles[:1], bundles[0] / "configs")
    with pytest.raises(SystemExit, match="holds other files; choose a new folder"):
        ensemble(bundles[:1], bundles[0].parent)
    with pytest.raises(SystemExit, match="with --output the new bundle's folder"):
        ensemble(bundles[:1], "")  # as of a shell's empty variable


def test_what_is_missing_shows_before_any_work(bundles, tmp_path):
    for name in ("plan", "splits", "train", "evaluate"):
        bundle = shutil.copytree(bundles[0] / "configs", tmp_path / name / "configs").parent
        write_weights(bundle / "models/model.pt", bundle, UNET[0], [])
        (bundle / f"configs/{name}.json").unlink()
        with pytest.raises(SystemExit, match=f"configs/{name}.json"):
            ensemble([bundle], tmp_path / "out", "--choose", "False")
    assert not (tmp_path / "out").exists()


def test_weights_that_were_copied_in_part_leave_nothing_behind(bundles, tmp_path):
    bundle = shutil.copytree(bundles[0] / "configs", tmp_path / "unet_pair/configs").parent
    write_weights(bundle / "models/model.pt", bundle, UNET[0], [])
    os.truncate(bundle / "models/model.pt", 1000)
    with pytest.raises(SystemExit, match="may be a part of a file: fetch or copy it again"):
        ensemble([bundle], tmp_path / "out", "--choose", "False")
    assert not (tmp_path / "out").exists()


def test_no_earlier_weights_pass_for_those_of_an_unfinished_ensemble(bundles, both, tmp_path, monkeypatch):
    output = shutil.copytree(both, tmp_path / "both")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "save_checkpoint", interrupted)
    with pytest.raises(SystemExit, match="the same command goes on"):
        ensemble(bundles, output, "--choose", "False")
    with pytest.raises(SystemExit, match="isn't finished: it has no models/model.pt; run the pgsam ensemble"):
        cli.main(["predict", str(output), "scan.nii.gz", str(tmp_path)])
    monkeypatch.undo()
    ensemble(bundles, output, "--choose", "False")
    assert (output / "models/previous.pt").read_bytes() == (both / "models/model.pt").read_bytes()
    assert Bundle.trained(output, device="cpu").network


def test_without_a_case_out_of_fold_nothing_is_chosen(bundles, tmp_path):
    bundle = shutil.copytree(bundles[0] / "configs", tmp_path / "unet_pair/configs").parent
    write_weights(bundle / "models/model.pt", bundle, UNET[0], list(splits_of(bundle)["cases"]))
    with pytest.raises(SystemExit, match="train folds .* or say --choose False to take all"):
        ensemble([bundle], tmp_path / "out")


def test_weights_of_another_plan_are_told_by_their_file(bundles, tmp_path):
    bundle = shutil.copytree(bundles[0] / "configs", tmp_path / "unet_pair/configs").parent
    (bundle / "models").mkdir()
    shutil.copy(bundles[1] / "eval/folds/fold_0/models/model.pt", bundle / "models/model.pt")
    with pytest.raises(SystemExit, match=r"model.pt' doesn't fit bundle 'unet_pair'.*network dynunet_3d"):
        ensemble([bundle], tmp_path / "out", "--choose", "False")


def test_another_ensemble_in_its_place_keeps_what_was_there(bundles, chosen, tmp_path):
    output = shutil.copytree(chosen, tmp_path / "chosen")
    ensemble(bundles, output, "--choose", "False")
    kept = sorted(file.name for file in (output / "configs").glob("*.bak"))
    assert "postprocessing.json.bak" in kept and "inference.json.bak" in kept
    assert len(Bundle.trained(output, device="cpu").network.networks) == 2
