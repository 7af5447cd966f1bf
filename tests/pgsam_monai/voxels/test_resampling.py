"""Linear resampling without torch."""

import numpy as np
import pytest
import torch

from pgsam_monai.transforms.resample import resample_volume
from pgsam_monai.voxels.resampling import highest_class, resample, resampled_classes


def test_a_row_by_hand():
    assert np.allclose(resample(np.array([[0.0, 4.0]]), [4])[0], [0, 1, 3, 4])
    # each of the two is a triangle over the six around its centre, cut at the edge: 1, 3, 3 and 1 shares of 4/7
    shares = np.array([0.75, 0.75, 0.25]) / 1.75
    assert np.allclose(resample(np.array([[0.0, 1.0, 2.0, 3.0]]), [2])[0, 0], shares @ [0, 1, 2])


def test_the_same_size_is_the_same_field():
    field = np.random.default_rng(0).random((2, 3, 4), dtype=np.float32)
    assert resample(field, [3, 4]) is field


@pytest.mark.parametrize("size", [(9, 14, 5), (3, 4, 2), (12, 3, 7), (5, 1, 5)])
def test_as_torch(size):
    field = np.random.default_rng(1).random((2, 6, 7, 5), dtype=np.float32)
    expected = resample_volume(torch.from_numpy(field), size).numpy()
    assert np.allclose(resample(field, size), expected, atol=1e-5)


def test_the_lower_class_wins_a_tie():
    assert highest_class(np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 3.0]])).tolist() == [0, 1]
    assert highest_class(np.zeros((300, 1))).dtype == np.int16


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 9), (19, 31)), ((8, 9), (5, 20)), ((5, 6, 4), (9, 6, 11)), ((4, 5), (4, 5))]
)
def test_classes_are_those_of_all_logits_resampled(shape, size):
    logits = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    logits[0] += 1  # a background, and islands in it
    expected = highest_class(resample(logits, size))
    assert (resampled_classes(logits, size) == expected).mean() == 1.0


def test_a_class_wins_between_two_others():
    """The second best of both neighbours is the best in the middle."""
    logits = np.array([[2.0, -2.0], [-2.0, 2.0], [0.9, 0.9]], np.float32)
    assert resampled_classes(logits, [6]).tolist() == [0, 0, 2, 2, 1, 1]
