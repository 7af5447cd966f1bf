"""A bright spot put into a native file is found where its click is converted to, through every geometry."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from dataset_builders import write_series
from monai.transforms import Compose, Orientationd, Spacingd
from small_volumes import oblique_affine

from pgsam_monai.prompts.boxes import Box, corners, tight_box
from pgsam_monai.prompts.frames import box_to_frame, from_frame, roi_from_frame, roi_to_frame, to_frame
from pgsam_monai.transforms import ReadCased
from pgsam_monai.transforms.fit import fit_image, fit_label
from pgsam_monai.voxels.frame import slice_frame

SHAPE = (34, 26, 21)
SPOT = (20, 9, 13)
PLANES = {"axial": "PLS", "coronal": "ILP", "sagittal": "IPR"}  # as the planner orients them
AFFINES = {
    "RAS": np.diag([0.8, 0.8, 3.0, 1]),
    "LPS, as DICOM": np.diag([-0.8, -0.8, 3.0, 1]),
    "all flipped": oblique_affine(signs=(-1, -1, -1)),
    "k, j, i": oblique_affine(axes=(2, 1, 0), signs=(1, -1, 1)),
    "j, k, i": oblique_affine((1.1, 0.6, 4.0), axes=(1, 2, 0), signs=(-1, 1, -1)),
}


def spot_at(place, width=1.5, shape=SHAPE) -> np.ndarray:
    """A Gaussian of `width` voxels, int16: its centre is found to a fraction of a voxel at any size."""
    squares = [(np.arange(n) - centre) ** 2 for n, centre in zip(shape, place, strict=True)]
    distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    return np.round(10000 * np.exp(-distance / (2 * width**2))).astype(np.int16)


def write_itk(array, affine, path):
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))  # numpy's k, j, i
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))


def preprocess(path, axcodes, *further):
    """The native affine, and the preprocessed volume (1, rows, columns, slices) with its own."""
    read = ReadCased("image")({"image": str(path)})["image"]
    native = read.affine.numpy()
    volume = Compose([Orientationd("image", axcodes=axcodes, labels=None), *further])({"image": read})[
        "image"
    ]
    geometry = {"native_affine": native, "affine": volume.affine.numpy()}
    return geometry, volume.as_tensor()


def centre_of_mass(image: torch.Tensor) -> np.ndarray:
    """(x, y) of a slice (S, S)."""
    weight = image.numpy().astype(np.float64)
    rows, columns = np.indices(weight.shape)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def check_spot(geometry, volume, click, size, fit):
    """The brightest slice is the click's, and the spot lies within half a native voxel of its point."""
    H, W, D = volume.shape[1:]
    frame = slice_frame(H, W, size, fit)
    points, slices = to_frame([click], frame=frame, depth=D, **geometry)
    assert slices[0] == volume.sum(dim=(0, 1, 2)).argmax()
    fitted = fit_image(volume[None, ..., int(slices[0])], frame)[0, 0]
    voxel = np.array([frame.fitted_width / W, frame.fitted_height / H])  # in pixels of the square
    assert (np.abs(centre_of_mass(fitted) - points[0]) < 0.25 * voxel).all()
    back = from_frame(points, slices, frame=frame, **geometry)
    thickness = np.linalg.norm(geometry["affine"][:3, 2])
    assert np.linalg.norm(geometry["native_affine"][:3, :3] @ (back[0] - click)) <= thickness / 2 + 1e-6  # mm
    return back[0]


