"""A bundle on another data set: what is predicted, what is compared, and how it goes on after an interruption."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny
from untrained import draw_weights

from pgsam_monai.base.files import visible
from pgsam_monai.commands import main as cli
from pgsam_monai.evaluation import other_dataset as generalisation
from pgsam_monai.predicting.each import SomeFailed

SHAPE = (20, 18, 4)
AIR = -1000


def write_dataset(folder, names, *, cases, values=None, test=0, offset=AIR):
    """An nnU-Net data set whose labels have these names; its images start at `offset`."""
    values = values or tuple(range(len(names)))
    write_nnunet(folder, cases=cases, test=test, shape=SHAPE, values=values)
    content = json.loads((folder / "dataset.json").read_text())
    content |= {"labels": dict(zip(names, values, strict=True)), "channel_names": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    for file in folder.glob("images*/*"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.int16(offset), image.affine), file)
    return folder


def save_untrained(bundle):
    """A model.pt of random weights, older than any prediction."""
    (bundle / "models").mkdir()
    draw_weights(bundle, seed=0)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("generalisation")
    names = ["background", "Spleen", "adrenal glands", "veins"]
    folder = write_dataset(work / "Dataset001_Own", names, cases=5, values=(0, 4, 5, 9))
    bundle = plan_tiny(folder, work)
    decisions = json.loads((bundle / "configs/plan.json").read_text())["decisions"]
    assert decisions["intensity"]["value"]["scheme"] == "window"
    save_untrained(bundle)
    return bundle


@pytest.fixture
def bundle(planned, tmp_path):
    return shutil.copytree(planned, tmp_path / "samed_own")


@pytest.fixture
def other(tmp_path):
    names = ["background", "right adrenal gland", "LAG", "spleen", "duodenum"]
    return write_dataset(tmp_path / "Dataset002_Other", names, cases=3, test=1)


@pytest.fixture
def inferred(monkeypatch):
    """Names of the cases that were predicted, and the preprocessing that they had."""
    calls, real = [], generalisation.predict_cases

    def spy(bundle, cases, products):
        transforms = [transform["_target_"] for transform in bundle.parser["preprocessing"]["transforms"]]
        calls.append(([case["name"] for case in cases], transforms))
        return real(bundle, cases, products)

    monkeypatch.setattr(generalisation, "predict_cases", spy)
    return calls


def results(bundle):
    return bundle / "eval/other"


def write_perfect_predictions(bundle, other):
    """The references in the bundle's values: spleen 4, both adrenal glands 5, and no duodenum."""
    (results(bundle) / "predictions").mkdir(parents=True)
    for file in (other / "labelsTr").glob("*"):
        label = nib.load(file)
        voxels = np.array([0, 5, 5, 4, 0], np.uint8)[np.asarray(label.dataobj)]
        nib.save(nib.Nifti1Image(voxels, label.affine), results(bundle) / "predictions" / file.name)
    settings = {"dataset": str(other), "intensity": "as trained"}
    (results(bundle) / "settings.json").write_text(json.dumps(settings))


def test_shared_classes_are_predicted_and_measured(bundle, other, capsys, inferred):
    cli.evaluate(str(bundle), dataset=str(other), cases=2, tolerance_mm=1.0)
    told = capsys.readouterr().out
    assert "1 of 4 cases have no label and are left out" in told
    assert "Compared: 2 of 3 classes" in told
    assert told.index("Left out of the bundle: veins") < told.index("Protocol 'mm', 2 cases")
    assert [names for names, _ in inferred] == [["case_1", "case_2"]]
    rows = list(csv.DictReader((results(bundle) / "metrics.csv").open()))
    assert [(row["case"], row["label"], row["value"]) for row in rows] == [
        (case, *label)
        for case in ("case_1", "case_2")
        for label in (("Spleen", "4"), ("adrenal glands", "5"))
    ]
    assert json.loads((results(bundle) / "metrics.json").read_text())["tolerance_mm"] == 1.0
    written = visible(results(bundle) / "predictions")
    assert [file.name for file in written] == ["case_1.nii.gz", "case_2.nii.gz"]
    assert all(set(np.unique(nib.load(file).dataobj)) <= {0, 4, 5, 9} for file in written)
    labels = json.loads((results(bundle) / "label_map.json").read_text())
    assert labels["classes"] == {"Spleen": [3], "adrenal glands": [1, 2], "veins": []}
    assert (labels["bundle"], labels["dataset"]) == ("samed_own", "other")


def test_predictions_newer_than_the_model_are_taken_over(bundle, other, capsys, inferred):
    write_perfect_predictions(bundle, other)
    cli.evaluate(str(bundle), dataset=str(other))
    assert "3 of 3 cases are predicted already" in capsys.readouterr().out and not inferred
    rows = list(csv.DictReader((results(bundle) / "metrics.csv").open()))
    assert len(rows) == 6 and {row["dice"] for row in rows} == {"1.0"}


