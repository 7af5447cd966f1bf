"""Which networks answer best together, measured on cases that the members who answer didn't train on.

As nnU-Net's `find_best_configuration` has it (Isensee et al., Nature Methods 2021), but over all ways to put the
networks together: each case is predicted by those members of each network that didn't see it, the means of their
probabilities are put together in every way, and the way with the best mean Dice is chosen. It is chosen on the same
cases that its Dice is told of, which is therefore a little flattered; test cases have no say.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import decollate_batch, list_data_collate
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.labels import Entry, values_of
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import located, require_files
from pgsam_monai.ensembles.members import Source
from pgsam_monai.evaluation.folds import CLEANED
from pgsam_monai.evaluation.predictions import PREDICTIONS, evaluate_predictions
from pgsam_monai.evaluation.soft_dice import FILE as SOFT_DICE
from pgsam_monai.evaluation.soft_dice import write_soft_dice
from pgsam_monai.inference.confidence import SoftDice, by_name
from pgsam_monai.inference.ensemble import add_up, most_probable
from pgsam_monai.inference.turning import TurnedInferer
from pgsam_monai.metrics import dice_of_masks
from pgsam_monai.metrics.cases import without_papers
from pgsam_monai.metrics.files import read_pair
from pgsam_monai.metrics.summary import finite_or_none
from pgsam_monai.networks.ensemble import Ensemble
from pgsam_monai.predicting.each import for_each
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.transforms.read import reading
from pgsam_monai.transforms.save import SavePredictiond

LEAST_GAIN = 0.001
"""of the mean Dice: less is not worth another network"""
CANDIDATES = "candidates"
"""folder of each case's results"""
DICE, SURE = "by_structure", "soft_dice"
"""entries of a way's results: structure or region -> Dice; structure -> Soft Dice Confidence, where it was found"""
REMEDY = "delete it, and that case is predicted again"