@pytest.mark.parametrize("axcodes", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_spots_in_every_plane_and_orientation(tmp_path, affine, axcodes):
    nib.save(nib.Nifti1Image(spot_at(SPOT), affine), tmp_path / "case.nii.gz")
    geometry, volume = preprocess(tmp_path / "case.nii.gz", axcodes)
    for size in (20, 64):  # smaller and larger
        for fit in ("pad", "stretch"):
            back = check_spot(geometry, volume, SPOT, size, fit)
            np.testing.assert_allclose(back, SPOT, atol=1e-4)  # no slice lies between two others


@pytest.mark.parametrize("kind", ["nrrd", "mha", "dicom"])
def test_spots_in_files_of_itk_and_dicom(tmp_path, kind):
    # a DICOM series has no left-handed order: its slices are sorted along the normal of their plane
    affine = oblique_affine(axes=(0, 2, 1), signs=(-1, 1, 1 if kind == "dicom" else -1))
    path = tmp_path / f"case.{kind}"
    if kind == "dicom":
        write_series(path, spot_at(SPOT), affine)
    else:
        write_itk(spot_at(SPOT), affine, path)
    for axcodes in PLANES.values():
        geometry, volume = preprocess(path, axcodes)
        check_spot(geometry, volume, SPOT, 48, "pad")


def test_clicks_of_simpleitk_arrays_are_k_j_i(tmp_path):
    """One bright voxel, enlarged: its numpy index reversed is its click."""
    array = np.zeros(SHAPE[::-1], dtype=np.int16)
    array[13, 9, 20] = 1000
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.8, 3.0))
    image.SetDirection((0, 1, 0, 0, 0, -1, -1, 0, 0))
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    place = image.TransformIndexToPhysicalPoint(SPOT)
    for axcodes in PLANES.values():
        geometry, volume = preprocess(tmp_path / "case.nrrd", axcodes)
        check_spot(geometry, volume, SPOT, 96, "stretch")
        world = geometry["native_affine"] @ [*SPOT, 1]
        np.testing.assert_allclose(world[:3], np.multiply(place, (-1, -1, 1)), atol=1e-4)


@pytest.mark.parametrize("spacing", [(0.5, 1.2, 2.0), (1.5, 0.9, 4.0)])
def test_spots_through_resampling(tmp_path, spacing):
    nib.save(nib.Nifti1Image(spot_at(SPOT, 2.5), oblique_affine((0.7, 0.9, 2.5))), tmp_path / "case.nii.gz")
    geometry, volume = preprocess(tmp_path / "case.nii.gz", "PLS", Spacingd("image", pixdim=spacing))
    check_spot(geometry, volume, SPOT, 50, "pad")


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_clicks_come_back(fit):
    geometry = {"native_affine": oblique_affine(), "affine": oblique_affine(axes=(1, 2, 0))}
    rng = np.random.default_rng(0)
    frame = slice_frame(40, 30, 24, fit)
    points = rng.uniform(0, (frame.fitted_width - 1, frame.fitted_height - 1), (20, 2))
    slices = rng.integers(0, 50, 20)
    clicks = from_frame(points, slices, frame=frame, **geometry)
    again = to_frame(clicks, frame=frame, depth=50, **geometry)
    np.testing.assert_allclose(again[0], points, atol=1e-9)
    np.testing.assert_array_equal(again[1], slices)


IDENTITY = {"native_affine": np.eye(4), "affine": np.eye(4)}


def test_hand_sized_points():
    """Fourfold enlargement: the first voxel's centre is between pixels 1 and 2; x runs along columns."""
    frame = slice_frame(2, 4, 16)
    points, slices = to_frame([[0, 0, 0], [1, 3, 2], [0.5, 1, 1.4]], frame=frame, depth=3, **IDENTITY)
    assert points.tolist() == [[1.5, 1.5], [13.5, 5.5], [5.5, 3.5]] and slices.tolist() == [0, 2, 1]
    assert slice_frame(2, 4, 16, "stretch").fitted_height == 16
    stretched = to_frame([[1, 3, 2]], frame=slice_frame(2, 4, 16, "stretch"), depth=3, **IDENTITY)[0]
    assert stretched.tolist() == [[13.5, 11.5]]


def test_nearest_slice_and_the_volumes_faces():
    frame = slice_frame(4, 4, 4)
    slices = to_frame([[0, 0, z] for z in (-0.5, 0.49, 0.5, 1.5, 2.5)], frame=frame, depth=3, **IDENTITY)[1]
    assert slices.tolist() == [0, 0, 1, 2, 2]
    nothing = to_frame([], frame=frame, depth=3, **IDENTITY)
    assert nothing[0].shape == (0, 2) and nothing[1].shape == (0,)


def test_clicks_outside_are_refused_in_the_users_terms():
    native = np.diag([-1.0, 1, 2, 1])
    geometry = {"native_affine": native, "affine": native @ np.eye(4)[:, [1, 0, 2, 3]]}  # axes swapped
    with pytest.raises(
        ValueError,
        match=r"click 2, voxel \(30, 1, 1\), lies outside the image, whose voxels run "
        r"from \(0, 0, 0\) to \(9, 19, 4\)",
    ):
        to_frame([[9, 19, 4], [30, 1, 1]], frame=slice_frame(20, 10, 32), depth=5, **geometry)
    with pytest.raises(ValueError, match=r"clicks must be \(N, 3\) finite numbers, got shape \(1, 2\)"):
        to_frame([[1, 2]], frame=slice_frame(20, 10, 32), depth=5, **geometry)
    with pytest.raises(ValueError, match="clicks must be"):
        to_frame([[1, 2, np.nan]], frame=slice_frame(20, 10, 32), depth=5, **geometry)
    with pytest.raises(ValueError, match="2 points need as many slices, got 1"):
        from_frame([[1, 2], [3, 4]], [0], frame=slice_frame(20, 10, 32), **geometry)


