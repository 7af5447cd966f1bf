"""Reading volumes: one frame for all formats, stored types, faults by name."""

from __future__ import annotations

import gzip
import pickle
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import (
    OBLIQUE,
    SPACING,
    rotation,
    tiny_image,
    tiny_label,
    write_dicom,
    write_nnunet,
    write_series,
    write_volume,
)

from pgsam_monai.base.volume import ReadError, read_geometry, read_label, read_volume
from pgsam_monai.base.volume.records import usable_affine
from preprocess.layouts import Case, find_dataset

IMAGE = tiny_image(1, tiny_label(1))


def error_of(path) -> str:
    with pytest.raises(ReadError) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_one_oblique_anisotropic_volume_reads_the_same_in_every_format(tmp_path, ending):
    file = write_volume(tmp_path / f"v{ending}", IMAGE)
    volume, geometry = read_volume(file), read_geometry(file)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, IMAGE[None])
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(volume.spacing, SPACING, rtol=1e-6)
    np.testing.assert_array_equal(geometry.affine, volume.affine)
    assert (geometry.shape, geometry.channels, geometry.dtype) == (IMAGE.shape, 1, np.int16)
    assert volume.notes == ()


def test_dicom_series_reads_like_the_volume_whatever_the_file_order(tmp_path):
    for file in ("{:d}.dcm", "IM{:d}"):
        folder = write_series(tmp_path / file[:2], IMAGE, file=file)
        volume, geometry = read_volume(folder), read_geometry(folder)
        np.testing.assert_array_equal(volume.voxels, IMAGE[None])
        np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-4)
        np.testing.assert_allclose(geometry.affine, volume.affine, atol=1e-4)
        assert (geometry.shape, geometry.dtype, volume.notes) == (IMAGE.shape, volume.voxels.dtype, ())


def test_dicom_faults(tmp_path, capfd):
    write_series(tmp_path / "two", IMAGE, file="a{:d}.dcm", uid=1)
    write_series(tmp_path / "two", IMAGE[..., :3], file="b{:d}.dcm", uid=2)
    reason = error_of(tmp_path / "two")
    assert "2 DICOM series in one folder" in reason
    assert "(8 files)" in reason and "(3 files)" in reason
    write_series(tmp_path / "gap", IMAGE)
    (tmp_path / "gap/3.dcm").unlink()
    assert "unevenly spaced (3 to 6 mm" in error_of(tmp_path / "gap")
    last = tmp_path / "cut/1.dcm"
    write_series(tmp_path / "cut", IMAGE)
    last.write_bytes(last.read_bytes()[:-4])
    assert "1 DICOM files are truncated or unreadable (1.dcm)" in error_of(tmp_path / "cut")
    (tmp_path / "none").mkdir()
    assert "no DICOM series" in error_of(tmp_path / "none")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_affines_equal_nibabel_for_every_header_kind(tmp_path, version, order, codes):
    header = version.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nifti = version(IMAGE.astype(order + "i2"), OBLIQUE, header)
    nifti.set_sform(OBLIQUE, code=codes[0])
    nifti.set_qform(OBLIQUE, code=codes[1])
    nib.save(nifti, tmp_path / "v.nii.gz")
    read, expected = read_volume(tmp_path / "v.nii.gz"), nib.load(tmp_path / "v.nii.gz")
    np.testing.assert_allclose(read.affine, expected.affine, atol=1e-6)
    np.testing.assert_array_equal(read.voxels[0], np.asarray(expected.dataobj))
    assert read.voxels.dtype == np.dtype("i2") and read.voxels.dtype.isnative
    assert any("no orientation" in note for note in read.notes) == (codes == (0, 0))