Subset = tuple[int, ...]
"""places of networks"""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How label maps are compared with references, as the bundles' evaluate.json has it."""

    labels: Mapping[str, Entry]
    """names of structures or regions -> values in label maps and label files"""
    protocol: str
    tolerance_mm: float
    ignore: int | None
    """value in label files where nobody labelled"""

    @classmethod
    def of(cls, source: Source) -> Measures:
        bundle = Bundle(source.bundle.folder, configs=("train.json", "evaluate.json"))
        config = bundle.config("evaluate.json")
        return cls(
            labels=bundle.content("label_values"), protocol=without_papers(config["protocol"]),
            tolerance_mm=config["tolerance_mm"],
            ignore=bundle.config("plan.json")["dataset"].get("ignore"),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Some of the networks, together."""

    networks: Subset
    dice: float
    """mean over structures of the means over cases; NaN where no case defines one"""
    by_structure: Mapping[str, float]


def find_unseen_cases(sources: Sequence[Source]) -> dict[str, list[tuple[int, ...]]]:
    """Case → for each network the members that didn't train on it, of the cases for which each network has one.

    Those are labelled cases that are in some fold's lists; test cases are left to be tests.
    """
    splits = sources[0].splits
    listed = {name for fold in splits["folds"] for part in ("training", "validation") for name in fold[part]}
    names = [
        name
        for name, case in splits["cases"].items()
        if name in listed and name not in splits["test"] and case.get("label")
    ]
    unseen = [source.unseen(names) for source in sources]
    return {name: members for name in names if all(members := [each[name] for each in unseen])}


def subsets(count: int) -> list[Subset]:
    """All ways to take some of so many networks, those of fewer first."""
    return [chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)]


def predict_candidates(
    sources: Sequence[Source], network: Ensemble, cases: Mapping[str, Sequence[Sequence[int]]], folder: Path
) -> list[dict[str, Any]]:
    """Predict each case by all `subsets` of the networks, and measure it; goes on after the cases that are done.

    Nothing is done to the label maps afterwards, so that post-processing can be chosen on them.

    Args:
        sources: the networks.
        network: with all their members' weights, on its device.
        cases: as `find_unseen_cases` gives them.
        folder: of the results: candidates/<case>.json, and candidates/<networks>/<case>.* of the label maps.

    Returns:
        the cases, {"name", "image", "label", …}, as `data.splits.select_cases` gives them.

    Raises:
        SomeFailed: of several cases, after the others were measured.
    """
    place, splits = Path(sources[0].bundle.content("dataset_dir")), sources[0].splits
    chosen = [located(name, splits["cases"][name], place) for name in cases]
    require_files(chosen, place)
    todo = [case for case in chosen if not _case_file(folder, case["name"]).is_file()]
    if todo:
        walk = _Walk(sources, network, folder)
        for_each(todo, lambda case: walk(case, cases[case["name"]]))
    return chosen


class _Walk:
    """Predicts and measures one case after the other."""

    def __init__(self, sources: Sequence[Source], network: Ensemble, folder: Path) -> None:
        first = sources[0].bundle
        untouched = {CLEANED: False} if CLEANED in first.config("inference.json") else {}
        self.bundle = Bundle(first.folder, overrides=untouched)
        self.device = sources[0].bundle.device
        self.inferers = [_inferer_of(source, sources[0].planned.orientation) for source in sources]
        self.network, self.folder, self.measures = network, folder, Measures.of(sources[0])
        self.savers = {
            way: SavePredictiond("pred", output_dir=folder_of(folder, way)) for way in subsets(len(sources))
        }

    def __call__(self, case: Mapping[str, Any], members: Sequence[Sequence[int]]) -> Path:
        """Returns the file of the case's results, which is written last."""
        with reading():
            batch = list_data_collate(
                [self.bundle.preprocessing({key: case[key] for key in ("name", "image")})]
            )
        image = batch["image"].to(self.device)
        maps = self._maps(image, members)
        results = []
        for way, save in self.savers.items():
            sure = SoftDice()
            labels = most_probable([maps[place] for place in way], tuple(image.shape[2:]), sure)
            (item,) = decollate_batch({**batch, "pred": with_meta_of(labels[None].cpu(), batch["image"])})
            save(self.bundle.postprocessing(item))
            dice = _dice(prediction_file(save.output_dir, case["name"]), case, self.measures)
            told = by_name(sure.per_class().tolist(), self.bundle.names)
            results.append({"networks": list(way), DICE: finite_or_none(dice), SURE: told})
        content = {"members": list(map(list, members)), "candidates": results}
        return write_text(_case_file(self.folder, case["name"]), json.dumps(content, indent=1) + "\n")

    @torch.no_grad()
    def _maps(self, image: Tensor, members: Sequence[Sequence[int]]) -> list[Tensor]:
        """For each network the mean of its members' probabilities (K+1, h, w, d), at its own resolution."""
        return [
            add_up((inferer.probabilities(image, group[place])[0], 1 / len(places)) for place in places)[0]
            for inferer, group, places in zip(self.inferers, self.network.networks, members, strict=True)
        ]


def _inferer_of(source: Source, volume: str) -> Any:
    """How a network walks over volumes of this orientation."""
    inferer, own = source.bundle.inferer, source.planned.orientation
    return inferer if own == volume else TurnedInferer(inferer, own, volume)


def candidates(folder: Path, names: Sequence[str], count: int) -> list[Candidate]:
    """What the cases' results come to, for each of the `subsets` of so many networks."""
    found = []
    records = [_read(_case_file(folder, name), DICE) for name in names]
    for way in subsets(count):
        each = [record[way] for record in records]
        means = {label: _mean([case[label] for case in each]) for label in each[0]}
        found.append(Candidate(networks=way, dice=_mean(list(means.values())), by_structure=means))
    return found


def choose(found: Sequence[Candidate]) -> Candidate:
    """The best mean Dice, or fewer networks whose mean is less than `LEAST_GAIN` below it.

    Raises:
        UserFault: no case defines a Dice.
    """
    measured = [candidate for candidate in found if candidate.dice == candidate.dice]
    if not measured:
        raise UserFault(
            "ensemble: no case has a label of any structure, so nothing can be chosen by; --choose False."
        )
    best = max(candidate.dice for candidate in measured)
    near = [candidate for candidate in measured if best - candidate.dice < LEAST_GAIN]
    return min(near, key=lambda candidate: (len(candidate.networks), -candidate.dice))


def keep_chosen(
    chosen: Candidate, cases: Sequence[Mapping[str, Any]], folder: Path, measures: Measures
) -> None:
    """The chosen networks' label maps become the predictions of `folder`, and are measured in full; others go.

    How sure the networks were of them stands in soft_dice.json beside, as after folds.
    """
    (folder / PREDICTIONS).mkdir(exist_ok=True)
    kept = folder_of(folder, chosen.networks)
    for file in sorted(kept.iterdir()) if kept.is_dir() else ():  # gone where this was done before
        os.replace(file, folder / PREDICTIONS / file.name)
    for other in (folder / CANDIDATES).iterdir():
        if other.is_dir():
            shutil.rmtree(other)
    names = [case["name"] for case in cases]
    sure = {name: _read(_case_file(folder, name), SURE)[chosen.networks] for name in names}
    write_soft_dice(folder / SOFT_DICE, sure)
    evaluate_predictions(
        cases, folder, labels=measures.labels, protocol=measures.protocol, tolerance_mm=measures.tolerance_mm,
        ignore=measures.ignore,
    )  # fmt: skip


def folder_of(folder: Path, way: Subset) -> Path:
    """Of the label maps that some of the networks give."""
    return folder / CANDIDATES / f"networks_{'_'.join(map(str, way))}"


def _case_file(folder: Path, name: str) -> Path:
    return folder / CANDIDATES / f"{name}.json"


def _read(file: Path, entry: str) -> dict[Subset, dict[str, float]]:
    """Of each way what a case's results have in an entry, DICE or SURE."""

    def made(content: Mapping[str, Any]) -> dict[Subset, dict[str, float]]:
        return {
            tuple(result["networks"]): {
                label: float("nan") if value is None else float(value)
                for label, value in result[entry].items()
            }
            for result in content["candidates"]
        }

    return made_of(read_json(file, remedy=REMEDY), made, file=file, remedy=REMEDY)


def _dice(prediction: Path, case: Mapping[str, Any], measures: Measures) -> dict[str, float]:
    """Of each structure: NaN where neither holds it, or where nobody looked for it."""
    found, true, _ = read_pair(prediction, case["label"], name=case["name"])
    if measures.ignore is not None:
        known = true != measures.ignore
        found, true = found[known], true[known]
    looked_for = None if case.get("labelled") is None else set(case["labelled"])
    dice = {}
    for label, entry in measures.labels.items():
        values = values_of(entry)
        if looked_for is not None and not looked_for.issuperset(values):
            dice[label] = float("nan")
            continue
        dice[label] = dice_of_masks(np.isin(found, values), np.isin(true, values))
    return dice


def _mean(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN of none."""
    numbers = [value for value in values if value == value]
    return sum(numbers) / len(numbers) if numbers else float("nan")
