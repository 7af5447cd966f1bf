"""The numbers behind the report's drawings: curves and bars in drawing units, turned to SVG by the
template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.fingerprint.facts import CaseFacts

WIDTH, HEIGHT = 960, 240
MAX_CURVES = 48
COMMON_AXIS = (20, 80)
"""Percentiles of the cases' smallest and largest values: a few cases on another scale shall not
squeeze the rest."""

LOWEST_SHARE = 1e-4
HIGHEST_SHARE = 1.0


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One channel's histograms over a common axis."""

    title: str
    width: int
    height: int
    curves: tuple[str, ...]
    """SVG point lists, one per case"""
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    band: tuple[float, float] | None
    """left and right of the planned window, in drawing units"""
    note: str


def intensity_charts(
    cases: Sequence[CaseFacts], channels: Sequence[str], scheme: Mapping[str, Any]
) -> tuple[Chart, ...]:
    """One chart per channel: share of voxels per intensity (logarithmic), a curve per case."""
    readable = [case for case in cases if not case.error and case.group == "train"]
    charts = []
    for index, name in enumerate(channels):
        held = [
            case.image[index] for case in readable if len(case.image) > index and case.image[index].histogram
        ]
        held = [channel for channel in held if channel.min is not None and channel.max > channel.min]
        if held:
            charts.append(_chart(name, held, scheme))
    return tuple(charts)


def _chart(name: str, channels: list, scheme: Mapping[str, Any]) -> Chart:
    low = float(np.percentile([channel.min for channel in channels], COMMON_AXIS[0]))
    high = float(np.percentile([channel.max for channel in channels], COMMON_AXIS[1]))
    beyond = sum(channel.max > high or channel.min < low for channel in channels)
    places = np.unique(np.linspace(0, len(channels) - 1, min(MAX_CURVES, len(channels))).round().astype(int))
    shown = [channels[place] for place in places]
    note = f"{len(shown)} of {len(channels)} cases drawn"
    if beyond:
        note += f"; {beyond} reach beyond this axis (overall {_short(min(c.min for c in channels))} to "
        note += f"{_short(max(c.max for c in channels))})"
    band = None
    if scheme["scheme"] == "window":
        band = tuple(
            round(float(np.clip(_x(scheme[end], low, high), 0, WIDTH)), 1) for end in ("low", "high")
        )
    return Chart(
        title=name,
        width=WIDTH,
        height=HEIGHT,
        curves=tuple(_curve(channel, low, high) for channel in shown),
        x_ticks=tuple((round(_x(value, low, high), 1), _short(value)) for value in _ticks(low, high)),
        y_ticks=tuple(
            (round(_y(share), 1), label) for share, label in ((0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %"))
        ),
        band=band,
        note=note + ".",
    )


def _curve(channel: Any, low: float, high: float) -> str:
    counts = np.asarray(channel.histogram, dtype=float)
    edges = np.linspace(channel.min, channel.max, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    width = edges[1] - edges[0]
    shares = counts / counts.sum() * ((high - low) / 64) / width  # as if in 64 bins of the common axis
    points = [
        f"{_x(centre, low, high):.0f},{_y(min(max(share, LOWEST_SHARE), HIGHEST_SHARE)):.0f}"
        for centre, share in zip(centres, shares, strict=True)
        if low <= centre <= high
    ]
    return " ".join(points)


def _x(value: float, low: float, high: float) -> float:
    return (value - low) / max(high - low, 1e-9) * WIDTH


def _y(share: float) -> float:
    span = np.log10(HIGHEST_SHARE) - np.log10(LOWEST_SHARE)
    return float(HEIGHT * (np.log10(HIGHEST_SHARE) - np.log10(share)) / span)


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 6 or 1.0
    magnitude = 10 ** np.floor(np.log10(raw))
    step = magnitude * next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    return [float(value) for value in np.arange(np.ceil(low / step) * step, high + step / 1e6, step)]


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
