"""How a bundle that fails in this process is told."""

import sys
from types import ModuleType

import pytest

from pgsam_monai.base.command_line import OURS, told
from pgsam_monai.base.errors import UserFault
from pgsam_monai.running import run_bundle


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Runs a bundle, whose component raises the fault as MONAI passes it on."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.json").write_text("{}")
    (tmp_path / "configs/metadata.json").write_text(
        '{"pgsam_monai": {"network": "samed", "title": "SAMed", "trained_for": {}}}'
    )

    def run_with(fault):
        def run(run_id, **options):
            if isinstance(fault, KeyboardInterrupt):
                raise fault
            try:
                raise fault
            except Exception as cause:
                raise RuntimeError("Failed to instantiate a component") from cause

        monai = ModuleType("monai")
        monai.bundle = ModuleType("monai.bundle")
        monai.bundle.run = run
        monkeypatch.setitem(sys.modules, "monai", monai)
        monkeypatch.setitem(sys.modules, "monai.bundle", monai.bundle)
        with pytest.raises(SystemExit) as end, told("pgsam"):
            run_bundle("training", str(tmp_path), ["train.json"], {})
        return end.value.code

    return run_with


def test_a_users_fault_is_one_sentence_and_the_command_that_shows_more(failing, capsys):
    said = failing(UserFault("Case 'a' has no label."))
    first, second = said.splitlines()
    assert first == "pgsam: training failed: Case 'a' has no label."
    assert second.startswith("The whole traceback: python -m monai.bundle run training")
    assert capsys.readouterr().err == ""


def test_numpys_value_error_keeps_its_traceback_and_says_where_to_report_it(failing, capsys):
    assert failing(ValueError("operands could not be broadcast together")) == f"pgsam: {OURS}"
    assert "ValueError: operands could not be broadcast together" in capsys.readouterr().err


def test_an_interrupted_training_says_how_to_go_on(failing, tmp_path):
    said = failing(KeyboardInterrupt())
    assert said.startswith("pgsam: interrupted.") and f"pgsam train {tmp_path} --resume" in said
