"""Modality and the mapping of intensities to 0..1."""

import math
from collections.abc import Mapping
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, is_number, takes

WINDOW_STEP_HU = 5
MIN_WINDOW_HU = 100
"""A narrower window would blow up noise."""


@takes(Kind(what="a word such as CT or MR", fits=lambda value: isinstance(value, str)))
def choose_modality(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "CT", "MR", "RGB" or "unknown"."""
    return Decision(value=evidence.modality, reason=_sentence(evidence.modality_reason))


def _is_intensity(value: Any) -> bool:
    schemes = {"window": {"low", "high"}, "percentile": {"low", "high"}, "unit8": set(), "none": set()}
    if not isinstance(value, dict) or value.get("scheme") not in schemes:
        return False
    keys = set(value) - {"scheme"}
    if keys != schemes[value["scheme"]] or not all(is_number(value[key]) for key in keys):
        return False
    return not keys or value["low"] < value["high"]


INTENSITY = Kind(
    what='a scheme such as {"scheme":"window","low":-125,"high":275}, "percentile", "unit8" or "none"',
    fits=_is_intensity,
)


@takes(INTENSITY)
def choose_intensity(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """The scheme that maps intensities to 0..1; see the reasons for each."""
    low, high = evidence.image_range
    if evidence.file_format == "archive" and low >= 0 and high <= 1:
        return Decision(
            value={"scheme": "none"}, reason=f"The archives hold ready values from {low:.3g} to {high:.3g}."
        )
    if decided["modality"] == "CT" and evidence.intensity:
        return _window(evidence)
    if evidence.file_format == "picture" and low >= 0 and high <= 255:
        return Decision(
            value={"scheme": "unit8"},
            reason=f"8-bit pictures (values {low:.0f} to {high:.0f}) are divided by 255.",
        )
    reason = (
        "Intensities have no fixed unit, so each image is scaled by its own 0.5 and 99.5 "
        "percentiles: scans on "
        f"another scale (values reach from {low:.4g} to {high:.4g}) and single hot voxels do no harm."
    )
    return Decision(value={"scheme": "percentile", "low": 0.5, "high": 99.5}, reason=reason)


def _window(evidence: Evidence) -> Decision:
    foreground = evidence.intensity[0]
    low, high = foreground.percentile_00_5, foreground.percentile_99_5
    bottom = math.floor(low / WINDOW_STEP_HU) * WINDOW_STEP_HU
    top = math.ceil(high / WINDOW_STEP_HU) * WINDOW_STEP_HU
    reason = (
        f"CT: clipped where 0.5 % and 99.5 % of all foreground voxels lie ({low:.0f} and "
        f"{high:.0f} HU), rounded "
        f"outwards to {WINDOW_STEP_HU} HU."
    )
    if top - bottom < MIN_WINDOW_HU:
        middle = (top + bottom) // 2
        bottom, top = middle - MIN_WINDOW_HU // 2, middle + MIN_WINDOW_HU // 2
        reason += f" Widened to {MIN_WINDOW_HU} HU, since less would blow up noise."
    return Decision(value={"scheme": "window", "low": float(bottom), "high": float(top)}, reason=reason)


def _sentence(text: str) -> str:
    text = text.strip() or "Nothing tells the modality"
    return (text[0].upper() + text[1:]).rstrip(".") + "."
