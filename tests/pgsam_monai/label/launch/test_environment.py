import importlib.machinery
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pgsam_monai.label.launch import environment
from pgsam_monai.label.launch.environment import find_environment

OWN = metadata.version("pgsam-monai")


def fake_environment(folder: Path, *, monailabel: str | None = "0.8.5", ours: str | None = OWN) -> Path:
    """A folder whose bin/python answers the question for versions and nothing else."""
    python = folder / "bin/python"
    python.parent.mkdir(parents=True)
    found = environment.json.dumps({"monailabel": monailabel, "pgsam-monai": ours})
    python.write_text(f"#!/bin/sh\necho '{found}'\n")
    python.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def without_monailabel(monkeypatch, tmp_path):
    """This environment has none, its neighbour is found below tmp_path, and the working folder is empty."""
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "project/.venv"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def test_this_environment_serves_if_monailabel_is_in_it(monkeypatch):
    spec = importlib.machinery.ModuleSpec("monailabel", None)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(environment, "_versions", lambda python: {"monailabel": "0.8.5", "pgsam-monai": OWN})
    found = find_environment()
    assert found.python == Path(sys.executable) and found.version == "0.8.5"


def test_the_neighbour_is_found_and_its_python_not_resolved(tmp_path):
    made = fake_environment(tmp_path / "elsewhere")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/.venv-label").symlink_to(made)
    found = find_environment()
    assert found.python == tmp_path / "project/.venv-label/bin/python"


def test_the_working_folder_comes_after_the_neighbour(tmp_path):
    fake_environment(tmp_path / "empty/.venv-label", monailabel="0.8.4")
    assert find_environment().version == "0.8.4"
    fake_environment(tmp_path / "project/.venv-label", monailabel="0.8.5")
    assert find_environment().version == "0.8.5"


@pytest.mark.parametrize("given", ["mine", "mine/bin/python"])
def test_the_given_one_comes_first(tmp_path, given):
    fake_environment(tmp_path / "project/.venv-label", monailabel="0.8.4")
    fake_environment(tmp_path / "mine")
    found = find_environment(tmp_path / given)
    assert found.python == tmp_path / "mine/bin/python" and found.version == "0.8.5"


def test_none_is_a_sentence_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"make label.*pip install 'pgsam-monai\[label\]'") as fault:
        find_environment()
    assert str(tmp_path / "project/.venv-label") in str(fault.value)


@pytest.mark.parametrize(
    "versions, said",
    [
        ({"monailabel": None}, "has no MONAI Label; install it there"),
        ({"monailabel": "0.9.0"}, r"has MONAI Label 0\.9\.0, and bundles are served with 0\.8\.x"),
        ({"monailabel": "0.7.0"}, r"has MONAI Label 0\.7\.0"),
        ({"ours": "0.0.1"}, rf"has pgsam-monai 0\.0\.1, this is {OWN}; both must be the same"),
        ({"ours": None}, "has pgsam-monai not at all"),
    ],
)
def test_other_versions_are_refused(tmp_path, versions, said):
    with pytest.raises(ValueError, match=said):
        find_environment(fake_environment(tmp_path / "mine", **versions))


def test_a_folder_without_python_and_a_python_that_fails(tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="is no Python environment"):
        find_environment(tmp_path / "bare")
    broken = fake_environment(tmp_path / "broken") / "bin/python"
    broken.write_text("#!/bin/sh\necho 'libpython is gone' >&2\nexit 1\n")
    with pytest.raises(ValueError, match=r"doesn't run \(libpython is gone\)"):
        find_environment(tmp_path / "broken")
