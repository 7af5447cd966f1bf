"""Reading pictures, masks and archives."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_builders import mask_picture, tiny_label, write_la_h5, write_pictures, write_transunet
from PIL import Image

from pgsam_monai.base.volume import ReadError, read_geometry, read_label, read_volume
from preprocess.layouts import find_dataset

CLASSES = np.array([[0, 1, 2], [2, 1, 0]])


def saved(tmp_path, picture, name="p.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def mask_of(file):
    from pgsam_monai.base.volume.pictures import read_mask

    return read_mask(file).voxels


@pytest.mark.parametrize(
    ("array", "shape", "dtype"),
    [
        (np.arange(6, dtype=np.uint8).reshape(2, 3), (1, 2, 3, 1), "u1"),
        (np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000, (1, 2, 3, 1), "u2"),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), (3, 2, 3, 1), "u1"),
        (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), (3, 2, 3, 1), "u1"),
    ],
)
def test_pictures_are_single_slices_channels_first(tmp_path, array, shape, dtype):
    file = saved(tmp_path, Image.fromarray(array))
    volume, geometry = read_volume(file), read_geometry(file)
    assert volume.voxels.shape == shape
    assert volume.voxels.dtype == geometry.dtype == np.dtype(dtype)
    assert (geometry.channels, geometry.shape) == (shape[0], shape[1:])
    expected = array[None] if array.ndim == 2 else np.moveaxis(array[..., :3], -1, 0)
    np.testing.assert_array_equal(volume.voxels[..., 0], expected)
    np.testing.assert_array_equal(volume.affine, np.eye(4))


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_masks_keep_their_values(tmp_path, ending):
    name = f"p.{ending}"
    grey = mask_of(saved(tmp_path, mask_picture(CLASSES, "0/255"), name))
    assert grey[0, ..., 0].tolist() == [[0, 255, 255], [255, 255, 0]]
    indexed = mask_of(saved(tmp_path, mask_picture(CLASSES, "palette"), name))
    np.testing.assert_array_equal(indexed[0, ..., 0], CLASSES)
    packed = np.array([0, 0xFF0000, 0x00FF00])[CLASSES]
    rgb = mask_of(saved(tmp_path, mask_picture(CLASSES, "rgb"), name))
    np.testing.assert_array_equal(rgb[0, ..., 0], packed)
    assert rgb.dtype == np.int32


def test_one_bit_masks_are_0_and_1(tmp_path):
    file = saved(tmp_path, Image.fromarray(CLASSES == 1))
    assert mask_of(file)[0, ..., 0].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert mask_of(file).dtype == np.uint8


def test_jpeg_masks_are_restored_or_refused(tmp_path):
    classes = tiny_label(1, (40, 48, 4))[..., 2]
    restored = mask_of(saved(tmp_path, mask_picture(classes, "0/255"), "m.jpg", quality=85))
    np.testing.assert_array_equal(restored[0, ..., 0], np.where(classes > 0, 255, 0))
    with pytest.raises(ReadError, match="coloured JPEG mask"):
        mask_of(saved(tmp_path, mask_picture(classes, "rgb"), "m.jpg"))
    with pytest.raises(ReadError, match="isn't 0/255"):
        mask_of(saved(tmp_path, Image.fromarray((classes * 20).astype(np.uint8)), "m.jpg"))


def test_read_label_of_pictures(tmp_path):
    case = find_dataset(write_pictures(tmp_path, mask="palette")).cases[0]
    assert read_label(tmp_path / case.label).voxels.shape == (1, 24, 20, 1)
    assert np.unique(read_label(tmp_path / case.label).voxels).tolist() == [0, 1, 2]


def test_picture_faults_are_named(tmp_path):
    file = saved(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ReadError, match=r"p\.png: damaged or truncated"):
        read_volume(file)
    file.write_bytes(b"a text")
    with pytest.raises(ReadError, match="no picture that can be decoded"):
        read_volume(file)
    with pytest.raises(ReadError, match="does not exist"):
        read_volume(tmp_path / "absent.png")
    pages = [Image.fromarray(CLASSES.astype(np.uint8))] * 2
    with pytest.raises(ReadError, match="2 pages in one picture"):
        read_volume(saved(tmp_path, pages[0], "p.tif", save_all=True, append_images=pages[1:]))


def test_turned_photos_are_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(tmp_path, Image.fromarray(CLASSES.astype(np.uint8)), "p.jpg", exif=exif)
    assert "EXIF" in read_volume(file).notes[0]
    assert read_volume(file).voxels.shape == (1, 2, 3, 1)


def test_archives_are_rows_columns_slices(tmp_path):
    train, _, test = find_dataset(write_transunet(tmp_path)).cases
    for case, number in ((train, 1), (test, 3)):
        files = [tmp_path / path for path in case.images]
        image, label = read_volume(files), read_label(files)
        assert image.voxels.shape == label.voxels.shape == (1, 12, 10, 8)
        np.testing.assert_array_equal(label.voxels[0], tiny_label(number))
    assert read_geometry(files[0]).shape == (12, 10, 8)
    assert read_geometry(tmp_path / train.images[0]).shape == (12, 10, 1)


def test_la_archives_hold_their_slices_last(tmp_path):
    _, second, *_ = find_dataset(write_la_h5(tmp_path / "data")).cases
    file = tmp_path / "data" / second.images[0]
    image, label = read_volume(file), read_label(file)
    assert image.voxels.shape == label.voxels.shape == (1, 12, 10, 8)
    np.testing.assert_array_equal(label.voxels[0], tiny_label(2, values=(0, 1)))
    assert image.voxels[0][label.voxels[0] > 0].min() > image.voxels[0][label.voxels[0] == 0].max()
    geometry = read_geometry(file)
    assert (geometry.shape, geometry.dtype) == ((12, 10, 8), np.float32)
    assert image.spacing == (1.0, 1.0, 1.0)


def test_archive_faults_are_named(tmp_path):
    train, _, test = find_dataset(write_transunet(tmp_path)).cases
    np.savez(tmp_path / train.images[1], image=np.zeros((3, 3)))
    with pytest.raises(ReadError, match=r"slice001\.npz: slice of \(3, 3\)"):
        read_volume([tmp_path / path for path in train.images])
    with pytest.raises(ReadError, match="no array 'label'"):
        read_label([tmp_path / path for path in train.label_files])
    (tmp_path / test.images[0]).write_bytes(b"nothing")
    with pytest.raises(ReadError, match="unreadable or truncated"):
        read_volume(tmp_path / test.images[0])
    (tmp_path / train.images[0]).write_bytes((tmp_path / train.images[2]).read_bytes()[:300])
    with pytest.raises(ReadError, match=r"slice000\.npz: unreadable"):
        read_volume([tmp_path / path for path in train.images])
