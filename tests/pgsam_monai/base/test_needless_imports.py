import importlib.util
import sys
from types import SimpleNamespace

import pytest

from pgsam_monai.base import needless_imports


@pytest.fixture
def monai(monkeypatch):
    """As `import monai` leaves it while it runs."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    spec = SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "monai", SimpleNamespace(__spec__=spec))
    return spec


def test_a_package_is_hidden_while_monai_is_imported(monai):
    needless_imports.hide_needless_imports()
    with pytest.raises(ModuleNotFoundError, match="left out of MONAI's start"):
        importlib.util.find_spec("transformers")
    assert importlib.util.find_spec("nibabel")
    monai._initializing = False
    assert importlib.util.find_spec("transformers")


def test_it_is_hidden_once(monai):
    needless_imports.hide_needless_imports()
    needless_imports.hide_needless_imports()
    assert sum(isinstance(each, needless_imports._Hidden) for each in sys.meta_path) == 1
