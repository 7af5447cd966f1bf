"""Statistics of image values: exact, in memory that does not grow with the number of voxels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pgsam_monai.base.measures import PERCENTILES, percentiles_of
from preprocess.fingerprint.facts import ChannelFacts, Intensity

HISTOGRAM_BINS = 64
MAX_COUNTED_RANGE = 1 << 20
"""Integer values spanning less than this are counted one by one; wider ones are kept as they are."""

SORTED_AT_ONCE = 4_000_000
"""Up to so many values percentiles are read off a sorted list; above, off counts of their bits."""

CHUNK = 1 << 18
"""Voxels worked on at once, so that a large volume is never copied to a wider type as a whole."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Values of one channel of one case: every value (`counts` None), or each value with its count."""

    values: np.ndarray  # (N,) float32
    counts: np.ndarray | None  # (N,) int64

    def __len__(self) -> int:
        return len(self.values) if self.counts is None else int(self.counts.sum())


def measure_channel(voxels: np.ndarray, inside: np.ndarray) -> tuple[ChannelFacts, Sample]:
    """Facts over all of `voxels` (N,), and the sample of those `inside` the foreground (M,).

    Values that are not finite are counted and left out of everything else.
    """
    voxels, nan_count, inf_count = _finite(voxels)
    inside, _, _ = _finite(inside)
    if voxels.size == 0:
        facts = ChannelFacts(min=None, max=None, mean=None, nan_count=nan_count, inf_count=inf_count)
        return facts, Sample(values=np.zeros(0, np.float32), counts=None)
    low, high = voxels.min(), voxels.max()
    if _countable(voxels, low, high):
        counts = count_values(voxels, int(low), int(high))
        grid = np.arange(int(low), int(high) + 1)
        every = Sample(values=grid.astype(np.float32), counts=counts)
        histogram = np.bincount(_bin(grid, low, high), weights=counts, minlength=HISTOGRAM_BINS)
        mean = float(counts @ grid.astype(np.float64)) / voxels.size
        first, last = percentiles([every], voxels.size, PERCENTILES)
        held = count_values(inside, int(low), int(high))
        sample = Sample(values=every.values[held > 0], counts=held[held > 0])
    else:
        histogram = sum(
            np.bincount(_bin(part, low, high), minlength=HISTOGRAM_BINS) for part in _chunks(voxels)
        )
        mean = float(voxels.mean(dtype=np.float64))
        first, last = percentiles_of(voxels)
        sample = Sample(values=inside.astype(np.float32), counts=None)
    facts = ChannelFacts(
        min=float(low),
        max=float(high),
        mean=mean,
        nan_count=nan_count,
        inf_count=inf_count,
        is_constant=bool(low == high),
        histogram=tuple(int(n) for n in histogram),
        percentile_00_5=first,
        percentile_99_5=last,
    )
    return facts, sample


def class_means(voxels: np.ndarray, classes: np.ndarray, values: Sequence[int]) -> list[float]:
    """The mean of `voxels` (N,) for each of `values`, which rise and hold all of `classes` (N,); NaN where no voxel is
    finite."""
    place = np.searchsorted(np.asarray(values), classes)
    weights = voxels.astype(np.float64)
    finite = np.isfinite(weights)
    if not finite.all():
        place, weights = place[finite], weights[finite]
    counts = np.bincount(place, minlength=len(values))
    sums = np.bincount(place, weights=weights, minlength=len(values))
    return [total / count if count else math.nan for total, count in zip(sums.tolist(), counts, strict=True)]


def count_values(voxels: np.ndarray, low: int, high: int) -> np.ndarray:
    """How often each integer from `low` to `high` occurs in `voxels` (N,): (high - low + 1,) int64."""
    counts = np.zeros(high - low + 1, dtype=np.int64)
    for part in _chunks(voxels):
        counts += np.bincount(part.astype(np.int64) - low, minlength=len(counts))
    return counts


def summarize(samples: Iterable[Sample]) -> Intensity | None:
    """Statistics over all values of all `samples` at once; None when there are none.

    `samples` is gone through several times and may load each of its entries when asked for it. Percentiles
    are order statistics with linear interpolation, as `numpy.percentile` gives them over the values end to
    end.
    """
    count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    for sample in samples:
        if len(sample.values):
            n, part_mean, part_squares = _moments(sample)
            shift = part_mean - mean
            squares += part_squares + shift * shift * count * n / (count + n)
            mean += shift * n / (count + n)
            count += n
            low, high = min(low, float(sample.values.min())), max(high, float(sample.values.max()))
    if count == 0:
        return None
    first, median, last = percentiles(samples, count, (0.5, 50.0, 99.5))
    return Intensity(
        count=count,
        mean=mean,
        median=median,
        std=math.sqrt(squares / count),
        min=low,
        max=high,
        percentile_00_5=first,
        percentile_99_5=last,
    )


