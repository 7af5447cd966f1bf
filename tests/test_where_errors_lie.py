"""The arithmetic of benchmarks/where_errors_lie.py."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from registry import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from where_errors_lie import errors_of


def test_errors_at_the_surface_and_far_from_it_are_told_apart():
    """A column of 10 voxels of 2 mm: its first end isn't found, 5 voxels far from it and 1 beside it are added."""
    true = np.zeros((30, 1, 1), dtype=bool)
    true[5:15] = True
    found = true.copy()
    found[5:9] = False  # 2, 4, 6 and 8 mm deep, seen from the voxel outside
    found[15] = True
    found[25:] = True
    dice, near, missed, added = errors_of(found, true, (2.0, 1.0, 1.0), near_mm=4.0)
    assert dice == pytest.approx(2 * 6 / (12 + 10))
    assert (near, missed, added) == (0.3, 0.2, 0.5)
