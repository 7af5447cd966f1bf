"""Any image file, however damaged: a volume that is what it says, or a sentence; quickly, in little memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzz.damage import Damaged, damaged
from fuzz.specimens import specimens
from fuzz.tally import Tally, examples
from fuzz.workers import Worker, Wrong
from hypothesis import given

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import read_classes, read_geometry, read_image, read_label, read_volume
from pgsam_monai.voxels.saving import save_label_map

SECRET = bytes(range(1, 255)) * 200


def try_file(root: str, name: str) -> str | None:
    """Everything that opens an image, on one file; raises Wrong where a result isn't right."""
    place = Path(root, "in", name)
    geometry = _or_none(read_geometry, place)
    label = _or_none(read_label, place)
    volume = read_volume(place)
    for read in (volume, *([label] if label else [])):
        _check(read)
    if geometry is not None:
        _check_agree(geometry, volume)
    _or_none(read_image, place)
    _or_none(read_classes, place)
    shape = volume.voxels.shape[1:]
    saved = save_label_map(np.ones(shape, np.uint8), Path(root, "out"), "case", place, affine=volume.affine)
    if not (read_volume(saved).voxels == 1).all():
        raise Wrong("a label map of ones came back as something else")


def _or_none(read, place):
    try:
        return read(place)
    except UserFault:
        return None


def _check(volume) -> None:
    voxels = volume.voxels
    if voxels.ndim != 4 or 0 in voxels.shape or voxels.dtype.kind not in "biuf":
        raise Wrong(f"voxels {voxels.shape} of {voxels.dtype}")
    if not np.isfinite(volume.affine).all() or not all(0 < mm < 1e30 for mm in volume.spacing):
        raise Wrong(f"affine {volume.affine.tolist()}, spacing {volume.spacing}")
    if SECRET[7:60] in voxels.tobytes("F"):
        raise Wrong("the voxels are of a file outside the image's folder")


def _check_agree(geometry, volume) -> None:
    if (geometry.channels, *geometry.shape) != volume.voxels.shape or geometry.dtype != volume.voxels.dtype:
        raise Wrong(
            f"the header says {geometry.channels} x {geometry.shape} of {geometry.dtype}, "
            f"the voxels are {volume.voxels.shape} of {volume.voxels.dtype}"
        )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("headers")
    (root / "secret.raw").write_bytes(SECRET)
    for number in range(1, 10):
        (root / f"secret{number}.raw").write_bytes(SECRET)
    return root


def lay(root: Path, files: dict[str, bytes]) -> None:
    for part in ("in", "out"):
        shutil.rmtree(root / part, ignore_errors=True)
        (root / part).mkdir()
    for name, content in files.items():
        (root / "in" / name).write_bytes(content)


def around(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture(scope="module")
def worker():
    with Worker(try_file) as worker:
        yield worker


@pytest.fixture(scope="module")
def tally():
    return Tally("headers")


@pytest.mark.parametrize("name", sorted(specimens()))
def test_what_is_whole_is_read(name, root, worker):
    example = Damaged(name=name, steps=[])
    lay(root, example.files)
    outcome = worker(str(root), example.opened)
    assert outcome.kind == "read", outcome.story


def test_what_is_damaged_is_read_or_refused(root, worker, tally):
    @examples(150)
    @given(damaged())
    def attempt(example):
        lay(root, example.files)
        before = around(root)
        outcome = worker(str(root), example.opened)
        tally.count(outcome, example)
        assert around(root) == before

    attempt()
    tally.finish()
