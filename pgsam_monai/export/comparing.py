"""What an exported network calls as the trained one does, and the Dice that it costs where cases have labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from pgsam_monai.base.labels import values_of
from pgsam_monai.base.volume import read_classes
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import select_cases
from pgsam_monai.metrics import dice_of_masks
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import Exported

PARTS = ("validation", "test", "training")
"""of the fold: what it didn't train on first"""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A case, and what the trained network says of it in float32."""

    name: str
    image: Any
    expected: np.ndarray
    """(i, j, k), the data set's values"""
    truth: np.ndarray | None
    """(i, j, k), of its label; None without one"""


def cases_to_compare(bundle: Bundle, number: int) -> tuple[str, list[dict[str, Any]]]:
    """Which part of the bundle's fold is compared, of `PARTS`, and its first cases; ("", []) without its data set."""
    folder = Path(bundle.content("dataset_dir"))
    for part in PARTS if folder.is_dir() and number > 0 else ():
        if chosen := cases_of(bundle, part):
            return part, chosen[:number]
    return "", []


def cases_of(bundle: Bundle, part: str) -> list[dict[str, Any]]:
    """Of its fold, as `data.splits.select_cases` gives them."""
    return select_cases(
        splits_file=bundle.config_file("splits.json"), dataset_dir=bundle.content("dataset_dir"),
        fold=bundle.content("fold"), part=part,
    )  # fmt: skip


def ask_trained(folder: Path, cases: Sequence[Mapping[str, Any]]) -> list[Compared]:
    """What the network of a bundle's folder says of cases in torch and float32."""
    if not cases:
        return []
    exact = Bundle.trained(folder, device="cpu", overrides={"precision": "fp32"})
    return [
        Compared(
            name=case["name"], image=case["image"], expected=exact.label_map(case["image"]).voxels,
            truth=read_classes(case["label"]).voxels[0] if "label" in case else None,
        )
        for case in tqdm(cases, desc="asking the trained network", disable=None)
    ]  # fmt: skip


def measured(exported: Exported, network: ExportedNetwork, cases: Sequence[Compared]) -> Exported:
    """`exported` with how its network answers `cases`."""
    bundle = network.bundle
    labels = bundle.decisions["labels"]
    shares, dice, of_trained = [], [], []
    for case in tqdm(cases, desc=f"comparing {network.engine} {exported.precision}", disable=None):
        found = network.label_map(case.image)[0].voxels
        shares.append(agreement(case.expected, found, bundle.background))
        if case.truth is not None and np.isin(case.truth, _foreground(labels)).any():
            dice.append(mean_dice(found, case.truth, labels))
            of_trained.append(mean_dice(case.expected, case.truth, labels))
    return replace(
        exported, cases=tuple(case.name for case in cases), agreement=min(shares, default=None),
        dice=fmean(dice) if dice else None, dice_of_trained=fmean(of_trained) if dice else None,
    )  # fmt: skip


def agreement(expected: np.ndarray, found: np.ndarray, background: int) -> float:
    """Of the voxels that either label map calls foreground, the share that both call alike; 1 where there are none."""
    either = (expected != background) | (found != background)
    return float((expected == found)[either].mean()) if either.any() else 1.0


def mean_dice(found: np.ndarray, truth: np.ndarray, labels: Sequence[Any]) -> float:
    """Over the structures that a reference holds; `labels` as in `base.labels`, the background first."""
    scores = []
    for values in map(values_of, labels[1:]):
        own = np.isin(truth, values)
        if own.any():
            scores.append(dice_of_masks(found == values[0], own))
    return fmean(scores)


def _foreground(labels: Sequence[Any]) -> list[int]:
    return [value for entry in labels[1:] for value in values_of(entry)]
