"""What was there stays, whatever is wanted; one case that fails never stops the others."""

import errno
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import tiny_image, tiny_label, write_volume
from dicom_files import make_series

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import ReadError, read_image
from pgsam_monai.bundle import WeightsFault
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import list_inputs
from pgsam_monai.predicting.predict import predict_cases
from pgsam_monai.predicting.products import Products
from pgsam_monai.voxels.result import LabelResult

LABELS = {"organ1": 1, "organ2": 2}


class Thresholding:
    """Stands for a trained bundle; what is brighter than the mean is organ1."""

    channels, labels, background, window = 1, LABELS, 0, None

    def __init__(self, folder, raises=None):
        self.folder, self.raises, self.seen = folder, raises or {}, []

    def load(self):
        pass

    def label_map(self, image, *, text=None, texts=None):
        self.seen.append(image)
        for name, fault in self.raises.items():
            if name in str(image):
                raise fault
        volume = read_image([image] if isinstance(image, str) else image)
        voxels = (volume.voxels[0] > volume.voxels[0].mean()).astype(np.uint8)
        source = image if isinstance(image, str) else image[0]
        names, values = ["background", *LABELS], [0, 1, 2]
        return LabelResult(voxels=voxels, affine=volume.affine, source=source, names=names, values=values)


@pytest.fixture
def scans(tmp_path):
    for number in (1, 2, 3):
        write_volume(tmp_path / f"scans/s{number}.nii.gz", tiny_image(number, tiny_label(number)))
    return tmp_path / "scans"


def run(scans, output, bundle=None, *, channels=1, **wanted):
    bundle = bundle or Thresholding(output)
    return predict_cases(bundle, list_inputs(scans, channels=channels), Products(folder=output, **wanted))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("way", ["itself", "link", "hard links"])
def test_scans_are_not_replaced_by_their_label_maps(scans, tmp_path, way, overwrite):
    output = scans if way == "itself" else tmp_path / "out"
    if way == "link":
        output.symlink_to(scans)
    elif way == "hard links":
        shutil.copytree(scans, output, copy_function=os.link)
    before, bundle = contents(scans), Thresholding(tmp_path)
    with pytest.raises(UserFault, match="would replace"):
        run(scans, output, bundle, overwrite=overwrite)
    assert contents(scans) == before and bundle.seen == []


@pytest.mark.parametrize("edited", ["s2.nii.gz", "overlays/s1.png", "s3.html"])
def test_a_run_can_be_repeated_until_somebody_edits_a_result(scans, tmp_path, edited):
    output, wanted = tmp_path / "out", {"overlays": True, "html": True}
    first = run(scans, output, **wanted)
    assert [file.name for file in first] == ["s1.nii.gz", "s2.nii.gz", "s3.nii.gz"]
    assert run(scans, output, **wanted) == first
    (output / edited).write_bytes(b"corrected by hand")
    bundle = Thresholding(tmp_path)
    with pytest.raises(UserFault, match=f"{edited}' would be replaced"):
        run(scans, output, bundle, **wanted)
    assert bundle.seen == [] and (output / edited).read_bytes() == b"corrected by hand"
    assert run(scans, output, overwrite=True, **wanted) == first
    assert (output / edited).read_bytes() != b"corrected by hand"


