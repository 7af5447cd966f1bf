"""Agreement and Dice of an exported network by hand."""

import numpy as np

from pgsam_monai.export.comparing import agreement, mean_dice
from pgsam_monai.runtime.record import Exported


def test_agreement_by_hand():
    expected, found = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 2, 2, 1])
    assert agreement(expected, found, 0) == 0.5  # two of four voxels that either calls foreground
    assert agreement(np.zeros(3), np.zeros(3), 0) == 1.0


def test_dice_by_hand():
    """Of structures that are there; 5 and 6 are one, which predictions call 5."""
    truth, found = np.array([0, 1, 1, 5, 6]), np.array([1, 1, 0, 5, 5])
    assert mean_dice(found, truth, [0, 1, [5, 6], 7]) == (0.5 + 1) / 2


def test_a_chosen_precision_is_measured_by_its_dice():
    lost = {"agreement": 0.97, "dice": 0.8, "dice_of_trained": 0.804}
    assert Exported(files={}, chosen=True, **lost).verified
    assert not Exported(files={}, **lost).verified
    assert not Exported(files={}, chosen=True, **{**lost, "dice_of_trained": 0.806}).verified
    assert not Exported(files={}, chosen=True, agreement=0.97).verified
    assert Exported(files={}, agreement=0.9995).verified