def percentiles(samples: Iterable[Sample], count: int, wanted: Sequence[float]) -> list[float]:
    """Percentiles 0..100 over the `count` values of all samples, exact."""
    places = [(count - 1) * percent / 100.0 for percent in wanted]
    ranks = sorted({rank for place in places for rank in (math.floor(place), math.ceil(place))})
    ranked = _ranked_by_sorting if count <= SORTED_AT_ONCE else _ranked_by_bits
    value_at = dict(zip(ranks, ranked(samples, ranks), strict=True))
    return [
        value_at[math.floor(place)]
        + (value_at[math.ceil(place)] - value_at[math.floor(place)]) * (place % 1.0)
        for place in places
    ]


def _ranked_by_sorting(samples: Iterable[Sample], ranks: list[int]) -> list[float]:
    """Where all values come with counts, only the different ones are sorted."""
    held = list(samples)
    values = np.concatenate([sample.values for sample in held])
    counts = [sample.counts for sample in held if sample.counts is not None]
    if len(counts) == len(held):
        order = np.argsort(values)
        places = np.searchsorted(np.cumsum(np.concatenate(counts)[order]), ranks, side="right")
        return values[order][places].astype(float).tolist()
    every = [s.values if s.counts is None else np.repeat(s.values, s.counts) for s in held]
    ordered = np.sort(np.concatenate(every))
    return [float(ordered[rank]) for rank in ranks]


def _ranked_by_bits(samples: Iterable[Sample], ranks: list[int]) -> list[float]:
    """Two passes over the bits of the values: the upper half of the bits says in which of 65536 bins a rank
    lies, the lower half which value of that bin it is. Nothing is sorted and no values are held."""
    upper = np.zeros(1 << 16)
    for sample in samples:
        upper += _tally(_ordered_bits(sample.values) >> 16, sample.counts)
    below = np.cumsum(upper)
    bins = [int(np.searchsorted(below, rank, side="right")) for rank in ranks]
    lower = {place: np.zeros(1 << 16) for place in set(bins)}
    for sample in samples:
        bits = _ordered_bits(sample.values)
        for place, counts in lower.items():
            inside = (bits >> 16) == place
            counts += _tally(bits[inside] & 0xFFFF, None if sample.counts is None else sample.counts[inside])
    found = []
    for rank, place in zip(ranks, bins, strict=True):
        rest = rank - (below[place] - upper[place])
        found.append(
            _value((place << 16) | int(np.searchsorted(np.cumsum(lower[place]), rest, side="right")))
        )
    return found


def _tally(places: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    return np.bincount(places, weights=counts, minlength=1 << 16)


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """(N,) float32 -> (N,) uint32 in the same order: the sign bit turned, negative numbers' other bits
    too."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding zero makes -0.0 equal 0.0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _value(ordered: int) -> float:
    bits = ordered ^ (1 << 31) if ordered >> 31 else ordered ^ 0xFFFFFFFF
    return float(np.array(bits, dtype=np.uint32).view(np.float32))


def _moments(sample: Sample) -> tuple[int, float, float]:
    """Count, mean and sum of squared deviations."""
    values = sample.values.astype(np.float64)
    if sample.counts is None:
        mean = float(values.mean())
        return len(values), mean, float(np.square(values - mean).sum())
    count = int(sample.counts.sum())
    mean = float(values @ sample.counts) / count
    return count, mean, float(np.square(values - mean) @ sample.counts)


def _finite(voxels: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The finite values, and how many are NaN and infinite; no copy where all are finite."""
    if voxels.size == 0 or voxels.dtype.kind != "f":
        return (voxels.view(np.uint8) if voxels.dtype == bool else voxels), 0, 0
    if np.isfinite(voxels.min()) and np.isfinite(voxels.max()):
        return voxels, 0, 0
    nan_count = int(np.count_nonzero(np.isnan(voxels)))
    finite = voxels[np.isfinite(voxels)]
    return finite, nan_count, voxels.size - finite.size - nan_count


def _countable(voxels: np.ndarray, low: np.generic, high: np.generic) -> bool:
    if float(high) - float(low) >= MAX_COUNTED_RANGE:
        return False
    return voxels.dtype.kind in "ui" or all(np.array_equal(part, np.rint(part)) for part in _chunks(voxels))


def _bin(values: np.ndarray, low: np.generic, high: np.generic) -> np.ndarray:
    width = float(high) - float(low) or 1.0
    places = (values.astype(np.float64) - float(low)) / width * HISTOGRAM_BINS
    return np.minimum(places, HISTOGRAM_BINS - 1).astype(np.intp)


def _chunks(voxels: np.ndarray) -> Iterable[np.ndarray]:
    return (voxels[start : start + CHUNK] for start in range(0, voxels.size, CHUNK))
