"""Every format reads to the same voxels in the same frame, in training and in planning."""

import struct
from functools import partial
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dataset_builders import (
    OBLIQUE,
    mask_picture,
    tiny_image,
    tiny_label,
    write_la_h5,
    write_series,
    write_transunet,
    write_volume,
)
from PIL import Image
from shared_data import shared_data
from small_volumes import make_arrays, oblique_affine

from pgsam_monai.base.volume import ReadError, read_label, read_volume
from pgsam_monai.transforms import ReadCased
from preprocess.layouts import find_dataset


def read(path, role="image"):
    """As training reads."""
    tensor = ReadCased(role)({role: path})[role]
    return tensor.numpy(), tensor.meta


def write_itk(array, affine, path):
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_volume_formats_agree(tmp_path, suffix):
    image, _ = make_arrays()
    affine = oblique_affine()
    path = tmp_path / f"case{suffix}"
    if suffix.startswith(".nii"):
        nib.save(nib.Nifti1Image(image, affine), path)
    else:
        write_itk(image, affine, path)
    array, meta = read(path)
    assert array.dtype == np.float32 and array.shape == (1, 9, 7, 5)
    np.testing.assert_array_equal(array[0], image)
    np.testing.assert_allclose(meta["affine"], affine, atol=1e-5)


def test_channels_as_files_or_as_fourth_axis(tmp_path):
    image, _ = make_arrays()
    affine = oblique_affine()
    nib.save(nib.Nifti1Image(np.stack([image, -image], axis=-1), affine), tmp_path / "both.nii.gz")
    paths = []
    for n, channel in enumerate((image, -image)):
        paths.append(tmp_path / f"c_{n:04d}.nii.gz")
        nib.save(nib.Nifti1Image(channel, affine), paths[-1])
    np.testing.assert_array_equal(read(paths)[0], read(tmp_path / "both.nii.gz")[0])
    assert read(paths)[0].shape == (2, 9, 7, 5)


def test_channels_on_different_grids_are_refused(tmp_path):
    image, _ = make_arrays()
    nib.save(nib.Nifti1Image(image, oblique_affine()), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(image[:-1], oblique_affine()), tmp_path / "b.nii.gz")
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "c.nii.gz")
    with pytest.raises(
        ReadError, match=r"b\.nii\.gz: channel of shape \(8, 7, 5\), but a\.nii\.gz has \(9, 7, 5\)"
    ):
        read([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])
    with pytest.raises(ReadError, match=r"c\.nii\.gz: channel lies up to .* mm off a\.nii\.gz"):
        read([tmp_path / "a.nii.gz", tmp_path / "c.nii.gz"])


def test_two_dimensional_nifti_gets_a_slice_axis(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(12, dtype=np.int16).reshape(3, 4), np.eye(4)), tmp_path / "flat.nii")
    assert read(tmp_path / "flat.nii")[0].shape == (1, 3, 4, 1)


def test_unreadable_files_are_named(tmp_path):
    image, _ = make_arrays()
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "cut.nii.gz").read_bytes()[:300])
    for name in ("cut.nii.gz", "absent.nii.gz"):
        with pytest.raises(ReadError, match=name):
            read(tmp_path / name)


def test_fractional_labels_are_refused_and_float_integers_taken(tmp_path):
    label = np.array([[[0.0, 205.0]]], dtype=np.float32)
    nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "good.nii")
    nib.save(nib.Nifti1Image(label * 0.3, np.eye(4)), tmp_path / "bad.nii")
    array, _ = read(tmp_path / "good.nii", "label")
    assert array.dtype == np.int32 and array.max() == 205
    with pytest.raises(ReadError, match="must be integers"):
        read(tmp_path / "bad.nii", "label")


def test_pictures(tmp_path):
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([rgb, np.full((2, 3), 9, np.uint8)])).save(tmp_path / "rgba.tif")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 300).save(tmp_path / "deep.png")
    for name in ("rgb.png", "rgba.tif"):
        array, meta = read(tmp_path / name)
        assert array.shape == (3, 2, 3, 1)
        np.testing.assert_array_equal(array[..., 0], np.moveaxis(rgb, -1, 0))
        np.testing.assert_array_equal(meta["affine"], np.eye(4))
    np.testing.assert_array_equal(read(tmp_path / "grey.png")[0][0, ..., 0], rgb[..., 0])
    assert read(tmp_path / "deep.png")[0].max() == 15 * 300