def test_detached_voxels_of_the_user_stay(tmp_path):
    write_volume(tmp_path / "scan.mhd", tiny_image(1, tiny_label(1)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scan.zraw").write_bytes(b"mine")
    with pytest.raises(UserFault, match=r"scan.zraw' would be replaced"):
        run(tmp_path / "scan.mhd", tmp_path / "out")
    (tmp_path / "out/scan.zraw").unlink()
    for _ in range(2):
        run(tmp_path / "scan.mhd", tmp_path / "out")


BROKEN = {
    "unreadable": None,
    "our fault": KeyError("oops"),
    "memory": MemoryError(),
    "gpu": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "rights": PermissionError(errno.EACCES, "denied", "s2"),
    "odd": ReadError("s2.nii.gz", "it is odd"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_case_does_not_stop_the_others(scans, tmp_path, kind, capsys):
    if kind == "unreadable":
        (scans / "s2.nii.gz").write_bytes((scans / "s2.nii.gz").read_bytes()[:50])
    bundle = Thresholding(tmp_path, {"/s2.": BROKEN[kind]} if BROKEN[kind] else {})
    with pytest.raises(SomeFailed) as fault:
        run(scans, tmp_path / "out", bundle, overlays=True, html=True)
    assert str(fault.value).startswith("2 of 3 predicted. Failed:\n  ") and "s2.nii.gz: " in str(fault.value)
    assert [file.name for file in fault.value.done] == ["s1.nii.gz", "s3.nii.gz"]
    assert {"s1.nii.gz", "s3.nii.gz", "s1.png", "s3.png", "s1.html", "s3.html"} <= contents(
        tmp_path / "out"
    ).keys()
    assert ("Traceback" in capsys.readouterr().err) == (kind == "our fault")


def test_an_only_case_keeps_its_own_fault(scans, tmp_path):
    with pytest.raises(ReadError, match="it is odd"):
        run(scans / "s2.nii.gz", tmp_path / "out", Thresholding(tmp_path, {"/s2.": BROKEN["odd"]}))


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only"), WeightsFault("weights are gone")],
)
def test_what_would_fail_every_case_stops_at_once(scans, tmp_path, fault):
    bundle = Thresholding(tmp_path, {"/s2.": fault})
    with pytest.raises(UserFault, match="1 of 3 cases were predicted before"):
        run(scans, tmp_path / "out", bundle)
    assert len(bundle.seen) == 2 and "s1.nii.gz" in contents(tmp_path / "out")


def test_a_group_of_wrong_channels_fails_alone(tmp_path):
    for name in ("x_0000", "x_0001", "y_0000", "z_0000", "z_0001"):
        write_volume(tmp_path / f"scans/{name}.nii.gz", tiny_image(1, tiny_label(1)))
    bundle = Thresholding(tmp_path)
    bundle.channels = 2
    with pytest.raises(
        SomeFailed, match=r"2 of 3 predicted. Failed:\n  .*y_0000.nii.gz: Case 'y'.*got 1 file"
    ):
        run(tmp_path / "scans", tmp_path / "out", bundle, channels=2)


def test_segmentations_of_those_that_are_dicom(tmp_path):
    for number in (1, 2):
        make_series(tmp_path / f"studies/s{number}", tiny_image(1, tiny_label(1)), uid=number)
    write_volume(tmp_path / "studies/volume.nii.gz", tiny_image(1, tiny_label(1)))
    with pytest.raises(
        SomeFailed, match=r"2 of 3 predicted. Failed:\n  .*volume.nii.gz: --format dicom-seg refers"
    ):
        run(tmp_path / "studies", tmp_path / "out", format="dicom-seg", overlays=True)
    visible = {path.name for path in (tmp_path / "out").rglob("*") if path.name[0] != "."}
    assert visible == {"overlays", "s1.png", "s2.png", "s1.seg.dcm", "s2.seg.dcm"}
    with pytest.raises(UserFault, match="would lie in"):
        run(tmp_path / "studies/s1", tmp_path / "studies/s1", format="dicom-seg", overwrite=True)


def test_an_interrupted_run_leaves_what_is_whole(scans, tmp_path):
    bundle = Thresholding(tmp_path, {"/s2.": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(scans, tmp_path / "out", bundle, format="same", overlays=True)
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.name[0] != "."} == {
        "s1.nii.gz", "overlays", "s1.png",
    }  # fmt: skip
    assert not list((tmp_path / "out").rglob("*.partial"))
    assert len(run(scans, tmp_path / "out", overlays=True)) == 3


def test_too_little_room_is_told_before(scans, tmp_path, monkeypatch):
    free = shutil._ntuple_diskusage(1 << 20, 1 << 20, 9000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    bundle = Thresholding(tmp_path)
    with pytest.raises(UserFault, match=r"Results take about .* has 9e-06 GB free; make room, or choose"):
        run(scans, tmp_path / "out", bundle)
    assert bundle.seen == []


@pytest.mark.parametrize(
    "name", ["[a]", "a,b", "run##1", "-x", "$HOME", "a b", "line\nbreak", "ü", "x" * 233, "{a}%"]
)
def test_odd_names_become_odd_names(scans, tmp_path, name):
    (scans / "s1.nii.gz").rename(tmp_path / f"{name}.nii.gz")
    output = tmp_path / f"out {name[:9]}"
    for _ in range(2):
        (written,) = run(tmp_path / f"{name}.nii.gz", output, overlays=True, html=True)
    assert written == output / f"{name}.nii.gz" and nib.load(written).shape
    assert {f"{name}.png", f"{name}.html"} <= contents(output).keys()


def test_a_name_that_is_too_long_fails_alone(scans, tmp_path):
    (scans / "s1.nii.gz").rename(scans / ("x" * 248 + ".nii.gz"))
    shutil.copy(scans / ("x" * 248 + ".nii.gz"), scans / ("y" * 248 + ".nii.gz"))
    nib.save(nib.load(scans / "s2.nii.gz"), scans / "b.nii")
    (scans / "b.nii").rename(scans / ("z" * 251 + ".nii"))
    with pytest.raises(SomeFailed, match=r"4 of 5 predicted. Failed:\n  .*z.nii: .*the name is too long"):
        run(scans, tmp_path / "out")
