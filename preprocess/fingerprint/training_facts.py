"""The measured training cases as ranges, for the bundle: `base.training_facts`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pgsam_monai.base.measures import by_percentiles, relative_position, to_anatomical
from pgsam_monai.base.training_facts import (
    AS_STORED,
    BY_PERCENTILES,
    LEAST_CASES,
    ChannelRanges,
    Range,
    StructureRanges,
    TrainingFacts,
)
from preprocess.fingerprint.facts import CaseFacts, LabelFacts
from preprocess.fingerprint.folding import commonest, is_countable


def training_facts(
    cases: Sequence[CaseFacts],
    *,
    trained: Collection[str],
    classes: Mapping[str, Sequence[int]],
    has_millimetres: bool,
    scaled_by_percentiles: bool,
) -> TrainingFacts:
    """Folds measured cases into ranges.

    Args:
        cases: of the fingerprint.
        trained: names of those that a fold trains on; of the others nothing is taken.
        classes: foreground class names -> their values in the label files.
        has_millimetres: whether the files have spacings, which pictures and archives don't.
        scaled_by_percentiles: whether networks see each image by its own percentiles.
    """
    kept = [case for case in cases if case.name in trained and is_countable(case)]
    channels = commonest([case.channels for case in kept], default=0)
    kept = [case for case in kept if case.channels == channels]
    if len(kept) < LEAST_CASES:
        return TrainingFacts(cases=len(kept))
    oriented = all(case.orientation for case in kept)
    return TrainingFacts(
        cases=len(kept),
        intensity=BY_PERCENTILES if scaled_by_percentiles else AS_STORED,
        is_oriented=oriented,
        shape=_ranges([to_anatomical(case.shape, case.orientation) for case in kept]) or (),
        spacing=(_ranges([to_anatomical(c.spacing, c.orientation) for c in kept]) or ())
        if has_millimetres
        else (),
        channels=_channels(kept, channels, scaled_by_percentiles),
        structures={
            name: _structure(kept, values, has_millimetres, oriented, scaled_by_percentiles)
            for name, values in classes.items()
        },
    )


def _ranges(rows: Sequence[Sequence[float]]) -> tuple[Range, ...] | None:
    """Per column; None of too few rows."""
    found = [Range.of(column) for column in zip(*rows, strict=True)]
    return None if None in found or not found else tuple(found)


def _channels(cases: Sequence[CaseFacts], channels: int, scaled: bool) -> tuple[ChannelRanges, ...]:
    made = []
    for index in range(channels):
        ends = [_ends(case, index) for case in cases]
        usable = [(case, end) for case, end in zip(cases, ends, strict=True) if end is not None]
        means = [case.image[index].mean for case, _ in usable]
        if scaled:
            means = [by_percentiles(mean, end) for mean, (_, end) in zip(means, usable, strict=True)]
        if (mean := Range.of(means)) is None:
            return ()
        low, high = (None if scaled else Range.of([end[n] for _, end in usable]) for n in (0, 1))
        made.append(ChannelRanges(mean=mean, percentile_00_5=low, percentile_99_5=high))
    return tuple(made)


def _ends(case: CaseFacts, channel: int) -> tuple[float, float] | None:
    """Its percentiles; None of a channel with one value, which can't be scaled, or none."""
    low, high = case.image[channel].percentile_00_5, case.image[channel].percentile_99_5
    return None if low is None or high is None or not high > low else (low, high)


def _structure(
    cases: Sequence[CaseFacts], values: Sequence[int], has_millimetres: bool, oriented: bool, scaled: bool
) -> StructureRanges:
    held = [
        (case, parts) for case in cases if (parts := [case.labels[v] for v in values if v in case.labels])
    ]
    places = [
        relative_position(_mean(parts, "centroid"), case.shape, case.orientation)
        for case, parts in held
        if oriented
    ]
    means = []
    for case, parts in held:
        ends = [_ends(case, channel) for channel in range(case.channels)]
        if None not in ends and all(part.mean for part in parts):
            row = _mean(parts, "mean")
            means.append([by_percentiles(*pair) for pair in zip(row, ends, strict=True)] if scaled else row)
    volumes = [sum(part.volume_ml for part in parts) for _, parts in held]
    return StructureRanges(
        values=tuple(values),
        cases=len(held),
        of=sum(all(map(case.looked_for, values)) for case in cases),
        millilitres=Range.of(volumes) if has_millimetres else None,
        position=_ranges(places),
        mean=_ranges(means),
    )


def _mean(parts: Sequence[LabelFacts], name: str) -> list[float]:
    """A per-axis or per-channel fact of values that are one class, weighted by their voxels."""
    rows = np.array([getattr(part, name) for part in parts], float)
    return np.average(rows, axis=0, weights=[part.voxels for part in parts]).tolist()
