"""DICOM in, DICOM-SEG out: `pgsam predict --format dicom-seg`, read back by highdicom and by plain pydicom.

With real series and a network trained on real cases, where these lie beside the checkout, and always with hand-made
ones.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dataset_builders import tiny_image, tiny_label, write_msd
from dicom_files import make_series, plain_frames, positions_of
from shared_data import few_hippocampus_cases, shared_data
from tiny_bundle import plan_tiny, read_voxels, run_bundle

from pgsam_monai.base.files import visible
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands import main as cli
from pgsam_monai.dicom.seg_reading import read_segmentation
from pgsam_monai.predicting.inputs import list_inputs

CASES, SHAPE = 5, (17, 13, 7)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module", params=["hippocampus", "drawn"])
def trained(request, tmp_path_factory) -> tuple[Path, Path]:
    """A bundle, and a folder of DICOM series."""
    work = tmp_path_factory.mktemp(request.param)
    if request.param == "hippocampus":
        folder, studies = few_hippocampus_cases(work, CASES), shared_data("dicom")
    else:
        folder = write_msd(work / "Task09_Organ", cases=CASES, shape=SHAPE, values=(0, 5, 205))
        studies = work / "studies"
        for number, file in enumerate(("IM{:d}", "{:d}.dcm"), start=1):
            image = tiny_image(number, tiny_label(number, SHAPE))
            make_series(studies / f"study{number}", image, file=file, uid=number)
    bundle = plan_tiny(
        folder,
        work,
        "image_size=64",
        "epochs=3",
        "iterations_per_epoch=8",
        "learning_rate=0.003",
        skip_faulty=True,
    )
    run_bundle("training", bundle)
    return bundle, studies


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory) -> list[tuple[Path, Path, Path]]:
    """Per series: its folder, the label map as NIfTI and as DICOM-SEG."""
    bundle, studies = trained
    out = tmp_path_factory.mktemp("out")
    cli.predict(str(bundle), str(studies), str(out / "same"))
    cli.predict(str(bundle), str(studies), str(out / "seg"), format="dicom-seg")
    names = [case["name"] for case in list_inputs(studies)]
    assert names == ["study1", "study2"]
    assert [file.name for file in visible(out / "seg")] == [f"{name}.seg.dcm" for name in names]
    return [(studies / name, out / f"same/{name}.nii.gz", out / f"seg/{name}.seg.dcm") for name in names]


def test_it_reads_back_to_the_same_label_map(trained, predicted):
    values, seen = Bundle(trained[0]).labels, set()
    for series, nifti, file in predicted:
        labels, _ = read_voxels(nifti)
        found, names = read_segmentation(file, series)
        present = [name for name, value in values.items() if (labels == value).any()]
        assert list(names) == present and found.shape == labels.shape
        for name in present:
            np.testing.assert_array_equal(found == names[name], labels == values[name])
        seen.update(present)
    assert seen == set(values)  # an empty prediction would prove nothing


def test_each_frame_refers_to_the_slice_that_lies_where_it_does(predicted):
    for series, nifti, file in predicted:
        labels, affine = read_voxels(nifti)
        places, used = positions_of(series), set()
        frames = plain_frames(file)
        rebuilt = np.zeros((*labels.shape, 1 + max(frame[0] for frame in frames)), bool)
        for segment, instance, position, mask in frames:
            np.testing.assert_allclose(position, places[instance], atol=1e-4)
            index = np.linalg.solve(LPS @ affine, [*position, 1])[:3]
            np.testing.assert_allclose(index, [0, 0, round(index[2])], atol=1e-2)
            rebuilt[..., round(index[2]), segment] |= mask.T
            used.add(instance)
        np.testing.assert_array_equal(rebuilt.any(axis=-1), labels > 0)
        assert used == {uid for uid, place in places.items() if holds_something(place, labels, affine)}


def holds_something(place, labels, affine) -> bool:
    k = round(np.linalg.solve(LPS @ affine, [*place, 1])[2])
    return bool(labels[..., k].any())


def test_it_refers_to_the_series_and_lies_in_its_space(trained, predicted):
    for series, _, file in predicted:
        item = hd.seg.segread(str(file))
        source = pydicom.dcmread(next(series.iterdir()), stop_before_pixels=True)
        ((study, referred, _), *_) = item.get_source_image_uids()
        assert {str(uid) for _, uid, _ in item.get_source_image_uids()} == {str(source.SeriesInstanceUID)}
        assert (study, item.FrameOfReferenceUID) == (source.StudyInstanceUID, source.FrameOfReferenceUID)
        assert {uid for *_, uid in item.get_source_image_uids()} == set(positions_of(series))
        assert item.ManufacturerModelName == trained[0].name and item.DeviceSerialNumber != "unknown"
        assert item.PatientID == source.PatientID and item.segmentation_type.value == "BINARY"


def test_segments_are_coded(predicted):
    for _, _, file in predicted:
        for segment in pydicom.dcmread(file).SegmentSequence:
            (kind,) = segment.SegmentedPropertyTypeCodeSequence
            if segment.SegmentLabel in ("Anterior", "Posterior"):
                assert (kind.CodeValue, kind.CodeMeaning) == ("5366008", "Hippocampus")
                (modifier,) = kind.SegmentedPropertyTypeModifierCodeSequence
                assert modifier.CodeMeaning == segment.SegmentLabel
            else:  # the drawn organs have no names that mean anything
                assert (kind.CodeValue, kind.CodeMeaning) == ("85756007", "Tissue")


def test_pages_and_pictures_lie_beside_and_an_older_label_map_stays(trained, tmp_path, capsys):
    bundle, studies = trained
    older = tmp_path / "study1.nii.gz"
    older.write_bytes(b"mine")
    series = str(studies / "study1")
    cli.predict(str(bundle), series, str(tmp_path), format="dicom-seg", overlays=True, html=True)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "study1.seg.dcm")
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("[!.]*.*"))
    assert files == ["overlays/study1.png", "study1.html", "study1.nii.gz", "study1.seg.dcm"]
    assert older.read_bytes() == b"mine"


def test_the_command_says_what_it_refuses(trained, tmp_path, monkeypatch):
    bundle, studies = trained

    def told(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pgsam", "predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return str(stopped.value)

    volume = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), np.eye(4)), volume)
    assert told(bundle, volume, tmp_path / "out", "--format", "dicom-seg") == (
        f"pgsam: --format dicom-seg refers to DICOM images, and '{volume}' is none; give the folder of a series, or "
        "leave --format out."
    )
    tilted = shutil.copytree(studies / "study2", tmp_path / "tilted")
    for file in tilted.iterdir():
        tilt(file)
    for options in ((), ("--format", "dicom-seg")):
        sentence = told(bundle, tilted, tmp_path / "out", *options)
        assert sentence.startswith(
            f"pgsam: {tilted}: slices are stacked at a slant of 45.0 degrees: from the first"
        )
        assert sentence.endswith(".") and "\n" not in sentence
    assert not list((tmp_path / "out").rglob("*.dcm"))


def tilt(file: Path) -> None:
    """Shift a slice down its columns by as much as it lies along its normal: 45 degrees."""
    item = pydicom.dcmread(file)
    place, axes = (
        np.array(values, float) for values in (item.ImagePositionPatient, item.ImageOrientationPatient)
    )
    item.ImagePositionPatient = list(place + np.cross(axes[:3], axes[3:]) @ place * axes[3:])
    item.save_as(file)


@pytest.mark.parametrize("wrong", ["rtstruct", "nifti"])
def test_other_formats(trained, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"--format is same or dicom-seg, got '{wrong}'"):
        cli.predict(str(trained[0]), str(trained[1]), str(tmp_path), format=wrong)


def test_clicks_become_a_semiautomatic_segmentation(tmp_path):
    folder = write_msd(tmp_path / "Task02_Heart", cases=CASES, shape=SHAPE, values=(0, 2, 300))
    bundle = plan_tiny(folder, tmp_path, "rank=4", networks="medsa")
    run_bundle("training", bundle)
    series = make_series(tmp_path / "study", tiny_image(1, tiny_label(1, SHAPE)))
    name = list(Bundle(bundle).labels)[1]
    (tmp_path / "clicks.json").write_text(json.dumps({"labels": {name: {"positive": [[8, 6, 3]]}}}))
    options = {"clicks": str(tmp_path / "clicks.json"), "device": "cpu"}
    cli.predict(str(bundle), str(series), str(tmp_path / "same"), **options)
    cli.predict(str(bundle), str(series), str(tmp_path / "seg"), format="dicom-seg", **options)
    labels, _ = read_voxels(tmp_path / "same/study.nii.gz")
    found, names = read_segmentation(tmp_path / "seg/study.seg.dcm", series)
    np.testing.assert_array_equal(found > 0, labels == 300)
    item = pydicom.dcmread(tmp_path / "seg/study.seg.dcm")
    assert {segment.SegmentAlgorithmType for segment in item.SegmentSequence} == {"SEMIAUTOMATIC"}
    if labels.any():
        assert names == {name: 1}
