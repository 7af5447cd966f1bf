"""What training saw, in ranges: written by planning into the bundle, held against what is predicted.

No case is in it, only the ends and quantiles of all: a bundle may be given away.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pgsam_monai.base.json_files import made_of, read_json

FILE = "training_facts.json"
"""below a bundle's configs/, and beside a plan.json"""
SCHEMA_VERSION = 1
LEAST_CASES = 5
"""with fewer, the ends of a range say nothing"""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SHARE, SHARE_BY_CASES, LEAST_MARGIN = 0.25, 4.0, 0.1
AS_STORED, BY_PERCENTILES = INTENSITIES = ("as stored", "by percentiles")


def margin_share(cases: int) -> float:
    """How far out what is usual reaches, of what lies between the ends of so many cases' values; see `Range.holds`."""
    return SHARE + SHARE_BY_CASES / cases


@dataclass(frozen=True, kw_only=True)
class Range:
    """Values of one measure over the training cases that have it, `LEAST_CASES` or more."""

    cases: int
    min: float
    max: float
    quantiles: tuple[float, ...]
    """`QUANTILES`"""

    @classmethod
    def of(cls, values: Sequence[float]) -> Range | None:
        """None of too few."""
        if len(values) < LEAST_CASES:
            return None
        twentieths = statistics.quantiles(values, n=20, method="inclusive")
        inner = [twentieths[round(20 * share) - 1] for share in QUANTILES]
        low, high, *inner = (float(f"{value:.6g}") for value in (min(values), max(values), *inner))
        return cls(cases=len(values), min=low, max=high, quantiles=tuple(inner))

    def holds(self, value: float, *, as_ratio: bool = False) -> bool:
        """Whether a value lies between the ends, or not farther out than a margin.

        The margin is (1/4 + 4/N) of what lies between the ends, N the number of cases: where values are normally
        distributed, that is about 3.5 standard deviations from their mean, whatever N is. It is a tenth of the larger
        end at the least, for measures that hardly differ.

        Args:
            value: of a case.
            as_ratio: measure by ratios, not differences, what can't be below zero (volumes, lengths).
        """
        if as_ratio and min(value, self.min) <= 0:
            return value >= 0
        low, high, at = (math.log(end) if as_ratio else end for end in (self.min, self.max, value))
        least = math.log(1 + LEAST_MARGIN) if as_ratio else LEAST_MARGIN * max(abs(low), abs(high))
        margin = max(margin_share(self.cases) * (high - low), least)
        return low - margin <= at <= high + margin


@dataclass(frozen=True, kw_only=True)
class ChannelRanges:
    """One channel of the images, over all their voxels."""

    mean: Range
    percentile_00_5: Range | None
    percentile_99_5: Range | None
    """None where intensities are scaled by these"""


@dataclass(frozen=True, kw_only=True)
class StructureRanges:
    """One class over the training cases that hold it."""

    values: tuple[int, ...]
    """in the label files"""
    cases: int
    """that hold it"""
    of: int
    """that could"""
    millilitres: Range | None = None
    """None, like what follows, where it can't be told"""
    position: tuple[Range, ...] | None = None
    """of its centroid in the image, 0 to 1 along each of `measures.AXES`"""
    mean: tuple[Range, ...] | None = None
    """of the image in it, per channel"""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The cases that any fold trains on. Of fewer than `LEAST_CASES` nothing but their number is known."""

    cases: int
    intensity: str = AS_STORED
    """or "by percentiles": each channel's 0.5 percentile is 0 and its 99.5 percentile 1, as where networks see images
    scaled so"""
    is_oriented: bool = False
    """whether axes are `measures.AXES`; else they are rows, columns and slices, which have no millimetres"""
    shape: tuple[Range, ...] = ()
    """voxels along each axis"""
    spacing: tuple[Range, ...] = ()
    """mm, likewise"""
    channels: tuple[ChannelRanges, ...] = ()
    structures: Mapping[str, StructureRanges] = field(default_factory=dict)
    """by class name, background left out"""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainingFacts:
        """Inverse of `to_json`. Raises KeyError or TypeError for what lacks an entry."""
        known = {name: content[name] for name in ("cases", "intensity", "is_oriented")}
        return cls(
            **known,
            shape=_several(_range)(content["shape"]) or (),
            spacing=_several(_range)(content["spacing"]) or (),
            channels=_several(_channel)(content["channels"]) or (),
            structures={name: _structure(entry) for name, entry in content["structures"].items()},
        )


NUMBER = {"type": "number"}
RANGE = {
    "type": ["object", "null"],
    "required": ["cases", "min", "max", "quantiles"],
    "properties": {
        "cases": {"type": "integer", "minimum": 1},
        "min": NUMBER,
        "max": NUMBER,
        "quantiles": {"type": "array", "items": NUMBER},
    },
}
RANGES = {"type": ["array", "null"], "items": {**RANGE, "type": "object"}}
SCHEMA = {
    "required": [
        "schema_version",
        "cases",
        "intensity",
        "is_oriented",
        "shape",
        "spacing",
        "channels",
        "structures",
    ],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "cases": {"type": "integer", "minimum": 0},
        "intensity": {"enum": list(INTENSITIES)},
        "is_oriented": {"type": "boolean"},
        "shape": {**RANGES, "type": "array"},
        "spacing": {**RANGES, "type": "array"},
        "channels": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["mean"],
                "properties": {
                    "mean": {**RANGE, "type": "object"},
                    "percentile_00_5": RANGE,
                    "percentile_99_5": RANGE,
                },
            },
        },
        "structures": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["values", "cases", "of"],
                "properties": {
                    "values": {"type": "array", "items": {"type": "integer"}},
                    "cases": {"type": "integer"},
                    "of": {"type": "integer"},
                    "millilitres": RANGE,
                    "position": RANGES,
                    "mean": RANGES,
                },
            },
        },
    },
}


def read_training_facts(file: str | Path) -> TrainingFacts | None:
    """The content of a training_facts.json; None if there is none: of what was planned without data.

    Raises:
        DamagedFile: it isn't what `SCHEMA` says.
    """
    if not Path(file).is_file():
        return None
    remedy = "delete it, and predictions are held against nothing, or plan the data set again"
    content = read_json(file, remedy=remedy, schema=SCHEMA)
    return made_of(content, TrainingFacts.from_json, file=file, remedy=remedy)


def _several(make: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...] | None]:
    return lambda entries: None if entries is None else tuple(make(entry) for entry in entries)


def _range(entry: Mapping[str, Any] | None) -> Any:
    return None if entry is None else Range(**{**entry, "quantiles": tuple(entry["quantiles"])})


def _channel(entry: Mapping[str, Any]) -> ChannelRanges:
    ends = {name: _range(entry.get(name)) for name in ("percentile_00_5", "percentile_99_5")}
    return ChannelRanges(mean=_range(entry["mean"]), **ends)


def _structure(entry: Mapping[str, Any]) -> StructureRanges:
    return StructureRanges(
        values=tuple(entry["values"]),
        cases=entry["cases"],
        of=entry["of"],
        millilitres=_range(entry.get("millilitres")),
        position=_several(_range)(entry.get("position")),
        mean=_several(_range)(entry.get("mean")),
    )
