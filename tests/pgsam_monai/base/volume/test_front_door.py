"""What no reader is given: pipes, bombs, headers that lie, voxels that lie elsewhere."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from dataset_builders import tiny_image, tiny_label, write_volume
from PIL import Image

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import VARIABLE, free_memory_bytes, limit_bytes, set_limit
from pgsam_monai.base.volume import ReadError, notes_of, read_geometry, read_image, read_label, read_volume
from pgsam_monai.base.volume.foreign import require_own_data

IMAGE = tiny_image(1, tiny_label(1))
VALUES = np.arange(24, dtype="<i2")


def refused(file: Path, *, read=read_volume) -> str:
    with pytest.raises(ReadError) as caught:
        read(file)
    assert caught.value.file == str(file) or file.is_dir()
    return caught.value.reason


def metaimage(file: Path, data: bytes = VALUES.tobytes(), **changed: str) -> Path:
    """A header of 2 x 3 x 4 short numbers, with fields changed, added or (as "") left out."""
    fields = {"ObjectType": "Image", "NDims": "3", "DimSize": "2 3 4", "ElementType": "MET_SHORT"}
    fields |= changed
    where = fields.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{key} = {value}\n" for key, value in fields.items() if value)
    file.write_bytes(f"{text}ElementDataFile = {where}\n".encode() + data)
    return file


def nrrd(file: Path, data: bytes = VALUES.tobytes(), **changed: str) -> Path:
    """As `metaimage`; fields have _ for a space."""
    fields = {"type": "short", "dimension": "3", "sizes": "2 3 4", "encoding": "raw", "endian": "little"}
    fields |= changed
    text = "".join(f"{key.replace('_', ' ')}: {value}\n" for key, value in fields.items() if value)
    file.write_bytes(f"NRRD0004\n{text}\n".encode() + data)
    return file


@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz", "p.mha", "p.nrrd", "p.png", "p.h5", "p.dcm", "p"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (read_volume, read_geometry, read_label):
        assert "a named pipe where a file is expected" in refused(tmp_path / name, read=read)


def test_sockets_devices_folders_and_circles_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.nii")
        assert "a socket" in refused(tmp_path / "s.nii")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    assert "a device" in refused(tmp_path / "zero.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    assert "a folder where a file is expected" in refused(tmp_path / "folder.nii.gz")
    (tmp_path / "round.mha").symlink_to("round.mha")
    assert "can't be read" in refused(tmp_path / "round.mha")
    (tmp_path / "lost.nrrd").symlink_to("nowhere")
    assert "does not exist" in refused(tmp_path / "lost.nrrd")


def test_names_without_a_format_are_refused_and_never_guessed(tmp_path):
    (tmp_path / "a.vtk").write_bytes(b"# vtk DataFile Version 3.0\n")
    assert "no format that is read here" in refused(tmp_path / "a.vtk")
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert "no picture" in refused(tmp_path / "a.png")


def nifti_of(shape: tuple[int, ...], dtype: str = "<i2") -> bytearray:
    """A NIfTI-1 header that promises a shape."""
    header = nib.Nifti1Image(np.zeros((1, 1, 1), dtype), np.eye(4)).header
    raw = bytearray(header.binaryblock + bytes(4))
    struct.pack_into("<8h", raw, 40, len(shape), *shape, *(1,) * (7 - len(shape)))
    struct.pack_into("<f", raw, 108, 352)
    return raw


def test_small_files_that_promise_much_are_refused_before_memory_is_taken(tmp_path):
    raw = nifti_of((30000, 30000, 100))
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    for name in ("a.nii", "a.nii.gz"):
        assert any(word in refused(tmp_path / name) for word in ("truncated", "promises"))
    for file in (
        metaimage(tmp_path / "a.mha", DimSize="30000 30000 100"),
        metaimage(tmp_path / "b.mha", zlib.compress(b"0"), DimSize="30000 30000 9", CompressedData="True"),
        nrrd(tmp_path / "a.nrrd", sizes="99999 99999 99999"),
        nrrd(tmp_path / "b.nrrd", gzip.compress(b"0"), sizes="3000 3000 9", encoding="gzip"),
    ):
        assert any(word in refused(file) for word in ("truncated", "promises"))


def test_an_image_may_take_what_max_gb_says(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.004")  # a million voxels of 4 bytes
    nib.save(nib.Nifti1Image(np.zeros((100, 100, 100), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").voxels.shape == (1, 100, 100, 100)
    nib.save(nib.Nifti1Image(np.zeros((100, 100, 101), np.uint8), np.eye(4)), tmp_path / "b.nii.gz")
    assert refused(tmp_path / "b.nii.gz") == (
        "it promises 0.00404 GB of voxels, and the limit is 0.004 GB; if the file is right, raise the limit with "
        "--max_gb"
    )
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("image", (1010, 1000, 10), "f4", chunks=(100, 100, 1), compression="gzip")
    assert "promises" in refused(tmp_path / "b.h5")
    np.savez_compressed(tmp_path / "b.npz", image=np.zeros((1001, 1000), "f8"))
    assert "promises" in refused(tmp_path / "b.npz")
    Image.new("L", (2000, 2000)).save(tmp_path / "b.png")
    assert "promises" in refused(tmp_path / "b.png")
    (tmp_path / "long.nii").touch()
    os.truncate(tmp_path / "long.nii", 1 << 40)  # takes no room
    assert "promises 1.1e+03 GB" in refused(tmp_path / "long.nii")
    half = tmp_path / "half.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((100, 100, 60), np.float32), np.eye(4)), half)
    read_volume(half)
    assert "promises" in refused_many([half, half])


def refused_many(files: list[Path]) -> str:
    with pytest.raises(ReadError) as caught:
        read_volume(files)
    return caught.value.reason


def test_the_limit_is_a_number_above_zero_or_a_share_of_free_memory(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    for wrong in (0, -1, "x", float("nan"), "inf", True, "", [4]):
        with pytest.raises(UserFault, match="--max_gb is how many GB"):
            set_limit(wrong)
    assert limit_bytes() == pytest.approx(free_memory_bytes() / 4, rel=0.3)
    set_limit("2.5")
    assert limit_bytes() == 2.5e9
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(UserFault, match=VARIABLE):
        limit_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"NDims": "99"}, {"NDims": "-3"}, {"NDims": "0"}, {"NDims": "1"}, {"NDims": "3.5"}, {"NDims": ""},
        {"DimSize": "2 3"}, {"DimSize": "2 3 0"}, {"DimSize": "2 3 -4"}, {"DimSize": "2 3 99999999999999999999"},
        {"ElementType": "MET_STRING"}, {"ElementType": ""}, {"ElementType": "MET_NONE"},
        {"ElementSpacing": "1 1 0"}, {"ElementSpacing": "1 1 nan"}, {"ElementSpacing": "1 1"},
        {"ElementSpacing": "1 1 1e30"}, {"ElementSpacing": "1 1 1e-30"}, {"Offset": "0 0 inf"},
        {"Offset": "0 0 1e30"}, {"TransformMatrix": "1 0 0 0 1 0 0 0 0"}, {"TransformMatrix": "1 0 0 0 1 0 0 0"},
        {"ElementNumberOfChannels": "0"}, {"ElementNumberOfChannels": "2000000000"}, {"HeaderSize": "-7"},
        {"HeaderSize": "1000000"}, {"CompressedData": "perhaps"}, {"CompressedData": "True"},
        {"ObjectType": "Tube"},
    ],
)  # fmt: skip
def test_metaimage_headers_that_cannot_be_are_sentences(tmp_path, changed):
    assert not refused(metaimage(tmp_path / "a.mha", **changed)).startswith("can't be read (")


@pytest.mark.parametrize(
    "changed",
    [
        {"dimension": "16"}, {"dimension": "0"}, {"dimension": "x"}, {"dimension": ""}, {"sizes": "2 3"},
        {"sizes": "2 3 0"}, {"sizes": "2 3 -4"}, {"type": "block"}, {"type": ""}, {"encoding": "bzip2"},
        {"encoding": ""}, {"endian": ""}, {"endian": "middle"}, {"spacings": "1 1 0"}, {"spacings": "1 1 inf"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,0)"}, {"space_directions": "(1,0,0) (0,1,0)"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,nan)"}, {"space_directions": "(1,0,0) (0,1,0) (0,0,1e30)"},
        {"space_directions": "none none (0,0,1)"}, {"kinds": "complex domain domain"}, {"kinds": "domain"},
        {"byte_skip": "-2"}, {"byte_skip": "999999"}, {"line_skip": "-1"}, {"line_skip": "999"},
        {"space_origin": "(0,0,nan)", "space_directions": "(1,0,0) (0,1,0) (0,0,1)"}, {"encoding": "text"},
    ],
)  # fmt: skip
def test_nrrd_headers_that_cannot_be_are_sentences(tmp_path, changed):
    assert not refused(nrrd(tmp_path / "a.nrrd", **changed)).startswith("can't be read (")


def test_headers_are_read_as_itk_reads_them(tmp_path):
    """Of what differs from plain files; values and place. SimpleITK says what is right."""
    spread = {"ElementSpacing": "0.5 -0.7 2", "Offset": "1 2 3", "TransformMatrix": "0 1 0 -1 0 0 0 0 1"}
    vectors = {"space_directions": "(0.5,0,0) (0,0.7,0.1) (0,-.1,2)", "space_origin": "(1,2,3)"}
    swapped = VALUES.byteswap().tobytes()
    text = " ".join(map(str, VALUES)).encode()
    (tmp_path / "x.raw").write_bytes(VALUES.tobytes())
    for number in range(4):
        (tmp_path / f"x{number}.raw").write_bytes(VALUES[6 * number : 6 * number + 6].tobytes())
    files = [
        metaimage(tmp_path / "a.mha", **spread),
        metaimage(tmp_path / "b.mha", swapped, BinaryDataByteOrderMSB="True"),
        metaimage(tmp_path / "c.mha", b"rest" + VALUES.tobytes(), HeaderSize="-1"),
        metaimage(tmp_path / "d.mha", NDims="2", DimSize="6 4"),
        metaimage(tmp_path / "e.mha", NDims="4", DimSize="2 3 2 2"),
        metaimage(tmp_path / "f.mha", DimSize="2 3 2", ElementNumberOfChannels="2"),
        metaimage(tmp_path / "g.mhd", b"", ElementDataFile="x.raw"),
        metaimage(tmp_path / "h.mhd", b"x0.raw\nx1.raw\nx2.raw\nx3.raw\n", ElementDataFile="LIST"),
        metaimage(tmp_path / "i.mhd", b"", ElementDataFile="x%d.raw 0 3 1"),
        nrrd(tmp_path / "a.nrrd", space="left-posterior-superior", **vectors),
        nrrd(tmp_path / "b.nrrd", space="RAS", **vectors),
        nrrd(tmp_path / "c.nrrd", space="left-anterior-superior", **vectors),
        nrrd(tmp_path / "d.nrrd", spacings="0.5 0.7 2", axis_mins="1 2 3", centers="cell node cell"),
        nrrd(tmp_path / "e.nrrd", swapped, endian="big"),
        nrrd(tmp_path / "f.nrrd", text, encoding="ascii"),
        nrrd(tmp_path / "g.nrrd", gzip.compress(b"skip" + VALUES.tobytes()), encoding="gzip", byte_skip="4"),
        nrrd(tmp_path / "h.nrrd", b"a line\n" + VALUES.tobytes(), line_skip="1"),
        nrrd(tmp_path / "i.nrrd", dimension="4", sizes="2 2 3 2", kinds="list domain domain domain"),
        nrrd(tmp_path / "j.nrrd", dimension="4", sizes="2 3 2 2", kinds="domain domain domain vector"),
        nrrd(tmp_path / "k.nhdr", b"", data_file="x.raw", byte_skip="-1"),
    ]
    for file in files:
        read, (voxels, affine) = read_volume(file), _by_itk(file)
        np.testing.assert_array_equal(read.voxels, voxels, err_msg=file.name)
        np.testing.assert_allclose(read.affine, affine, atol=1e-6, err_msg=file.name)
        assert read_geometry(file).channels == len(voxels)


def _by_itk(file: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file))
    array, axes = sitk.GetArrayFromImage(image), image.GetDimension()
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array
    affine, used = np.eye(4), min(axes, 3)
    directions = np.reshape(image.GetDirection(), (axes, axes)) * np.array(image.GetSpacing())
    affine[:used, :used] = directions[:used, :used]
    affine[:used, 3] = image.GetOrigin()[:used]
    shape = (*image.GetSize(), 1)[:3]
    return array.reshape((-1, *shape[::-1])).transpose(0, 3, 2, 1), np.diag([-1, -1, 1, 1]) @ affine


def test_packed_voxels_are_checked_to_their_end(tmp_path):
    packed = zlib.compress(VALUES.tobytes())
    good = metaimage(tmp_path / "a.mha", packed, CompressedData="True")
    np.testing.assert_array_equal(read_volume(good).voxels.ravel(order="F"), VALUES)
    damaged = packed[:-1] + bytes([packed[-1] ^ 1])  # the checksum alone
    assert "damaged" in refused(metaimage(good, damaged, CompressedData="True"))
    assert "damaged" in refused(metaimage(good, packed[:-6], CompressedData="True"))
    assert "truncated" in refused(metaimage(good, zlib.compress(VALUES[:9].tobytes()), CompressedData="True"))


def test_gzip_in_parts_is_read_and_rubbish_behind_it_is_told(tmp_path):
    content = gzip.decompress(write_volume(tmp_path / "a.nii.gz", IMAGE).read_bytes())
    parts = b"".join(gzip.compress(part) for part in (content[:100], content[100:700], content[700:]))
    (tmp_path / "a.nii.gz").write_bytes(parts)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").voxels[0], IMAGE)
    (tmp_path / "a.nii.gz").write_bytes(parts + b"rubbish behind it")
    assert "damaged" in refused(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(parts[:-9])
    assert "truncated" in refused(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    "where", ["../x.raw", "/etc/passwd", "sub/x.raw", "..", "link.raw", "x%d.raw 0 99999999 1", "%s 1 2 1", "C:\\x"]
)  # fmt: skip
def test_voxels_lie_in_the_headers_own_folder(tmp_path, where):
    (tmp_path / "x.raw").write_bytes(VALUES.tobytes())
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/x.raw").write_bytes(VALUES.tobytes())
    (folder / "link.raw").symlink_to("../x.raw")
    assert "voxels" in refused(metaimage(folder / "a.mhd", b"", ElementDataFile=where)) or "%" in where
    assert "voxels" in refused(nrrd(folder / "a.nhdr", b"", data_file=where)) or "%" in where
    refused(metaimage(folder / "b.mhd", f"{where}\n".encode(), ElementDataFile="LIST"))
    refused(nrrd(folder / "b.nhdr", b"", data_file=f"LIST\n{where}"))


def test_links_to_a_whole_data_set_are_followed(tmp_path):
    real, farm = tmp_path / "real", tmp_path / "farm"
    real.mkdir(), farm.mkdir()
    (real / "x.raw").write_bytes(VALUES.tobytes())
    metaimage(real / "a.mhd", b"", ElementDataFile="x.raw")
    for name in ("a.mhd", "x.raw"):
        (farm / name).symlink_to(real / name)
    assert read_volume(farm / "a.mhd").voxels.shape == (1, 2, 3, 4)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.hdr"])
def test_files_from_elsewhere_hold_their_own_voxels(tmp_path, name):
    file = write_volume(tmp_path / name, IMAGE)
    with pytest.raises(ReadError, match="its voxels lie in another file"):
        require_own_data([file])
    require_own_data(sorted(tmp_path.iterdir()))
    require_own_data(
        [write_volume(tmp_path / f"whole{ending}", IMAGE) for ending in (".mha", ".nrrd", ".nii")]
    )


def test_archives_hold_their_own_arrays(tmp_path):
    (tmp_path / "x.raw").write_bytes(np.zeros((4, 5), "f4").tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros((4, 5), "f4")
    layout = h5py.VirtualLayout((4, 5), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "image", (4, 5))
    makers = {
        "soft": lambda file: file.__setitem__("image", h5py.SoftLink("/elsewhere")),
        "link": lambda file: file.__setitem__("image", h5py.ExternalLink("other.h5", "/image")),
        "raw": lambda file: file.create_dataset(
            "image", (4, 5), "f4", external=[(str(tmp_path / "x.raw"), 0, 80)]
        ),
        "virtual": lambda file: file.create_virtual_dataset("image", layout),
        "group": lambda file: file.create_group("image"),
        "text": lambda file: file.__setitem__("image", ["a", "b"]),
        "sparse": lambda file: file.create_dataset(
            "image", (4, 500), "f4", chunks=(4, 5), compression="gzip"
        ),
    }
    for name, make in makers.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            make(file)
        refused(tmp_path / f"{name}.h5")
        refused(tmp_path / f"{name}.h5", read=read_geometry)
    np.savez(tmp_path / "pickled.npz", image=np.array([{"a": 1}], dtype=object))
    assert "no numbers" in refused(tmp_path / "pickled.npz")


def test_values_that_are_no_numbers_are_refused_for_networks(tmp_path):
    for value, word in ((np.nan, "1 NaN of 24 voxels"), (np.inf, "1 infinite"), (-np.inf, "1 infinite")):
        voxels = np.arange(24, dtype="f4").reshape(2, 3, 4)
        voxels[1, 1, 1] = value
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
        assert word in refused(tmp_path / "a.nii", read=read_image)
        read_volume(tmp_path / "a.nii")  # the planner counts them itself
    nib.save(nib.Nifti1Image(np.full((2, 3, 4), 1e300), np.eye(4)), tmp_path / "a.nii")
    assert "24 infinite" in refused(tmp_path / "a.nii", read=read_image)  # in float32


def test_places_that_no_scan_has_are_refused(tmp_path):
    far = np.eye(4)
    far[0, 3] = 1e30
    for affine in (np.diag([1e30, 1, 1, 1]), np.diag([1, 1e-30, 1, 1]), far):
        nifti = nib.Nifti1Image(IMAGE, None)
        nifti.set_sform(affine, code=1)
        nib.save(nifti, tmp_path / "a.nii")
        assert "are no scan's" in refused(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2h", raw, 252, 0, 0)
    struct.pack_into("<f", raw, 80, 0.0)
    (tmp_path / "a.nii").write_bytes(raw)
    assert "pixdim is 0" in refused(tmp_path / "a.nii")


def test_oddities_of_headers_are_told(tmp_path):
    nifti = nib.Nifti1Image(IMAGE, np.eye(4))
    nifti.set_sform(None, code=0)
    nifti.set_qform(None, code=0)
    nib.save(nifti, tmp_path / "a.nii")
    (note,) = notes_of(tmp_path / "a.nii")
    assert note.startswith("a.nii: the header states no orientation")
    assert notes_of(write_volume(tmp_path / "b.nii", IMAGE)) == []
