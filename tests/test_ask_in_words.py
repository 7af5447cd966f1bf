"""The arithmetic of benchmarks/ask_in_words.py, and that it asks a trained bundle."""

from __future__ import annotations

import sys

import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, run_bundle

from benchmarks import ask_in_words


def test_dice_of_masks_and_of_nothing():
    one, other = torch.tensor([1, 1, 0, 0]) > 0, torch.tensor([1, 0, 1, 1]) > 0
    assert ask_in_words.dice_of(one, other) == pytest.approx(2 / 5)
    assert ask_in_words.dice_of(one & ~one, other & ~other) == 1.0


def test_the_table_tells_the_asked_structure_from_the_nearest_other(capsys):
    answers = {
        "spleen": {"spleen": [0.8, 0.6], "liver": [0.2, 0.4]},
        "liver": {"spleen": [0.1], "liver": [0.9]},
    }
    ask_in_words.print_table({"spleen": [0.9], "liver": [1.0]}, answers)
    lines = capsys.readouterr().out.splitlines()
    assert "| spleen | 0.700 | 0.300 | liver 0.300 | 0.900 |" in lines
    assert lines[-1] == "| mean | 0.800 | 0.200 | 0.200 | 0.950 |"


def test_it_asks_a_trained_bundle_for_each_structure(tmp_path, monkeypatch, capsys):
    bundle = plan_tiny(
        write_msd(tmp_path / "Task02_Heart", cases=5, values=(0, 1, 2)), tmp_path, networks="refsam3d"
    )
    run_bundle("training", bundle)
    monkeypatch.setattr(sys, "argv", ["ask_in_words.py", str(bundle), "--cases", "1"])
    capsys.readouterr()
    ask_in_words.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 + 1
