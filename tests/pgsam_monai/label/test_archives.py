import io
import struct
import tarfile
import zipfile

import pytest

from pgsam_monai.label import archives
from pgsam_monai.label.archives import unpack
from pgsam_monai.label.faults import RequestFault

MOST = 10**9


def zipped(file, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def tarred(file, *members, mode="w:gz"):
    """Members are (TarInfo, content)."""
    with tarfile.open(file, mode) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def refusal(archive, tmp_path, **given):
    with pytest.raises(RequestFault) as fault:
        unpack(archive, tmp_path / "out", **{"most_bytes": MOST, **given})
    assert fault.value.status in (413, 422) and not list((tmp_path / "out").rglob("*.nii"))
    return str(fault.value)


@pytest.mark.parametrize(
    "suffix, mode", [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz")]
)
def test_tars_are_unpacked(tmp_path, suffix, mode):
    archive = tarred(
        tmp_path / f"a.{suffix}", (member("s/1.dcm"), b"one"), (member("s/2.dcm"), b""), mode=mode
    )
    assert [path.name for path in unpack(archive, tmp_path / "out", most_bytes=MOST)] == ["s"]
    assert (tmp_path / "out/s/1.dcm").read_bytes() == b"one" and (tmp_path / "out/s/2.dcm").is_file()


def test_a_zip_is_unpacked_without_hidden_files_whatever_its_name(tmp_path):
    names = ["a b (1).nii", "._a.nii", "__MACOSX/x", ".DS_Store", "d/_1.dcm"]
    archive = zipped(tmp_path / "a.odd", [(name, b"x") for name in names])
    assert [path.name for path in unpack(archive, tmp_path / "out", most_bytes=MOST)] == ["a b (1).nii", "d"]


@pytest.mark.parametrize(
    "members", [[("a.nii", bytes(10**6))], [(f"{number}.nii", bytes(900)) for number in range(200)]]
)
def test_bombs(tmp_path, monkeypatch, members):
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 1000)
    archive = zipped(tmp_path / "a.zip", members)
    assert "unpacks to more than" in refusal(archive, tmp_path, most_bytes=5000)


def test_a_tar_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 1000)
    archive = tarred(tmp_path / "a.tar.gz", (member("a.nii"), bytes(10**6)))
    assert "unpacks to more than" in refusal(archive, tmp_path)


def test_sizes_that_lie(tmp_path):
    """No more than the archive says is written."""
    archive = zipped(tmp_path / "a.zip", [("a.txt", bytes(10**6))])
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 10**6), struct.pack("<L", 10)))
    assert "can't be unpacked" in refusal(archive, tmp_path)
    assert (tmp_path / "out/a.txt").stat().st_size <= 10


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    archive = zipped(tmp_path / "a.zip", [(f"{number}.nii", b"") for number in range(4)])
    assert "more than 3 files" in refusal(archive, tmp_path)


@pytest.mark.parametrize(
    "name", ["../a.nii", "/a.nii", "x/../../a.nii", "a/" * 2000 + "x.nii", "C:\\a.nii", "x" * 250, "a\udc80.nii"]
)  # fmt: skip
def test_names_that_lead_elsewhere(tmp_path, name):
    archive = tarred(tmp_path / "a.tar", (member(name), b"x"), mode="w")
    assert "plain names" in refusal(archive, tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_only_files(tmp_path, kind):
    archive = tarred(tmp_path / "a.tar", (member("a.nii", kind, "/etc/hostname"), b""), mode="w")
    assert "no plain file" in refusal(archive, tmp_path)


def test_a_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("a.nii")
    info.external_attr = 0o120777 << 16
    assert "no plain file" in refusal(zipped(tmp_path / "a.zip", [(info, "/etc/hostname")]), tmp_path)


def test_the_same_file_twice(tmp_path):
    archive = tarred(tmp_path / "a.tar", (member("a.txt"), b"1"), (member("a.txt"), b"2"), mode="w")
    assert "twice" in refusal(archive, tmp_path)


def test_a_file_that_is_a_folder_too(tmp_path):
    archive = tarred(tmp_path / "a.tar", (member("a"), b"1"), (member("a/b"), b"2"), mode="w")
    assert "can't be unpacked" in refusal(archive, tmp_path)


def test_encrypted_cut_and_no_archive(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("a.txt", b"x" * 100)])
    content = bytearray(archive.read_bytes())
    locked = content.copy()
    locked[6] |= 1
    locked[content.index(b"PK\1\2") + 8] |= 1
    for number, (bad, said) in enumerate(
        [(locked, "without a password"), (content[:60], "can't be unpacked"), (b"no archive", "can't be unpacked")]
    ):  # fmt: skip
        archive.write_bytes(bad)
        (tmp_path / str(number)).mkdir()
        assert said in refusal(archive, tmp_path / str(number))


def test_a_head_that_fills_memory(tmp_path):
    """Python reads it whole, whatever size it says."""
    archive = tmp_path / "a.tar"
    info = member("a.nii", tarfile.XHDTYPE)
    archive.write_bytes(b"")
    tarred(archive, (info, bytes(1 << 20)), mode="w")
    assert "a head in it is too long" in refusal(archive, tmp_path)


def test_a_packing_that_python_does_not_know(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("a.txt", b"x" * 100)])
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<HH", 0, 8), struct.pack("<HH", 0, 98)))
    assert "can't be unpacked" in refusal(archive, tmp_path)
