"""Clicks on one structure in a whole volume: what is measured after each."""

from __future__ import annotations

import numpy as np
import pytest

from pgsam_monai.evaluation.interaction.whole_volume import click_structure, mean_of
from pgsam_monai.metrics.surfaces import surface_dice

TARGET = np.zeros((12, 12, 12), bool)
TARGET[3:9, 3:9, 3:9] = True


class Answers:
    """Shows a mask before the first click and another after each; the last one stays."""

    def __init__(self, *masks):
        self._masks, self._at = masks, 0

    def start_over(self):
        self._at = 0

    def click(self, click):
        self._at += 1

    def mask(self):
        return self._masks[min(self._at, len(self._masks) - 1)]


def clicked(*masks, **options):
    return click_structure(Answers(*masks), TARGET, (1, 1, 1), clicks=3, case="a", label="liver", **options)


def test_surfaces_are_measured_where_it_is_asked_for():
    half = TARGET & (np.arange(12) < 6)
    found = clicked(np.zeros_like(TARGET), half, TARGET, nsd_after=(0, 1, 3), tolerance_mm=1.0)
    assert found.dice == (0, pytest.approx(2 / 3), 1, 1) and found.clicks == 2
    assert found.nsd == {0: 0.0, 1: surface_dice(half, TARGET, (1, 1, 1), 1.0), 3: 1.0}
    assert 0.4 < found.nsd[1] < 0.8
    assert clicked(TARGET).nsd == {}


def test_means_are_over_classes_of_means_over_cases():
    rows = [clicked(TARGET), clicked(np.zeros_like(TARGET)), clicked(np.zeros_like(TARGET))]
    rows[2] = type(rows[2])(**{**vars(rows[2]), "label": "spleen"})
    assert mean_of(rows, lambda one: one.dice[0]) == 0.25  # of 0.5 and 0
