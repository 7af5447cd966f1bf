"""Whatever predicts, its label maps become segmentations: names, values, refusals before anything runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dataset_builders import tiny_image, tiny_label
from dicom_files import make_series

from pgsam_monai import __version__
from pgsam_monai.base.capabilities import METADATA_KEY
from pgsam_monai.base.dicom.series import read_series
from pgsam_monai.base.replacing import RECORD
from pgsam_monai.commands import main as cli
from pgsam_monai.dicom.seg_reading import read_segmentation
from pgsam_monai.predicting.inputs import list_inputs
from pgsam_monai.predicting.predict import predict_cases
from pgsam_monai.predicting.products import Legend, Products
from pgsam_monai.predicting.segmentations import segmentation_of
from pgsam_monai.voxels.result import LabelResult

SHAPE = (8, 7, 5)
IMAGE = tiny_image(1, tiny_label(1, SHAPE))


@pytest.fixture
def studies(tmp_path):
    for number in (1, 2):
        make_series(tmp_path / f"studies/s{number}", IMAGE, uid=number)
    return tmp_path / "studies"


@pytest.fixture
def bundle(tmp_path):
    """What is read of a bundle: its plan and its weights."""
    decisions = {"label_names": ["background", "spleen", "liver"], "labels": [0, 205, 3], "intensity": {}}
    plan = {"decisions": {name: {"value": value} for name, value in decisions.items()}}
    (tmp_path / "samed_x/configs").mkdir(parents=True)
    (tmp_path / "samed_x/models").mkdir()
    (tmp_path / "samed_x/configs/plan.json").write_text(json.dumps(plan))
    (tmp_path / "samed_x/configs/inference.json").write_text("{}")
    about = {METADATA_KEY: {"network": "samed", "title": "SAMed", "trained_for": {}}}
    (tmp_path / "samed_x/configs/metadata.json").write_text(json.dumps(about))
    (tmp_path / "samed_x/models/model.pt").write_bytes(b"weights")
    return tmp_path / "samed_x"


def labels_of(*values: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(values):
        labels[place, 1:4, 1 + place : 3 + place] = value
    return labels


class Painter:
    """Stands for a trained bundle that finds the same label map in every series."""

    channels, labels, background, window = 1, {"spleen": 205, "liver": 3}, 0, None

    def __init__(self, folder, labels):
        self.folder, self.voxels = folder, labels

    def load(self):
        pass

    def label_map(self, image, *, text=None, texts=None):
        affine = read_series(Path(image)).affine
        return LabelResult(voxels=self.voxels, affine=affine, source=image, names=["background"], values=[0])


def segment(studies, bundle, output, labels, **options):
    wanted = {name: options.pop(name) for name in ("overlays", "html") if name in options}
    products = Products(folder=output, format="dicom-seg", **wanted)
    return predict_cases(Painter(bundle, labels), list_inputs(studies), products, **options)


def test_the_bundles_classes(studies, bundle, tmp_path):
    written = segment(studies, bundle, tmp_path / "out", labels_of(205, 3), overlays=True, html=True)
    assert written == [tmp_path / "out/s1.seg.dcm", tmp_path / "out/s2.seg.dcm"]
    files = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.*"))
    assert [file for file in files if RECORD not in file] == [
        "overlays/s1.png", "overlays/s2.png", "s1.html", "s1.seg.dcm", "s2.html", "s2.seg.dcm",
    ]  # fmt: skip
    for series, file in zip(sorted(studies.iterdir()), written, strict=True):
        found, names = read_segmentation(file, series)
        assert names == {"spleen": 1, "liver": 2}
        np.testing.assert_array_equal(found, labels_of(1, 2))
    item = pydicom.dcmread(written[0])
    assert (item.ManufacturerModelName, item.SoftwareVersions) == ("samed_x", __version__)
    assert item.DeviceSerialNumber == hashlib.sha256(b"weights").hexdigest()[:16]


def test_a_text_is_the_segments_name(studies, bundle, tmp_path):
    legend = Legend(labels={"perform liver segmentation": 1})
    written = segment(studies, bundle, tmp_path / "out", labels_of(1), text="liver", legend=legend)
    assert read_segmentation(written[0], studies / "s1")[1] == {"perform liver segmentation": 1}


def test_what_was_pointed_at_is_semiautomatic_and_what_has_no_name_is_background(studies, bundle, tmp_path):
    (case,) = list_inputs(studies / "s1")
    answer = Painter(bundle, labels_of(205, 77)).label_map(case["image"])
    products = Products(folder=tmp_path / "out", format="dicom-seg")
    written = products.write(
        case, lambda folder: answer.save(folder, "s1"), Legend(labels={"spleen": 205}, background=None),
        bundle="sam_vit_b", guided=True,
    )  # fmt: skip
    assert read_segmentation(written, studies / "s1")[1] == {"spleen": 1}
    (segment,) = pydicom.dcmread(written).SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_what_is_no_dicom_is_told_before_anything_runs(studies, bundle, tmp_path):
    nib.save(nib.Nifti1Image(labels_of(1), np.eye(4)), tmp_path / "volume.nii.gz")
    with pytest.raises(
        ValueError, match="--format dicom-seg refers to DICOM images, and .*volume.nii.gz' is none"
    ):
        segment(tmp_path / "volume.nii.gz", bundle, tmp_path / "out", labels_of(1))
    (studies / "s2/3.dcm").unlink()
    with pytest.raises(ValueError, match=r"s2: slices are unevenly spaced \(3 to 6 mm, .*_Eq file\)\.$"):
        segment(studies / "s2", bundle, tmp_path / "out", labels_of(1))
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_when_it_fails(studies, bundle, tmp_path):
    with pytest.raises(ValueError, match="the label map holds 99, values without a name"):
        segment(studies / "s1", bundle, tmp_path / "out", labels_of(99))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_hands_on_what_was_asked(studies, bundle, tmp_path, monkeypatch, capsys):
    asked = []

    def predict(bundle, source, output, **options):
        asked.append(options)
        return [Path(output) / "s1.seg.dcm"]

    monkeypatch.setattr("pgsam_monai.predicting.predict.predict", predict)
    cli.predict(
        str(bundle), str(studies), str(tmp_path / "out"), text="spleen", format="dicom-seg", html=True
    )
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out/s1.seg.dcm")]
    (options,) = asked
    assert (options["text"], options["html"], options["format"]) == ("spleen", True, "dicom-seg")
    assert options["overwrite"] is False


def test_a_label_map_that_a_server_made(studies, bundle, tmp_path):
    series = studies / "s1"
    label_map = tmp_path / "answer.nii.gz"
    nib.save(nib.Nifti1Image(labels_of(205, 3), read_series(series).affine), label_map)
    file = segmentation_of(series, label_map, {"spleen": 205, "liver": 3}, bundle=bundle)
    assert file == tmp_path / "answer.seg.dcm"
    assert read_segmentation(file, series)[1] == {"spleen": 1, "liver": 2}
    with pytest.raises(
        ValueError, match=r"s1: the label map holds 3, values without a name; classes are spleen"
    ):
        segmentation_of(series, label_map, {"spleen": 205}, bundle="some model")
    nib.save(nib.Nifti1Image(labels_of(205), np.eye(4)), label_map)
    with pytest.raises(ValueError, match=r"s1: the label map lies up to .* mm off the series"):
        segmentation_of(series, label_map, {"spleen": 205}, bundle="some model")
