"""The real data sets that prompts are measured on, and which of their slices."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from preprocess.layouts.finding import find_dataset


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """A data set, what is asked about in it, and how its images enter a network."""

    name: str
    folder: str
    """below the folder of all sets"""
    structures: Mapping[str, int]
    """name -> value in the label files"""
    cases: int
    """the first so many by name"""
    title: str
    """what a table should say of it"""
    window: tuple[float, float] | None = None
    """grey values that become 0 and 1; None for each image's percentiles 0.5 and 99.5"""
    plane: str | None = None
    """in which slices lie; None: across the largest spacing, axial among equals"""
    ends: str = ""
    """of the names of those cases that are meant"""


ABDOMEN = (-160.0, 240.0)
"""HU"""

SETS = {
    each.name: each
    for each in (
        MeasuredSet(
            name="synapse",
            folder="Synapse",
            structures={
                "spleen": 1, "right kidney": 2, "left kidney": 3, "gallbladder": 4, "liver": 6, "stomach": 7,
                "aorta": 8, "pancreas": 11,
            },
            cases=6,
            window=ABDOMEN,
            plane="axial",
            title="BTCV abdomens (CT, 256 × 256 in plane), axial slices",
        ),
        MeasuredSet(
            name="ct",
            folder="ct/totalsegmentator_example",
            structures={
                "spleen": 1, "right kidney": 2, "left kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6,
                "pancreas": 7, "aorta": 52,
            },
            cases=1,
            window=ABDOMEN,
            plane="axial",
            title="TotalSegmentator's example (CT, 3 mm), axial slices",
        ),
        MeasuredSet(
            name="hippocampus",
            folder="Task04_Hippocampus",
            structures={"anterior": 1, "posterior": 2},
            cases=10,
            plane="sagittal",
            title="MSD Hippocampus (MR), sagittal slices",
        ),
        MeasuredSet(
            name="acdc",
            folder="ACDC",
            structures={"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
            cases=10,
            plane="axial",
            ends="_frame01",
            title="ACDC (cine MR), each patient's end-diastolic frame alone, short-axis slices",
        ),
        MeasuredSet(
            name="la",
            folder="LA2018",
            structures={"left atrium": 255},
            cases=4,
            plane="axial",
            title="left atria of 2018 (late-enhancement MR), axial slices",
        ),
    )
}  # fmt: skip


def find_cases(measured: MeasuredSet, data: Path) -> list[dict[str, str]]:
    """{"name", "image", "label"} of the set's cases, in the layouts' order, which is that of their names.

    Args:
        measured: of `SETS`.
        data: the folder of all sets.
    """
    folder = data / measured.folder
    if not folder.is_dir():
        sys.exit(
            f"--data: there is no '{folder}'; name the folder of all sets, or leave {measured.name} out."
        )
    if measured.name == "ct":  # image and label of one case, in no data set's layout
        return [named_case("example", folder / "image.nii.gz", folder / "label.nii.gz")]
    found = [case for case in find_dataset(folder).cases if case.label and case.name.endswith(measured.ends)]
    return [
        named_case(case.name, folder / case.images[0], folder / str(case.label))
        for case in found[: measured.cases]
    ]


def named_case(name: str, image: Path, label: Path) -> dict[str, str]:
    return {"name": name, "image": str(image.resolve()), "label": str(label.resolve())}


def spread_over(slices: Sequence[int], count: int) -> list[int]:
    """`count` of the slices, evenly spaced, each in the middle of its share; all if there aren't more."""
    if len(slices) <= count:
        return list(slices)
    return [slices[(2 * number + 1) * len(slices) // (2 * count)] for number in range(count)]


class KeepSlicesd(MapTransform):
    """Empties a label map but for some of the slices that hold a structure, so that the others are neither asked about
    nor counted. Slices keep their numbers, so simulated users click as they do on whole volumes.

    Args:
        keys: label maps (1, H, W, D), class indices.
        count: how many slices stay.
    """

    def __init__(self, keys: KeysCollection, count: int, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.count = count

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            held = np.flatnonzero(np.asarray(d[key]).any(axis=(0, 1, 2))).tolist()
            gone = sorted(set(range(d[key].shape[-1])) - set(spread_over(held, self.count)))
            d[key][..., gone] = 0
        return d
