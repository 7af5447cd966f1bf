"""The page of drawn samples, benchmarks/drawn_samples.py, small."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from benchmarks import drawn_samples


def test_a_page_shows_each_sample_twice(monkeypatch, tmp_path):
    """Sixteen samples of 32 pixels, eight a row: pictures and, beside each, its targets in colour."""
    page = tmp_path / "page.png"
    monkeypatch.setattr(sys, "argv", ["drawn_samples", str(page), "--samples", "16", "--image_size", "32"])
    drawn_samples.main()
    colours = Image.open(page).convert("RGB")
    assert colours.size == (8 * 64, 64)
    red, green, _ = np.moveaxis(np.asarray(colours).astype(int)[:32, :64], 2, 0)
    assert abs(red - green)[:, :32].max() < 12 < abs(red - green)[:, 32:].max()


def test_it_tells_how_quickly_samples_come(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["drawn_samples", str(tmp_path / "none"), "--only_time", "2", "--image_size", "32"]
    )
    drawn_samples.main()
    assert "samples of 32 pixels per second of one core" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