@pytest.mark.parametrize("axcodes", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("size", [20, 68])
def test_regions_are_the_tight_boxes_of_what_they_cover(tmp_path, axcodes, size):
    """A block of voxels, its corners given in any order, becomes on each slice the tight box of its label."""
    low, high = np.array([12, 4, 7]), np.array([25, 19, 16])
    block = np.zeros(SHAPE, dtype=np.int16)
    block[12:26, 4:20, 7:17] = 1
    nib.save(nib.Nifti1Image(block, AFFINES["k, j, i"]), tmp_path / "case.nii.gz")
    geometry, volume = preprocess(tmp_path / "case.nii.gz", axcodes)
    frame = slice_frame(*volume.shape[1:3], size)
    roi = np.stack([high, low], axis=1).ravel().tolist()  # unsorted
    boxes, slices = roi_to_frame(roi, frame=frame, depth=volume.shape[3], **geometry)
    assert slices == np.flatnonzero(volume.sum(dim=(0, 1, 2))).tolist()
    label = fit_label(volume[None, ..., slices[0]], frame)[0, 0].numpy() > 0
    np.testing.assert_allclose(boxes[0], corners(tight_box(label)), atol=0.51)  # labels sit on whole pixels
    for index in (slices[0], slices[-1]):
        back = np.reshape(roi_from_frame(boxes[0], index, frame=frame, **geometry), (3, 2))
        assert (back[:, 0] >= low - 1e-6).all() and (back[:, 1] <= high + 1e-6).all()
        thick = back[:, 1] - back[:, 0] > 1e-6
        assert thick.sum() == 2
        np.testing.assert_allclose(back[thick], np.stack([low, high], axis=1)[thick], atol=1e-6)


def test_hand_sized_regions():
    frame = slice_frame(4, 4, 16)
    one = roi_to_frame([1, 1, 2, 2, 0, 0], frame=frame, depth=3, **IDENTITY)
    assert one == ([Box(8, 4, 11, 7)], [0])  # four pixels a voxel
    assert roi_to_frame([0, 9, -3, 3, 5, 1], frame=frame, depth=3, **IDENTITY) == (
        [Box(0, 0, 15, 15)] * 2,
        [1, 2],
    )
    small = slice_frame(16, 16, 4)
    assert roi_to_frame([5, 5, 2, 13, 1.2, 1.2], frame=small, depth=3, **IDENTITY) == (
        [Box(0.5, 0.875, 2.5, 0.875)],
        [1],
    )
    thin = {"native_affine": np.diag([1, 1, 0.25, 1]), "affine": np.eye(4)}
    assert roi_to_frame([0, 0, 0, 0, 6, 6], frame=frame, depth=3, **thin)[1] == [2]


def test_boxes_between_two_corners():
    frame = slice_frame(4, 4, 16)
    box = box_to_frame([3, 2, 1], [1, 1, 1], frame=frame, depth=3, **IDENTITY)
    assert box == (Box(4, 4, 11, 15), 1)
    assert roi_from_frame(*box, frame=frame, **IDENTITY) == [1, 3, 1, 2, 1, 1]
    with pytest.raises(ValueError, match=r"corners \(3, 2, 1\) and \(1, 1, 2\) lie on slices 1 and 2"):
        box_to_frame([3, 2, 1], [1, 1, 2], frame=frame, depth=3, **IDENTITY)
    with pytest.raises(ValueError, match=r"click 2, voxel \(1, 1, 5\)"):
        box_to_frame([3, 2, 1], [1, 1, 5], frame=frame, depth=3, **IDENTITY)


def test_regions_are_refused():
    frame = slice_frame(4, 4, 16)
    with pytest.raises(ValueError, match=r"region \[7.0, 9.0, 0.0, 3.0, 0.0, 0.0\] lies outside the image"):
        roi_to_frame([7, 9, 0, 3, 0, 0], frame=frame, depth=3, **IDENTITY)
    for roi in ([1, 2, 3], [1, 2, 3, 4, 5, float("inf")]):
        with pytest.raises(ValueError, match="must be six numbers"):
            roi_to_frame(roi, frame=frame, depth=3, **IDENTITY)
