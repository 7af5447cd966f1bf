import os
import subprocess
import sys

from pgsam_monai.label.temporary import own_temporary, sweep_temporary

HOLD = "from pgsam_monai.label.temporary import own_temporary; print(own_temporary(), flush=True); input()"


def holder(parent):
    """A process that holds a folder in `parent`, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], env={**os.environ, "TMPDIR": str(parent)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, process.stdout.readline().strip()


def test_it_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        assert own_temporary(tmp_path).stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(old)


def test_dead_servers_leave_nothing_and_living_ones_keep_theirs(tmp_path):
    process, folder = holder(tmp_path)
    with open(os.path.join(folder, "upload.nii.gz"), "w"):
        pass
    (tmp_path / "pgsam-label-file").touch()
    (tmp_path / "somebody_elses").mkdir()
    sweep_temporary(tmp_path)
    assert os.path.isfile(os.path.join(folder, "upload.nii.gz"))
    process.kill()
    process.communicate()
    sweep_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"pgsam-label-file", "somebody_elses"}


def test_a_link_to_elsewhere_is_left_alone(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "pgsam-label-x").symlink_to(tmp_path / "kept")
    sweep_temporary(tmp_path)
    assert (tmp_path / "kept").is_dir() and (tmp_path / "pgsam-label-x").is_symlink()
