"""Sentences about what lies outside what training saw, see `base.training_facts`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pgsam_monai.base.measures import AXES, by_percentiles
from pgsam_monai.base.training_facts import (
    BY_PERCENTILES,
    LEAST_CASES,
    Range,
    StructureRanges,
    TrainingFacts,
    margin_share,
)
from pgsam_monai.predicting.measured import MeasuredImage, MeasuredStructure

STORED_AXES = ("row to row", "column to column", "slice to slice")


def compared_with(facts: TrainingFacts | None) -> str:
    """A sentence: what warnings rest on, or why there are none."""
    if facts is None:
        return (
            "Nothing is warned of: the bundle was planned without data, so it doesn't know what training saw."
        )
    if facts.cases < LEAST_CASES:
        return f"Nothing is warned of: {facts.cases} training cases are too few to say what is unusual."
    return (
        f"Warnings name what lies outside the range of the {facts.cases} training cases by more than "
        f"{100 * margin_share(facts.cases):.0f} % of it."
    )


def image_warnings(image: MeasuredImage, facts: TrainingFacts) -> list[str]:
    """What of an image no training image comes near: voxels, their size, grey values."""
    return [*_grid_warnings(image, facts), *_grey_warnings(image, facts)]


def structure_warnings(
    structures: Sequence[MeasuredStructure], classes: Mapping[str, Sequence[int]], facts: TrainingFacts
) -> dict[str, list[str]]:
    """By class name, what of it no training case comes near: its volume, place and grey values, or that it is missing.

    Args:
        structures: that were measured.
        classes: the bundle's foreground names -> values in label files; ranges of other classes say nothing.
        facts: of the bundle.
    """
    told: dict[str, list[str]] = {structure.name: [] for structure in structures}
    for structure in structures:
        ranges = facts.structures.get(structure.name)
        if ranges is not None and ranges.values == tuple(classes.get(structure.name, ())):
            told[structure.name] = [f"{structure.name}: {text}" for text in _of_one(structure, ranges, facts)]
    return told


def _of_one(structure: MeasuredStructure, ranges: StructureRanges, facts: TrainingFacts) -> Iterator[str]:
    if not structure.voxels:
        if ranges.cases == ranges.of:
            yield f"not found; all {ranges.of} training cases hold it"
        return
    if structure.millilitres is not None and ranges.millilitres is not None:
        yield from _told(structure.millilitres, ranges.millilitres, "{} ml", as_ratio=True)
    if structure.position is not None and ranges.position is not None:
        yield from _of_place(structure.position, ranges.position)
    means = structure.scaled_means if facts.intensity == BY_PERCENTILES else structure.means
    if means is not None and ranges.mean is not None and len(means) == len(ranges.mean):
        for channel, (mean, known) in enumerate(zip(means, ranges.mean, strict=True)):
            yield from _told(mean, known, f"mean intensity {{}}{_unit(facts)}{_channel(channel, means)}")


def _of_place(position: Sequence[float], ranges: Sequence[Range]) -> Iterator[str]:
    known = list(zip(AXES, position, ranges, strict=True))
    far = [(axis, 100 * at, 100 * of.min, 100 * of.max) for axis, at, of in known if not of.holds(at)]
    places = [
        f"at {at:.0f} % of the image from {axis} (training: {low:.0f} to {high:.0f})"
        for axis, at, low, high in far
    ]
    if places:
        yield f"its middle lies {', '.join(places)}"


def _grid_warnings(image: MeasuredImage, facts: TrainingFacts) -> Iterator[str]:
    if bool(image.orientation) != facts.is_oriented:
        return
    axes = AXES if facts.is_oriented else STORED_AXES
    for axis, count, known in zip(axes, image.shape, facts.shape, strict=False):
        yield from _told(count, known, f"{{}} voxels from {axis}", as_ratio=True)
    for axis, mm, known in zip(axes, image.spacing, facts.spacing, strict=False):
        yield from _told(mm, known, f"voxels of {{}} mm from {axis}", as_ratio=True)


def _grey_warnings(image: MeasuredImage, facts: TrainingFacts) -> Iterator[str]:
    if len(image.means) != len(facts.channels):
        return
    for channel, known in enumerate(facts.channels):
        mean, ends = image.means[channel], image.percentiles[channel]
        where = _channel(channel, image.means)
        if facts.intensity == BY_PERCENTILES:
            if ends[1] > ends[0]:
                yield from _told(
                    by_percentiles(mean, ends), known.mean, f"mean intensity {{}}{_unit(facts)}{where}"
                )
            continue
        yield from _told(mean, known.mean, f"mean intensity {{}}{where}")
        for at, ranges, name in zip(
            ends, (known.percentile_00_5, known.percentile_99_5), ("0.5", "99.5"), strict=True
        ):
            if ranges is not None:
                yield from _told(at, ranges, f"{name} % of the voxels lie below {{}}{where}")


def _told(value: float, known: Range, what: str, *, as_ratio: bool = False) -> Iterator[str]:
    if not known.holds(value, as_ratio=as_ratio):
        low, high = _number(known.min), _number(known.max)
        span = low if low == high else f"{low} to {high}"
        yield f"{what.format(_number(value))}; training cases held {span}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _unit(facts: TrainingFacts) -> str:
    return " (0.5 and 99.5 percentiles being 0 and 1)" if facts.intensity == BY_PERCENTILES else ""


def _channel(channel: int, channels: Sequence[object]) -> str:
    return f" in channel {channel + 1}" if len(channels) > 1 else ""