def test_cases_older_than_the_model_are_predicted_anew(bundle, other, inferred):
    write_perfect_predictions(bundle, other)
    os.utime(results(bundle) / "predictions/case_2.nii.gz", (0, 0))
    cli.evaluate(str(bundle), dataset=str(other))
    assert [names for names, _ in inferred] == [["case_2"]]


def test_corrected_predictions_are_kept_aside(bundle, other, inferred, capsys):
    cli.evaluate(str(bundle), dataset=str(other), cases=2)
    corrected, plain = (results(bundle) / f"predictions/case_{number}.nii.gz" for number in (1, 2))
    corrected.write_bytes(b"corrected by hand")
    for file in (corrected, plain):
        os.utime(file, (0, 0))
    cli.evaluate(str(bundle), dataset=str(other), cases=2)
    kept = [path.name for path in visible(corrected.parent) if "bak" in path.name]
    assert kept == ["case_1.nii.gz.bak"] and "is kept as" in capsys.readouterr().out
    assert corrected.with_name(kept[0]).read_bytes() == b"corrected by hand"
    corrected.write_bytes(b"again")
    cli.evaluate(str(bundle), dataset=str(other), cases=2, intensity="percentile")
    assert corrected.with_name("case_1.nii.gz.bak2").read_bytes() == b"again"
    assert corrected.with_name("case_1.nii.gz.bak").read_bytes() == b"corrected by hand"
    assert [names for names, _ in inferred] == [["case_1", "case_2"]] * 3


@pytest.mark.parametrize("part", ["imagesTr/case_2_0000.nii.gz", "labelsTr/case_2.nii.gz"])
def test_one_broken_case_does_not_stop_the_others(bundle, other, capsys, part):
    (other / part).write_bytes((other / part).read_bytes()[:60])
    what = "predicted" if "images" in part else "measured"
    with pytest.raises(SomeFailed, match=f"2 of 3 {what}. Failed:\n  .*case_2"):
        cli.evaluate(str(bundle), dataset=str(other))
    rows = list(csv.DictReader((results(bundle) / "metrics.csv").open()))
    assert {row["case"] for row in rows} == {"case_1", "case_3"}
    assert "Protocol 'mm', 2 cases" in capsys.readouterr().out


def test_images_without_a_label_are_counted(bundle, other, capsys):
    write_perfect_predictions(bundle, other)
    (other / "labelsTr/case_3.nii.gz").unlink()
    cli.evaluate(str(bundle), dataset=str(other))
    told = capsys.readouterr().out
    assert "note: 1 images without a label are left out" in told and "Protocol 'mm', 2 cases" in told


def test_an_interruption_keeps_finished_cases(bundle, other, monkeypatch, inferred, capsys):
    from pgsam_monai.voxels import result as save

    real = save.save_label_map

    def interrupted(labels, folder, name, *rest, **options):
        if name == "case_2":
            raise KeyboardInterrupt
        return real(labels, folder, name, *rest, **options)

    monkeypatch.setattr(save, "save_label_map", interrupted)
    with pytest.raises(SystemExit, match="Finished cases are kept"):
        cli.evaluate(str(bundle), dataset=str(other))
    monkeypatch.setattr(save, "save_label_map", real)
    cli.evaluate(str(bundle), dataset=str(other))
    assert [names for names, _ in inferred] == [["case_1", "case_2", "case_3"], ["case_2", "case_3"]]
    assert "1 of 3 cases are predicted already" in capsys.readouterr().out


def test_percentiles_instead_of_the_window(bundle, other, inferred, capsys):
    cli.evaluate(str(bundle), dataset=str(other), cases=1)
    cli.evaluate(str(bundle), dataset=str(other), cases=1, intensity="percentile")
    scaling = [transforms[2] for _, transforms in inferred]
    assert scaling == ["ScaleIntensityRanged", "pgsam_monai.transforms.ScalePercentilesd"]
    assert "Predictions of other files or intensities are made anew" in capsys.readouterr().out
    settings = json.loads((results(bundle) / "settings.json").read_text())
    assert settings == {"dataset": str(other), "intensity": "percentile"}


def test_what_hardly_is_ct_is_warned_of(bundle, other, tmp_path, caplog):
    write_perfect_predictions(bundle, other)
    cli.evaluate(str(bundle), dataset=str(other))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    magnetic = write_dataset(tmp_path / "Dataset003_MR", ["background", "spleen"], cases=1, offset=0)
    cli.evaluate(str(bundle), dataset=str(magnetic))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Case 'case_1' holds nothing below -100" in warning and "--intensity percentile" in warning