def test_left_handed_qform_equals_nibabel(tmp_path):
    flipped = OBLIQUE @ np.diag([1, 1, -1, 1])
    nifti = nib.Nifti1Image(IMAGE, flipped)
    nifti.set_sform(None, code=0)
    nifti.set_qform(flipped, code=1)
    nib.save(nifti, tmp_path / "v.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "v.nii").affine, flipped, atol=1e-4)


@pytest.mark.parametrize("degrees", [179.99, 180])
def test_half_turns_equal_nibabel(tmp_path, degrees):
    """There a quaternion's first part is 0 but for rounding."""
    turned = rotation(degrees)
    affine = OBLIQUE.copy()
    affine[:3, :3] = turned * SPACING
    nifti = nib.Nifti1Image(IMAGE, affine)
    nifti.set_sform(None, code=0)
    nifti.set_qform(affine, code=1)
    nib.save(nifti, tmp_path / "v.nii")
    np.testing.assert_allclose(
        read_volume(tmp_path / "v.nii").affine, nib.load(tmp_path / "v.nii").affine, atol=1e-9
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "f4", "f8", "i8"])
def test_stored_types_are_kept(tmp_path, dtype):
    voxels = np.arange(24).reshape(2, 3, 4).astype(dtype)
    nib.save(nib.Nifti1Image(voxels, np.eye(4), dtype=np.dtype(dtype)), tmp_path / "v.nii.gz")
    read = read_volume(tmp_path / "v.nii.gz").voxels
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read[0], voxels)


