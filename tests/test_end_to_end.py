"""Every kind of data set goes the whole way: plan, train, predict; original values on the input's own grid."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from dataset_builders import (
    write_dicom,
    write_la_h5,
    write_msd,
    write_nnunet,
    write_pictures,
    write_promise12,
    write_transunet,
)
from PIL import Image
from tiny_bundle import plan_tiny, read_voxels, run_bundle

from pgsam_monai.base.errors import root_of
from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.predicting.predict import predict

SHAPE = (40, 36, 6)
KINDS = {
    "gaps in the values": {"values": (0, 5, 205, 420)},
    "one class": {"values": (0, 1)},
    "fifteen classes": {"values": tuple(range(16))},
    "two channels": {"channels": 2},
    "four channels": {"channels": 4},
    "single slices": {"shape": (40, 36, 1)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_of_every_kind(kind, tmp_path):
    options = {"shape": SHAPE, **KINDS[kind]}
    folder = write_nnunet(tmp_path / "Dataset007_Organs", cases=5, test=1, **options)
    bundle = plan_tiny(folder, tmp_path, layout="nnunet")
    run_bundle("training", bundle)
    run_bundle("inferring", bundle, ("inference.json",))
    voxels, affine = read_voxels(prediction_file(bundle / "eval/inference", "case_6"))
    image = nib.load(folder / "imagesTs" / "case_6_0000.nii.gz")
    assert voxels.shape == image.shape
    assert np.array_equal(affine, image.affine)
    assert set(np.unique(voxels)) <= set(options.get("values", (0, 1, 2)))
    assert voxels.dtype == (np.uint16 if max(options.get("values", (2,))) > 255 else np.uint8)


def test_the_papers_augmentation(tmp_path):
    folder = write_nnunet(tmp_path / "Dataset007_Organs", cases=5, shape=SHAPE)
    bundle = plan_tiny(folder, tmp_path, "augmentation=papers", "fit=stretch")
    run_bundle("training", bundle)
    assert (bundle / "models/model.pt").is_file()


def test_channels_in_one_file(tmp_path):
    folder = write_msd(tmp_path / "Task09_Four", cases=5, channels=4, shape=SHAPE)
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    (written,) = predict(bundle, folder / "imagesTr/organ_001.nii.gz", tmp_path / "out")
    assert read_voxels(written)[0].shape == SHAPE


@pytest.mark.parametrize("mask", ["0/255", "palette", "rgb"])
def test_pictures(mask, tmp_path):
    folder = write_pictures(tmp_path / "skin", cases=5, mask=mask)
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    source = next(
        path for path in sorted(folder.rglob("*")) if path.is_file() and "image" in str(path.parent)
    )
    (written,) = predict(bundle, source, tmp_path / "out", overlays=True)
    assert written.suffix == ".png"
    assert Image.open(written).size == Image.open(source).size
    labels = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["labels"]["value"]
    pixels = np.asarray(Image.open(written)).astype(int)
    values = pixels if pixels.ndim == 2 else pixels @ (1 << 16, 1 << 8, 1)
    assert set(np.unique(values)) <= set(labels)


def test_archives(tmp_path):
    folder = write_transunet(tmp_path / "Synapse")
    bundle = plan_tiny(folder, tmp_path, "fit=stretch", "sampling=cubic", "protocol=papers")
    run_bundle("training", bundle)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), part="test")
    results = bundle / "eval/test"
    metrics = json.loads((results / "metrics.json").read_text())
    assert (metrics["protocol"], metrics["hd95_unit"]) == ("mm", "mm")
    assert (metrics["papers"]["protocol"], metrics["papers"]["hd95_unit"]) == ("papers", "voxels")
    names = [case["name"] for case in metrics["cases"]]
    assert names and names == [case["name"] for case in metrics["papers"]["cases"]]
    ours, theirs = (
        sorted(path.name for path in (results / folder).iterdir())
        for folder in ("predictions", "predictions_papers")
    )
    assert len(ours) == len(names) and ours == theirs
    assert (results / "metrics_papers.csv").is_file()
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), part="test", protocol="synapse")
    metrics = json.loads((results / "metrics.json").read_text())
    assert "our label maps" in metrics["title"] and "papers" not in metrics
    assert not (results / "metrics_papers.csv").exists()


def test_archives_of_the_left_atrium(tmp_path):
    folder = write_la_h5(tmp_path / "LA", names=("0RZD", "1D7C", "1GU1", "1MHB"))
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"), part="test")
    (case,) = json.loads((bundle / "eval/test/metrics.json").read_text())["cases"]
    assert case["name"] == "UPT6"
    voxels, affine = read_voxels(next(bundle.glob("eval/test/**/UPT6.nii.gz")))
    assert voxels.shape == (12, 10, 8) and np.array_equal(affine, np.eye(4))


def test_promise12(tmp_path):
    folder = write_promise12(tmp_path / "PROMISE12", cases=range(5), test=1)
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    (written,) = predict(bundle, folder / "TestData/Case00.mhd", tmp_path / "out")
    assert (written.name, sitk.ReadImage(str(written)).GetSize()) == ("Case00.mhd", (12, 10, 8))


def test_dicom_series(tmp_path):
    folder = write_dicom(tmp_path / "hospital", cases=5)
    bundle = plan_tiny(folder, tmp_path)
    run_bundle("training", bundle)
    series = next(path.parent for path in sorted(folder.rglob("*.dcm")))
    (written,) = predict(bundle, series, tmp_path / "out")
    label = next(path for path in sorted(folder.rglob("*.nii.gz")))
    voxels, affine = read_voxels(written)
    assert voxels.shape == nib.load(label).shape
    assert np.allclose(affine, nib.load(label).affine, atol=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    work = tmp_path_factory.mktemp("trained")
    folder = write_nnunet(work / "Dataset001_Pair", cases=6, shape=SHAPE)
    bundle = plan_tiny(folder, work, "epochs=2", "learning_rate=0.003", "iterations_per_epoch=8")
    run_bundle("training", bundle)
    return folder, bundle


def test_training_leaves_checkpoints_of_plain_tensors(trained):
    _, bundle = trained
    model = torch.load(bundle / "models/model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in model.values())
    last = torch.load(bundle / "models/checkpoint_last.pt", weights_only=True)
    assert last["epoch"] == 2
    assert list((bundle / "eval").glob("events.out.tfevents*"))


def test_validation_and_inference_give_the_same_label_map(trained):
    """One case through training-time validation and through inference.json."""
    from monai.bundle import ConfigParser

    folder, bundle = trained
    parser = ConfigParser()
    parser.read_config(bundle / "configs/train.json")
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    dataset = parser.get_parsed_content("validate#dataset")
    item = dataset[0]
    validated = parser.get_parsed_content("inferer")(item["image"][None], network.eval())[0]
    cleaned = parser.get_parsed_content("validate#postprocessing")({"pred": validated})["pred"]
    name = item["name"]
    source = str(folder / "imagesTr" / f"{name}_0000.nii.gz")
    (written,) = predict(bundle, source, bundle / "out")
    assert len(np.unique(validated)) > 1
    predicted = parser.get_parsed_content("preprocessing")({"image": source, "label": str(written)})["label"]
    assert np.array_equal(np.asarray(cleaned), np.asarray(predicted))


def test_evaluating_writes_what_it_prints(trained, capsys):
    _, bundle = trained
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    rows = (bundle / "eval/validation/metrics.csv").read_text().splitlines()
    validation = json.loads((bundle / "configs/splits.json").read_text())["folds"][0]["validation"]
    assert len(rows) == 1 + 2 * len(validation)
    assert set(read_soft_dice(bundle / "eval/validation/soft_dice.json")) == set(validation)
    assert "mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run_id", "configs"),
    [("evaluating", ("train.json", "evaluate.json")), ("inferring", ("inference.json",))],
)
def test_one_broken_image_does_not_stop_the_others(trained, tmp_path, run_id, configs):
    folder, bundle = trained
    copy = shutil.copytree(folder, tmp_path / folder.name)
    splits = json.loads((bundle / "configs/splits.json").read_text())
    first, *others = splits["folds"][0]["validation"]
    (copy / splits["cases"][first]["image"]).write_bytes(b"cut off")
    with pytest.raises((RuntimeError, SystemExit)) as ended:
        run_bundle(run_id, bundle, configs, dataset_dir=str(copy), output_dir=str(tmp_path / "eval"))
    assert f"{len(others)} of {len(others) + 1}" in str(root_of(ended.value)) and first in str(
        root_of(ended.value)
    )
    assert {path.name.partition(".")[0] for path in (tmp_path / "eval").rglob("*.nii.gz")} == set(others)
    if run_id == "evaluating":
        rows = (tmp_path / "eval/validation/metrics.csv").read_text()
        assert all(name in rows for name in others) and first not in rows
