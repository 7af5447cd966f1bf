"""The planner tells of DICOM series that make no volume among the other faults, once, and plans without them."""

from __future__ import annotations

import shutil

import pytest
from dataset_builders import tiny_image, tiny_label, write_dicom
from dicom_files import make_series

from preprocess.commands.main import plan

SENTENCES = (
    "slices are stacked at a slant of",
    "slices are unevenly spaced (3 to 6 mm, widest between 4.dcm, 2.dcm)",
    "1.dcm holds 3 frames in one file",
)


def many_frames(item, k):
    item.NumberOfFrames, item.PixelData = 3, item.PixelData * 3


def tilted(item, k):
    item.ImagePositionPatient = [float(mm) + k * axis for mm, axis in zip(
        item.ImagePositionPatient, item.ImageOrientationPatient[3:], strict=True
    )]  # fmt: skip


@pytest.fixture
def hospital(tmp_path):
    folder = write_dicom(tmp_path / "hospital", cases=6)
    image = tiny_image(1, tiny_label(1))
    for number, change in ((2, tilted), (6, many_frames)):
        series = folder / f"images/study{number}"
        shutil.rmtree(series)
        make_series(series, image[..., :1] if change is many_frames else image, change=change, uid=number)
    (folder / "images/study4/3.dcm").unlink()
    return folder


def test_refused_series_are_faults_with_their_reasons(hospital, tmp_path, capsys):
    options = {
        "target": "cpu",
        "plans_dir": str(tmp_path / "plans"),
        "bundles_dir": str(tmp_path / "bundles"),
    }
    with pytest.raises(SystemExit):
        plan(str(hospital), **options)
    told = capsys.readouterr().out
    assert "unreadable file (3)" in told
    for study, sentence in zip(("study2", "study4", "study6"), SENTENCES, strict=True):
        assert f"{study}, images/{study}: {sentence}" in told
    plan(str(hospital), skip_faulty=True, **options)
    assert (tmp_path / "plans/hospital/plan.json").is_file()