def test_scaled_values_become_float32(tmp_path):
    nifti = nib.Nifti1Image(IMAGE, OBLIQUE)
    nifti.header.set_slope_inter(0.5, -1024)
    nib.save(nifti, tmp_path / "v.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "v.nii.gz").read_bytes()))
    struct.pack_into("<2f", raw, 112, 0.5, -1024)  # nibabel's writer fits its own scaling
    (tmp_path / "v.nii").write_bytes(raw)
    stored = np.asarray(nib.load(tmp_path / "v.nii").dataobj.get_unscaled())
    volume = read_volume(tmp_path / "v.nii")
    assert volume.voxels.dtype == read_geometry(tmp_path / "v.nii").dtype == np.float32
    np.testing.assert_allclose(volume.voxels[0], stored * 0.5 - 1024)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_channels_of_one_file_come_first(tmp_path, ending):
    channels = np.stack([IMAGE, IMAGE + 1, IMAGE + 2, IMAGE + 3], -1)
    file = write_volume(tmp_path / f"v{ending}", channels)
    np.testing.assert_array_equal(read_volume(file).voxels, np.moveaxis(channels, -1, 0))
    assert (read_geometry(file).channels, read_geometry(file).shape) == (4, IMAGE.shape)


def test_five_axes_single_slices_and_colour_nifti(tmp_path):
    vector = np.stack([IMAGE, IMAGE + 1, IMAGE + 2], -1)[:, :, :, None]
    nib.save(nib.Nifti1Image(vector, OBLIQUE), tmp_path / "vector.nii")
    assert read_volume(tmp_path / "vector.nii").voxels.shape == (3, *IMAGE.shape)
    nib.save(nib.Nifti1Image(np.stack([vector, vector], 3)[..., 0, :], OBLIQUE), tmp_path / "both.nii")
    assert "more than one axis of channels" in error_of(tmp_path / "both.nii")
    nib.save(nib.Nifti1Image(IMAGE[..., 0], OBLIQUE), tmp_path / "flat.nii")
    assert read_volume(tmp_path / "flat.nii").voxels.shape == (1, *IMAGE.shape[:2], 1)
    colour = np.zeros((3, 4, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"] = np.arange(24).reshape(3, 4, 2)
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "rgb.nii.gz")
    read = read_volume(tmp_path / "rgb.nii.gz").voxels
    np.testing.assert_array_equal(read, np.stack([colour[c] for c in "RGB"]))


def test_channels_in_files_are_joined_and_must_share_a_grid(tmp_path):
    case = find_dataset(write_nnunet(tmp_path, channels=2)).cases[0]
    files = [tmp_path / path for path in case.images]
    joined = read_volume(files).voxels
    np.testing.assert_array_equal(joined[1], read_volume(files[1]).voxels[0])
    assert joined[0].flags.f_contiguous
    write_volume(files[1], IMAGE[:-1])
    assert "channel of shape (11, 10, 8)" in error_of_many(files)
    moved = OBLIQUE.copy()
    moved[2, 3] += 1
    write_volume(files[1], IMAGE, moved)
    assert "lies up to 1 mm off" in error_of_many(files)


def error_of_many(files) -> str:
    with pytest.raises(ReadError) as caught:
        read_volume(files)
    assert caught.value.file == str(files[1])
    return caught.value.reason


@pytest.mark.parametrize("keep", [0, 2, 10, 200, 0.5, -20])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_truncated_files_are_named(tmp_path, ending, keep, capfd):
    file = write_volume(tmp_path / f"v{ending}", IMAGE)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    reason = error_of(file)
    assert any(word in reason for word in ("truncated", "empty", "not a NIfTI", "damaged", "unreadable"))
    assert capfd.readouterr().err == ""


def test_damaged_or_missing_voxels_of_a_metaimage(tmp_path):
    file = write_volume(tmp_path / "v.mha", IMAGE)
    content = bytearray(file.read_bytes())
    content[-len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    assert "damaged" in error_of(file)
    file = write_volume(tmp_path / "v.mhd", IMAGE)
    (tmp_path / "v.zraw").unlink()
    assert "should lie in v.zraw" in error_of(file)


def test_damaged_and_foreign_files_are_named(tmp_path):
    good = write_volume(tmp_path / "good.nii.gz", IMAGE)
    bad = tmp_path / "bad.nii.gz"
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad.write_bytes(content)
    assert "damaged" in error_of(bad) or "truncated" in error_of(bad)
    bad.write_bytes(gzip.decompress(good.read_bytes()))
    assert "not gzip-compressed" in error_of(bad)
    bad.write_bytes(gzip.compress(b"a text of some length" * 40))
    assert "not a NIfTI file" in error_of(bad)
    raw = bytearray(gzip.decompress(good.read_bytes()))
    struct.pack_into("<4h", raw, 40, 3, 30000, 30000, 30000)
    bad.write_bytes(gzip.compress(raw))
    assert "promises" in error_of(bad)
    assert "does not exist" in error_of(tmp_path / "absent.nii.gz")
    assert "does not exist" in error_of(tmp_path / "absent.nrrd")


def test_unusable_affines_are_errors_and_odd_ones_notes(tmp_path):
    singular, skewed = OBLIQUE.copy(), OBLIQUE.copy()
    singular[:3, 1] = singular[:3, 0]
    skewed[:3, 1] += 0.2 * skewed[:3, 0]
    with pytest.raises(ReadError, match="are no scan's"):  # whose square is 0
        usable_affine(np.diag([2.0, 1.0, 1e-308, 1.0]), (4, 4, 1), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, affine in (("singular", singular), ("skewed", skewed)):
            nifti = nib.Nifti1Image(IMAGE, None)
            nifti.set_sform(affine, code=1)
            nib.save(nifti, tmp_path / f"{name}.nii")
    assert "singular" in error_of(tmp_path / "singular.nii")
    notes = read_volume(tmp_path / "skewed.nii").notes
    assert any("not orthogonal" in note for note in notes)
    assert any("pixdim (1, 1, 1) disagrees with the affine" in note for note in notes)


def test_labels(tmp_path):
    case = find_dataset(write_nnunet(tmp_path, values=(0, 5, 205, 420))).cases[0]
    label = read_label(tmp_path / case.label)
    assert np.unique(label.voxels).tolist() == [0, 5, 205, 420]
    write_volume(tmp_path / case.label, np.stack([IMAGE, IMAGE], -1))
    with pytest.raises(ReadError, match="a label with 2 channels"):
        read_label(tmp_path / case.label)
    with pytest.raises(ReadError, match="has no label"):
        read_label(Case(name="x", images=("a",), label=None).label_files)


def test_label_of_a_dicom_case(tmp_path):
    case = find_dataset(write_dicom(tmp_path, values=(0, 3))).cases[0]
    image, label = read_volume(tmp_path / case.images[0]), read_label(tmp_path / case.label)
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-4)
    assert image.voxels[label.voxels == 3].mean() > image.voxels[label.voxels == 0].mean() + 100


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(ReadError("a.nii", "truncated")))
    assert (str(error), error.file, error.reason) == ("a.nii: truncated.", "a.nii", "truncated")


def test_reading_without_isal_gives_the_same(tmp_path, monkeypatch):
    from pgsam_monai.base.volume import nifti

    monkeypatch.setattr(nifti, "gzip", gzip)
    file = write_volume(tmp_path / "v.nii.gz", IMAGE)
    np.testing.assert_array_equal(read_volume(file).voxels[0], IMAGE)
    file.write_bytes(file.read_bytes()[:-20])
    assert "truncated" in error_of(file)
