"""Folds the facts of many cases into the summary of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from pgsam_monai.base.measures import to_anatomical
from preprocess.fingerprint.cache import CachedCase, ChannelSamples
from preprocess.fingerprint.facts import (
    SLICE_AXES,
    CaseFacts,
    DatasetSummary,
    LabelSummary,
    Spread,
)
from preprocess.fingerprint.intensity import summarize
from preprocess.fingerprint.modality import guess_modality
from preprocess.fingerprint.structures import middle_of
from preprocess.layouts.records import Dataset

SAMPLES_IN_MEMORY_BYTES = 256 << 20
"""Foreground values up to this size are loaded once; more are read again for each pass over them."""


def is_countable(case: CaseFacts) -> bool:
    """Whether a case takes part in the summary: a training case, readable, with a usable label on its own
    grid."""
    fits = case.label_shape is not None and case.label_shape == case.shape
    return case.group == "train" and case.error is None and case.label_problem is None and fits


def fold_cases(dataset: Dataset, measured: Sequence[CachedCase]) -> DatasetSummary:
    """The training cases as one. Cases that `is_countable` refuses are left out."""
    kept = tuple(entry for entry in measured if is_countable(entry.facts))
    cases = [entry.facts for entry in kept]
    channels = commonest([case.channels for case in cases], default=0)
    modality, reason = guess_modality(dataset, cases)
    labels = {
        value: _fold_label(value, cases) for value in sorted({v for case in cases for v in case.labels})
    }
    return DatasetSummary(
        num_cases=len(cases),
        channels=channels,
        shape=_spread([to_anatomical(case.shape, case.orientation) for case in cases]),
        spacing=_spread([to_anatomical(case.spacing, case.orientation) for case in cases]),
        cropped_shape=_spread([to_anatomical(case.cropped_shape, case.orientation) for case in cases]),
        intensity=_pool_intensity([entry for entry in kept if entry.facts.channels == channels], channels),
        labels=labels,
        background_frequency=1.0 - sum(label.frequency for label in labels.values()),
        orientations=dict(Counter(case.orientation for case in cases).most_common()),
        modality=modality,
        modality_reason=reason,
    )


def commonest(values: Sequence, *, default):
    """The value that occurs most often, the first of equals; `default` for none."""
    return Counter(values).most_common(1)[0][0] if values else default


def _pool_intensity(cases: Sequence[CachedCase], channels: int) -> tuple:
    pooled = []
    for channel in range(channels):
        samples = ChannelSamples(tuple(cases), channel)
        if samples.size_bytes <= SAMPLES_IN_MEMORY_BYTES:
            samples = list(samples)
        pooled.append(summarize(samples))
    return () if None in pooled else tuple(pooled)


def _spread(rows: list[tuple]) -> Spread:
    if not rows:
        return Spread(median=(), min=(), max=())
    table = np.array(rows)
    return Spread(
        median=tuple(middle_of(table).tolist()),
        min=tuple(table.min(axis=0).tolist()),
        max=tuple(table.max(axis=0).tolist()),
    )


def _fold_label(value: int, cases: Sequence[CaseFacts]) -> LabelSummary:
    total = sum(case.label_voxels for case in cases if case.looked_for(value))
    held = [(case.labels[value], case.orientation) for case in cases if value in case.labels]
    extents = np.array([to_anatomical(facts.extent_mm, orientation) for facts, orientation in held])
    voxels = sum(facts.voxels for facts, _ in held)
    return LabelSummary(
        cases=len(held),
        voxels=voxels,
        frequency=voxels / total,
        volume_ml=float(median([facts.volume_ml for facts, _ in held])),
        components=float(median([facts.components for facts, _ in held])),
        extent_mm=tuple(middle_of(extents).tolist()),
        extent_mm_min=tuple(extents.min(axis=0).tolist()),
        in_plane_px={
            axis: _middle_and_least(row) for axis, row in _by_slice_axis(held, "in_plane_px").items()
        },
        in_plane_mm={
            axis: _middle_and_least(row) for axis, row in _by_slice_axis(held, "in_plane_mm").items()
        },
        slices={axis: median(row) for axis, row in _by_slice_axis(held, "slices").items()},
    )


def _by_slice_axis(held: list, name: str) -> dict[str, list[float]]:
    """Slice axis -> the named per-axis fact of every case; data without orientation has its last axis as
    "none"."""
    rows: dict[str, list[float]] = {}
    for facts, orientation in held:
        values = getattr(facts, name)
        named = (
            zip(SLICE_AXES, to_anatomical(values, orientation), strict=True)
            if orientation
            else [("none", values[2])]
        )
        for axis, value in named:
            rows.setdefault(axis, []).append(value)
    return rows


def _middle_and_least(row: list[float]) -> tuple[float, float]:
    return float(median(row)), float(min(row))
