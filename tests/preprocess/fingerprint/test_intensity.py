"""Exact statistics against numpy over the values end to end."""

import numpy as np
import pytest

from preprocess.fingerprint.intensity import Sample, measure_channel, summarize


def everything(values, foreground=None):
    return measure_channel(values, values if foreground is None else values[foreground])


@pytest.fixture(params=["sorted", "bits"])
def either_way(request, monkeypatch):
    """Percentiles by sorting few values, and by counting the bits of many."""
    monkeypatch.setattr(
        "preprocess.fingerprint.intensity.SORTED_AT_ONCE", 10**9 if request.param == "sorted" else 0
    )


def assert_exact(intensity, values):
    values = np.asarray(values, np.float64)
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    assert intensity.count == len(values)
    found = (
        intensity.percentile_00_5,
        intensity.median,
        intensity.percentile_99_5,
        intensity.mean,
        intensity.std,
    )
    assert found == pytest.approx((low, middle, high, values.mean(), values.std()), rel=1e-6, abs=1e-6)
    assert (intensity.min, intensity.max) == (values.min(), values.max())


def test_hand_sized(either_way):
    _, sample = everything(np.array([1, 2, 3, 10], np.int16))

    assert summarize([sample]).median == 2.5
    assert summarize([sample]).mean == 4.0


def test_cases_of_every_type_pool_exactly(either_way):
    random = np.random.default_rng(1)
    parts = [
        random.integers(0, 120, 300).astype(np.uint8),
        random.integers(-1024, 3071, 500).astype(np.int16),
        random.normal(0, 1e6, 400).astype(np.float32),
        -np.abs(random.normal(0, 1e-3, 200)).astype(np.float32),
        np.array([0.0, -0.0, 0.0], np.float32),
        np.zeros(0, np.float32),
        random.integers(0, 9, 50).astype(np.float64),
    ]

    pooled = summarize([everything(part)[1] for part in parts])

    assert_exact(pooled, np.concatenate(parts))


def test_only_foreground_is_pooled_and_all_voxels_described():
    values = np.array([-5, 0, 7, 7, 100], np.int32)

    channel, sample = everything(values, np.array([False, False, True, True, False]))

    assert (channel.min, channel.max, channel.mean) == (-5, 100, pytest.approx(21.8))
    assert sum(channel.histogram) == 5
    assert channel.histogram[0] == 1 and channel.histogram[-1] == 1
    assert (len(sample), sample.values.tolist(), sample.counts.tolist()) == (2, [7.0], [2])


def test_nan_and_infinite_values_are_counted_and_left_out():
    values = np.array([1.5, np.nan, np.inf, -np.inf, 2.5, np.nan], np.float32)

    channel, sample = everything(values)

    assert (channel.nan_count, channel.inf_count) == (2, 2)
    assert (channel.min, channel.max, channel.mean) == (1.5, 2.5, 2.0)
    assert summarize([sample]).mean == 2.0


def test_nothing_finite_and_no_foreground():
    channel, sample = everything(np.full(3, np.nan, np.float32))

    assert (channel.min, channel.nan_count, len(sample)) == (None, 3, 0)
    assert summarize([sample]) is None


def test_constant_and_boolean_images():
    assert everything(np.full(4, 3, np.uint8))[0].is_constant
    channel, _ = everything(np.array([True, False]))
    assert (channel.min, channel.max, channel.is_constant) == (0, 1, False)


def test_the_same_scan_has_the_same_histogram_under_every_type():
    values = np.random.default_rng(2).integers(-1000, 1000, 1000)
    histograms = {
        everything(values.astype(dtype))[0].histogram
        for dtype in (np.int16, np.float32, np.int64, np.float64)
    }

    assert len(histograms) == 1


def test_wide_integers_are_kept_one_by_one():
    channel, sample = everything(np.array([0, 1 << 30, 5], np.int64))

    assert sample.counts is None
    assert channel.max == 1 << 30


def test_samples_may_be_loaded_anew_for_each_pass(either_way):
    class Loaded:
        def __iter__(self):
            return iter((Sample(values=np.arange(5, dtype=np.float32), counts=None),))

    assert summarize(Loaded()).median == 2.0