def test_no_shared_class_then_an_edited_map(bundle, tmp_path, capsys):
    folder = write_dataset(tmp_path / "Dataset002_Other", ["background", "liver", "tumour"], cases=1)
    with pytest.raises(ValueError, match="shares no class with data set 'other'.*--map .*label_map.json"):
        cli.evaluate(str(bundle), dataset=str(folder))
    file = results(bundle) / "label_map.json"
    content = json.loads(file.read_text())
    assert set(map(tuple, content["classes"].values())) == {()}
    content["classes"]["veins"] = [1, 2]
    (tmp_path / "mine.json").write_text(json.dumps(content))
    cli.evaluate(str(bundle), dataset=str(folder), map=str(tmp_path / "mine.json"))
    assert json.loads(file.read_text())["classes"]["veins"] == [1, 2]
    assert json.loads(file.with_name("label_map.json.bak").read_text())["classes"]["veins"] == []
    rows = list(csv.DictReader((results(bundle) / "metrics.csv").open()))
    assert [(row["label"], row["value"]) for row in rows] == [("veins", "9")]
    assert "liver (1), tumour (2)" in capsys.readouterr().out


def test_a_data_set_that_names_nothing(bundle, other):
    content = json.loads((other / "dataset.json").read_text())
    del content["labels"]
    (other / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="which names no labels; say what belongs together"):
        cli.evaluate(str(bundle), dataset=str(other))


def test_a_case_that_looks_like_an_expression_is_a_name(bundle, other):
    for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (other / folder / f"case_1{ending}").rename(other / folder / f"$1 + @device{ending}")
    cli.evaluate(str(bundle), dataset=str(other))
    assert (results(bundle) / "predictions/$1 + @device.nii.gz").is_file()


@pytest.mark.parametrize(
    "words, said",
    [
        ({"intensity": "window"}, "--intensity takes percentile, got 'window'"),
        ({"cases": 0}, "--cases must be at least 1, got 0"),
        ({"map": "none.json"}, "does not exist; --map takes auto"),
        ({"part": "test"}, "--part is not for --dataset"),
        ({"clicks": 3}, "--clicks belongs to --interaction"),
        ({"interaction": True}, "measure different things"),
        ({"epochs": 3}, "--epochs is no option here"),
        ({"protocol": "inches"}, "--protocol takes mm, got inches"),
        ({"protocol": "papers"}, "--protocol takes mm, got papers"),
        ({"tolerance_mm": -1}, "--tolerance_mm takes a length of at least 0, got -1"),
    ],
)
def test_faults_are_one_sentence(bundle, other, words, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        cli.evaluate(str(bundle), dataset=str(other), **words)
    assert not (results(bundle) / "predictions").exists()


def test_flags_of_another_data_set_alone(bundle):
    for name, value in (("map", "auto"), ("intensity", "percentile")):
        with pytest.raises(ValueError, match=f"--{name} belongs to --dataset; give both or neither"):
            cli.evaluate(str(bundle), **{name: value})
    with pytest.raises(ValueError, match="--cases belongs to --interaction or --dataset"):
        cli.evaluate(str(bundle), cases=3)


def test_data_sets_that_do_not_fit(bundle, other, tmp_path):
    channels = write_nnunet(tmp_path / "Dataset005_Two", cases=1, channels=2, shape=SHAPE)
    with pytest.raises(ValueError, match="takes 1 channel, case 'case_1' of 'two' has 2"):
        cli.evaluate(str(bundle), dataset=str(channels))
    own = shutil.copytree(other, tmp_path / "test")
    with pytest.raises(
        ValueError, match="a data set called 'test' would overwrite the bundle's own eval/test"
    ):
        cli.evaluate(str(bundle), dataset=str(own))
    with pytest.raises(ValueError, match="nowhere does not exist"):
        cli.evaluate(str(bundle), dataset=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no case of data set 'x' has a label"):
        generalisation.evaluate_elsewhere(
            bundle,
            {
                "name": "x",
                "folder": "x",
                "cases": [{"name": "a", "image": "a", "label": None}],
                "label_names": {},
            },
        )


def test_a_bundle_without_a_window_has_none_to_replace(bundle, other):
    plan = json.loads((bundle / "configs/plan.json").read_text())
    plan["decisions"]["intensity"]["value"] = {"scheme": "percentile", "low": 0.5, "high": 99.5}
    (bundle / "configs/plan.json").write_text(json.dumps(plan))
    with pytest.raises(
        ValueError, match="replaces a CT window, this bundle has none .its scheme is 'percentile'"
    ):
        cli.evaluate(str(bundle), dataset=str(other), intensity="percentile")
