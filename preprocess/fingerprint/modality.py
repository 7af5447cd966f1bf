"""Guesses what kind of scanner made the images, from what the data set says and from the values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

from preprocess.fingerprint.facts import CaseFacts
from preprocess.layouts.records import Dataset

AIR_HU = -500
"""CT images reach below this (air is -1000 HU) ..."""
BONE_HU = 200
"""... and above this; no other common modality has a signed scale like that."""

MR_NAMES = re.compile(r"mri?|t[12]w?|t1(ce|gd|c|n)|t2f|flair|adc|dwi|swi|pd|dce|bold", re.IGNORECASE)


def guess_modality(dataset: Dataset, cases: Sequence[CaseFacts]) -> tuple[str, str]:
    """("CT" | "MR" | "RGB" | "unknown", why)."""
    names = dataset.channel_names or ()
    shown = ", ".join(names)
    words = [word for name in names for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    if dataset.file_format == "picture":
        return "RGB", "The images are pictures (PNG, JPEG, TIFF)."
    if names and all(re.search(r"(^|[^a-z])ct([^a-z]|$)", name, re.IGNORECASE) for name in names):
        return "CT", f"The data set names its channels: {shown}."
    if any(MR_NAMES.fullmatch(word) for word in words):
        return "MR", f"The data set names its channels: {shown}."
    return _guess_from_values(cases)


def _guess_from_values(cases: Sequence[CaseFacts]) -> tuple[str, str]:
    ranges = [
        (case.image[0].min, case.image[0].max)
        for case in cases
        if case.image and case.image[0].min is not None
    ]
    if not ranges:
        return "unknown", "No image could be measured."
    low, high = median(low for low, _ in ranges), median(high for _, high in ranges)
    values = f"the median case runs from {low:g} to {high:g}"
    if low <= AIR_HU and high >= BONE_HU:
        return "CT", f"The values look like Hounsfield units: {values}."
    if low >= 0 and high > 1:
        return "MR", f"No negative values: {values}; CT would reach below {AIR_HU}."
    if low >= 0:
        return "unknown", f"The values are already scaled: {values}."
    return "unknown", f"The values fit neither Hounsfield units nor plain MR: {values}."
