"""Phantoms: anatomy in place, geometry varied, not solvable by grey values alone, written safely."""

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pgsam_monai.data.phantom import ORGANS, make_phantom, write_phantom

SMALL = (64, 56, 20)


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(seed, SMALL) for seed in range(6)]


def organ_centre(phantom, organ: str) -> np.ndarray:
    """Patient mm: +x right, +y anterior, +z superior."""
    return nib.affines.apply_affine(phantom.affine, np.argwhere(phantom.label == ORGANS[organ]).mean(axis=0))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_types_and_shape():
    image, label, affine = make_phantom(0, (48, 40, 12))
    assert image.shape == label.shape == (48, 40, 12)
    assert (image.dtype, label.dtype, affine.dtype) == (np.int16, np.uint8, np.float64)
    assert set(np.unique(label)) == {0, 1, 2, 3, 4, 6, 7, 8, 11}
    assert image.min() >= -1024 and image.max() <= 3071


def test_the_seed_decides_everything():
    first, again, other = (
        make_phantom(5, (32, 32, 8)),
        make_phantom(5, (32, 32, 8)),
        make_phantom(6, (32, 32, 8)),
    )
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    assert not np.array_equal(first.image, other.image)


def test_organs_lie_where_they_belong(phantoms):
    for phantom in phantoms:
        at = {organ: organ_centre(phantom, organ) for organ in ORGANS}
        aorta = at["aorta"]
        for right in ("liver", "right kidney", "gallbladder"):
            assert at[right][0] > aorta[0] + 10
        for left in ("spleen", "left kidney", "stomach"):
            assert at[left][0] < aorta[0] - 10
        assert at["stomach"][1] > at["pancreas"][1] > at["left kidney"][1]  # front to back
        assert at["spleen"][2] > at["left kidney"][2] and at["liver"][2] > at["right kidney"][2]


def test_organs_have_plausible_sizes_and_grey_values(phantoms):
    for phantom in phantoms:
        millilitres = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
        volume = {organ: (phantom.label == value).sum() * millilitres for organ, value in ORGANS.items()}
        assert 900 < volume["liver"] < 2600
        assert all(volume[organ] > 8 for organ in ORGANS)
        mean = {organ: phantom.image[phantom.label == value].mean() for organ, value in ORGANS.items()}
        assert 60 < mean["liver"] < 150 and 90 < mean["aorta"] < 220 and -20 < mean["gallbladder"] < 60


def test_geometry_is_oblique_and_orientations_are_mixed(phantoms):
    assert len({nib.aff2axcodes(phantom.affine) for phantom in phantoms}) > 1
    for phantom in phantoms:
        directions = phantom.affine[:3, :3] / np.linalg.norm(phantom.affine[:3, :3], axis=0)
        assert np.allclose(directions.T @ directions, np.eye(3), atol=1e-6)
        largest = np.abs(directions).max(axis=0)
        assert largest.min() < 0.9999 and largest.min() > np.cos(np.deg2rad(9))


def test_full_size_spacing():
    for seed in range(2):
        phantom = make_phantom(seed)
        pixel, _, slice_mm = np.linalg.norm(phantom.affine[:3, :3], axis=0)
        assert phantom.image.shape[:2] == (160, 160) and 24 <= phantom.image.shape[2] <= 40
        assert 0.69 < pixel * 160 / 512 < 0.91 and 3 <= slice_mm <= 5


def test_grey_values_alone_do_not_solve_it(phantoms):
    """Even told each organ's true distribution of smoothed grey values, a classifier of voxels fails."""
    values = np.concatenate([gaussian_filter(phantom.image, 0.6).ravel() for phantom in phantoms])
    labels = np.concatenate([phantom.label.ravel() for phantom in phantoms])
    bins = np.clip((values.astype(int) + 1024) // 8, 0, 511)
    counts = np.stack([np.bincount(bins[labels == value], minlength=512) for value in (0, *ORGANS.values())])
    for prior in (1, counts.sum(axis=1, keepdims=True)):  # by posterior, and with all classes equally likely
        guess = np.array([0, *ORGANS.values()])[(counts / prior).argmax(axis=0)][bins]
        scores = [dice(guess == value, labels == value) for value in ORGANS.values()]
        assert np.mean(scores) < 0.6


def test_too_small_a_shape_is_refused():
    with pytest.raises(ValueError, match="at least 2 voxels"):
        make_phantom(0, (48, 40, 1))


def test_written_set_has_synapse_layout(tmp_path):
    folder = write_phantom(tmp_path / "abdomen", cases=2, seed=3, in_plane=(32, 32), slices=8, progress=False)
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.nii.gz"))
    assert files == [
        "img/img0001.nii.gz",
        "img/img0002.nii.gz",
        "label/label0001.nii.gz",
        "label/label0002.nii.gz",
    ]
    image, label = nib.load(folder / files[0]), nib.load(folder / files[2])
    assert image.shape == label.shape == (32, 32, 8)
    assert image.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, label.affine)
    assert "not patients" in (folder / "README.txt").read_text()


def test_a_set_is_continued_and_never_mixed(tmp_path):
    settings = dict(in_plane=(24, 24), slices=6, progress=False)
    write_phantom(tmp_path, cases=1, **settings)
    first = (tmp_path / "img" / "img0001.nii.gz").stat()
    write_phantom(tmp_path, cases=2, **settings)
    assert (tmp_path / "img" / "img0001.nii.gz").stat().st_mtime_ns == first.st_mtime_ns
    assert (tmp_path / "label" / "label0002.nii.gz").exists()
    with pytest.raises(FileExistsError, match="choose another folder"):
        write_phantom(tmp_path, cases=1, seed=1, **settings)


def test_foreign_images_are_never_touched(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "img0001.nii.gz").write_bytes(b"a patient")
    with pytest.raises(FileExistsError, match="no phantom notice"):
        write_phantom(tmp_path, cases=1, progress=False)
    assert (tmp_path / "img" / "img0001.nii.gz").read_bytes() == b"a patient"
