"""Inputs are never replaced, by whatever name; other files only if we wrote them last, or if that is allowed."""

import os

import pytest

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.replacing import RECORD, keep_aside, note_written, require_replaceable


@pytest.fixture
def scan(tmp_path):
    (tmp_path / "scans").mkdir()
    file = tmp_path / "scans/a.nii.gz"
    file.write_bytes(b"voxels")
    return file


def named_otherwise(scan, way):
    folder = scan.parent.parent
    if way == "same":
        return scan
    if way == "relative":
        return os.path.relpath(scan)
    if way == "dots":
        return scan.parent / "../scans/./a.nii.gz"
    if way == "linked folder":
        (folder / "link").symlink_to(scan.parent)
        return folder / "link/a.nii.gz"
    other = folder / "b.nii.gz"
    other.symlink_to(scan) if way == "link" else os.link(scan, other)
    return other


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("way", ["same", "relative", "dots", "linked folder", "link", "hard link"])
def test_an_input_is_never_replaced(scan, way, overwrite):
    file = named_otherwise(scan, way)
    with pytest.raises(UserFault, match="would replace '.*a.nii.gz', which is read; choose another folder"):
        require_replaceable([scan.parent / "new.nii.gz", file], inputs=[scan], overwrite=overwrite)


def test_nothing_is_written_into_a_series(tmp_path, scan):
    with pytest.raises(UserFault, match="would lie in '.*scans', which is read"):
        require_replaceable([scan.parent / "scans.seg.dcm"], inputs=[scan.parent], overwrite=True)
    require_replaceable([tmp_path / "scans.seg.dcm"], inputs=[scan.parent])


def test_what_we_wrote_is_replaced_until_somebody_changes_it(tmp_path):
    file = tmp_path / "a.nii.gz"
    require_replaceable([file])
    for content in (b"first", b"second"):
        file.write_bytes(content)
        note_written(file)
        require_replaceable([file])
    file.write_bytes(b"corrected by hand")
    with pytest.raises(
        UserFault, match="'.*a.nii.gz' would be replaced, and it is not what pgsam wrote there last"
    ):
        require_replaceable([file])
    require_replaceable([file], overwrite=True)
    file.write_bytes(b"second")  # put back
    require_replaceable([file])


@pytest.mark.parametrize("kind", ["of the user", "empty", "link", "dangling link", "moved here", "no record"])
def test_what_is_none_of_ours_stays(tmp_path, kind):
    file = tmp_path / "a.nii.gz"
    if "link" in kind:
        file.symlink_to(tmp_path / ("nowhere" if "dangling" in kind else "b"))
        (tmp_path / "b").write_bytes(b"")
    elif kind in ("moved here", "no record"):
        file.write_bytes(b"ours")
        note_written(file)
        if kind == "no record":
            (tmp_path / RECORD).unlink()
        else:
            file.rename(tmp_path / "c")
            file = tmp_path / "c"
    else:
        file.write_bytes(b"" if kind == "empty" else b"mine")
    with pytest.raises(UserFault, match="--overwrite to replace it"):
        require_replaceable([file])
    require_replaceable([file], overwrite=True)


def test_many_are_counted_and_some_named(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(9)]
    for file in files[1:]:
        file.write_bytes(b"mine")
    with pytest.raises(
        UserFault, match=r"'.*1.png', '.*2.png', '.*3.png' and 5 more would be replaced, and they"
    ):
        require_replaceable(files)


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(UserFault, match="A folder lies where"):
        require_replaceable([tmp_path / "a.nii.gz"], overwrite=True)


@pytest.mark.parametrize("name", ["a,b.png", "line\nbreak.png", "\udcff.png", '"q".png', "ü.png"])
def test_odd_names_are_remembered(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"ours")
    note_written(file)
    require_replaceable([file])


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe{", b"[1]\n{}\n3\n", b'{"file": "a"', b'{"file": {}, "sha256": 1}\n', b"[" * 9999]
)
def test_a_damaged_record_forgets_and_goes_on(tmp_path, damage):
    (tmp_path / RECORD).write_bytes(damage + b"\n")
    file = tmp_path / "a"
    file.write_bytes(b"mine")
    with pytest.raises(UserFault, match="--overwrite"):
        require_replaceable([file])
    note_written(file)
    require_replaceable([file])


def test_what_is_kept_aside_has_a_name_of_its_own(tmp_path):
    file = tmp_path / "texts.json"
    assert keep_aside(file) is None
    for content, name in (
        (b"mine", "texts.json.bak"),
        (b"mine too", "texts.json.bak2"),
        (b"", "texts.json.bak3"),
    ):
        file.write_bytes(content)
        assert keep_aside(file) == tmp_path / name and (tmp_path / name).read_bytes() == content
    file.write_bytes(b"ours")
    note_written(file)
    assert keep_aside(file) is None and file.read_bytes() == b"ours"
    assert keep_aside(file, ours_too=True) == tmp_path / "texts.json.bak4" and not file.exists()