def test_masks(tmp_path):
    indices = np.array([[0, 1, 2]], dtype=np.uint8)
    palette = Image.new("P", (3, 1))
    palette.putdata([0, 1, 2])
    palette.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(indices * 127).save(tmp_path / "grey.png")
    colours = np.array([[[0, 0, 0], [1, 2, 3], [255, 0, 0]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    blurred = np.repeat(np.array([[3, 250]], dtype=np.uint8), 16, axis=1).repeat(16, axis=0)
    Image.fromarray(blurred).save(tmp_path / "mask.jpg", quality=95)
    values = {
        "palette.png": [0, 1, 2],
        "grey.png": [0, 127, 254],
        "colour.png": [0, 0x010203, 0xFF0000],
        "mask.jpg": [0, 255],
    }
    for name, expected in values.items():
        array, _ = read(tmp_path / name, "label")
        assert array.dtype == np.int32 and array.shape[0] == array.shape[3] == 1
        assert np.unique(array).tolist() == expected, name


def test_archives(tmp_path):
    volume = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)  # (slices, rows, columns)
    label = (volume * 4).astype(np.uint8)
    paths = []
    for n in range(4):
        paths.append(tmp_path / f"case0005_slice{n:03d}.npz")
        np.savez(paths[-1], image=volume[n], label=label[n].astype(np.float32))
    with h5py.File(tmp_path / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = volume, label
    for files in (paths, tmp_path / "case0001.npy.h5"):
        np.testing.assert_array_equal(read(files)[0][0], np.moveaxis(volume, 0, -1))
        np.testing.assert_array_equal(read(files, "label")[0][0], np.moveaxis(label, 0, -1))
    np.savez(tmp_path / "bare.npz", image=volume[0])
    with pytest.raises(ReadError, match="no array 'label', only"):
        read(tmp_path / "bare.npz", "label")


def test_planner_and_trainer_read_archives_alike(tmp_path):
    """UA-MT's hold their slices last, TransUNet's first; image and label lie on each other either way."""
    for dataset in map(find_dataset, (write_la_h5(tmp_path / "la"), write_transunet(tmp_path / "synapse"))):
        for case in dataset.cases:
            files = [Path(dataset.folder, path) for path in case.images]
            array, meta = read(files)
            classes, _ = read(files, "label")
            planned, planned_label = read_volume(files), read_label(files)
            assert array.shape == classes.shape == (1, 12, 10, 8)
            np.testing.assert_array_equal(array, planned.voxels)
            np.testing.assert_array_equal(classes, planned_label.voxels)
            np.testing.assert_array_equal(meta["affine"], planned.affine)
            values = (0, 1) if dataset.layout == "la_h5" else (0, 1, 2)
            number = dataset.cases.index(case) + 1
            np.testing.assert_array_equal(classes[0], tiny_label(number, values=values))


def test_dicom_series_matches_simpleitk(tmp_path):
    folder = shared_data("dicom") / "study1"
    array, meta = read(folder)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    np.testing.assert_array_equal(array[0], sitk.GetArrayFromImage(image).T)
    last = [size - 1 for size in image.GetSize()]
    world = np.array([-1, -1, 1]) * image.TransformIndexToPhysicalPoint(last)
    np.testing.assert_allclose((np.asarray(meta["affine"]) @ [*last, 1])[:3], world, atol=1e-3)


IMAGE = tiny_image(1, tiny_label(1))
CLASSES = tiny_label(1, (40, 48, 4))[..., 2]


def scaled_nifti(path):
    """Stored as int16 with a slope that single precision can't hold."""
    nifti = nib.Nifti1Image(IMAGE, OBLIQUE)
    nib.save(nifti, path)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, 0.1, -1000.3)
    path.write_bytes(raw)
    return path


def archive(path):
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = np.float32(IMAGE), tiny_label(1)
    return path


def picture(path, kind, **options):
    mask_picture(CLASSES, kind).save(path, **options)
    return path


FORMATS = {
    **{
        ending: partial(write_volume, voxels=IMAGE)
        for ending in (".nii.gz", ".nii", ".hdr", ".nrrd", ".mha", ".mhd")
    },
    "raw.mha": partial(write_volume, voxels=IMAGE, compressed=False),
    "channels.mha": partial(write_volume, voxels=np.stack([IMAGE, -IMAGE], -1)),
    "channels.nii.gz": partial(write_volume, voxels=np.stack([IMAGE, -IMAGE], -1)),
    "scaled.nii": scaled_nifti,
    "dicom": partial(write_series, voxels=IMAGE),
    "colour.png": partial(picture, kind="rgb"),
    "palette.png": partial(picture, kind="palette"),
    "grey.jpg": partial(picture, kind="0/255", quality=85),
    "volume.npy.h5": archive,
}


@pytest.mark.parametrize("name", FORMATS)
def test_training_sees_the_images_that_were_planned_for(tmp_path, name):
    file = FORMATS[name](tmp_path / f"a{name}")
    array, meta = read(file)
    planned = read_volume(file)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, planned.voxels.astype(np.float32))
    np.testing.assert_array_equal(meta["affine"], planned.affine)


@pytest.mark.parametrize(
    "name", [".nii.gz", ".nrrd", ".mha", "dicom", "colour.png", "palette.png", "grey.jpg", "volume.npy.h5"]
)
def test_training_sees_the_labels_that_were_planned_for(tmp_path, name):
    file = FORMATS[name](tmp_path / f"a{name}")
    array, meta = read(file, "label")
    planned = read_label(file)
    assert array.dtype == np.int32
    np.testing.assert_array_equal(array, planned.voxels)
    np.testing.assert_array_equal(meta["affine"], planned.affine)


def test_scaled_values_are_nibabels(tmp_path):
    file = scaled_nifti(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(read(file)[0][0], nib.load(file).get_fdata().astype(np.float32))


def test_channels_may_lie_a_tenth_of_a_voxel_apart_in_planning_as_in_training(tmp_path):
    files = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for offset_mm, fits in ((0.05, True), (0.2, False)):
        for file, shift in zip(files, (0, offset_mm), strict=True):
            affine = np.eye(4)
            affine[0, 3] = shift
            write_volume(file, IMAGE, affine)
        if fits:
            np.testing.assert_array_equal(read(files)[0], read_volume(files).voxels)
            continue
        with pytest.raises(ReadError) as planning:
            read_volume(files)
        with pytest.raises(ReadError) as training:
            read(files)
        assert str(planning.value) == str(training.value)
        assert "b.nii.gz: channel lies up to 0.2 mm off a.nii.gz" in str(training.value)
