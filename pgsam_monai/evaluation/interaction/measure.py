"""How well a network answers simulated users, case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import known_classes
from pgsam_monai.evaluation.interaction.scores import (
    CaseScores,
    ClicksNeeded,
    ClicksObeyed,
    PromptScore,
)
from pgsam_monai.evaluation.interaction.users import AT_ONCE, ClickingUser, ask_at_once, draw
from pgsam_monai.interactive.answers import SliceEmbeddings, SlicePrompt, answer, ask_everything
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.volume import Place, SlicedVolume, make_volume
from pgsam_monai.transforms.fit import enlarge, on_slices, unfit_labels

EVERYTHING, EVERYTHING_THERE = "everything", "everything on prompted slices"
"""Without prompts, over the whole volume; and over the slices alone that hold the class, as prompts tell."""
GOALS = (0.8, 0.9)
"""Dice that clicks are counted up to, slice by slice."""


@dataclass(frozen=True, kw_only=True)
class InteractionSettings:
    """What is measured."""

    clicks: tuple[int, ...] = (1, 2, 3, 5, 10)
    """after how many clicks per slice"""
    seeds: tuple[int, ...] = (0,)
    """users who draw other first clicks, points and boxes; clicks in whole volumes have one, who draws nothing"""
    mask_feedback: bool | None = None
    """the latest answer goes in with a further click; None: if the network was trained with masks"""

    def __post_init__(self) -> None:
        for what, numbers, least in (("clicks", self.clicks, 1), ("seeds", self.seeds, 0)):
            if not numbers or min(numbers) < least or len(set(numbers)) < len(numbers):
                raise UserFault(
                    f"interaction: {what} must be different whole numbers of at least {least}, got "
                    f"{', '.join(map(str, numbers)) or 'none'}."
                )


def measure_interaction(
    model: PromptModel,
    case: Mapping[str, Any],
    settings: InteractionSettings | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CaseScores:
    """Scores of one case: every slice that holds a class is prompted for it, each class for itself.

    The Dice of a class is three-dimensional, over the voxels of the label file; slices that don't hold it are not
    prompted and count as empty. Classes don't compete. Each slice is encoded once. Classes that the case doesn't hold
    are left out.

    Args:
        model: whose labels are measured.
        case: {"name", "image", "label"}, as of `data.splits.select_cases`. The user asks for nothing that wasn't looked
            for, and takes what nobody labelled for background.
        settings: what is measured; None for the defaults.
        progress: is told of slices done, and how many there are.

    Raises:
        ValueError: image and label differ in shape.
    """
    settings = settings or InteractionSettings()
    data = model.preprocessing({"image": case["image"], "label": case["label"]})
    volume, label = make_volume(model, data["image"]), np.asarray(data["label"])[0]  # (H, W, D)
    looked_for = np.flatnonzero(known_classes(model.values, case.get("labelled")))
    label = np.where(np.isin(label, looked_for), label, 0)
    if label.shape != tuple(volume.image.shape[1:]):
        raise UserFault(
            f"Case '{case['name']}': image shape {tuple(volume.image.shape[1:])} and label shape {label.shape} differ; "
            "re-export the label on the image grid."
        )
    run = _Run(model, volume, label, name=str(case["name"]), settings=settings)
    for start in range(0, volume.depth, max(1, model.batch_size)):
        slices = range(start, min(start + max(1, model.batch_size), volume.depth))
        run.measure(slices)
        progress(slices.stop, volume.depth)
    return run.scores()


class _Run:
    """Goes through a volume some slices at a time and adds up voxels."""

    def __init__(
        self,
        model: PromptModel,
        volume: SlicedVolume,
        label: np.ndarray,
        *,
        name: str,
        settings: InteractionSettings,
    ) -> None:
        """`label`: class indices (H, W, D)."""
        self.model, self.volume, self.label, self.name, self.settings = model, volume, label, name, settings
        self.embeddings = SliceEmbeddings(model, volume, memory_gb=math.inf)
        self._voxels: dict[tuple[int, int | None, str], np.ndarray] = {}
        """by class, seed and prompts: predicted and right, predicted"""
        self._needed: dict[tuple[int, int, float], np.ndarray] = {}
        """by class, seed and goal: slices that reached it with 1, 2, … clicks, and those that did not"""
        self._obeyed: dict[tuple[int, int], np.ndarray] = {}
        """by class and seed: after 1, 2, … clicks, those obeyed and those given so far (clicks, 2)"""

    def measure(self, slices: Sequence[int]) -> None:
        """All prompts on these slices, the next ones, while their embeddings are at hand."""
        self.embeddings.forget_before(slices[0])
        targets = {
            Place(at, int(index)): self.label[..., at] == index
            for at in slices
            for index in np.unique(self.label[..., at])
            if index
        }
        if self.model.knows_everything:
            self._measure_everything(slices, targets)
        for seed in self.settings.seeds if targets else ():
            for what in AT_ONCE:
                questions = {
                    place: ask_at_once(self.volume, target, what, draw(self.name, place, seed, what))
                    for place, target in targets.items()
                }
                for place, (_, found) in self._ask(questions):
                    self._add((place.index, seed, what), found, targets[place])
            self._measure_clicks(targets, seed)

    def scores(self) -> CaseScores:
        """Of the slices so far."""
        names, reference = self.model.names, np.bincount(self.label.ravel())
        held = {index: int(np.any(self.label == index, axis=(0, 1)).sum()) for index in range(len(reference))}
        scores = [
            PromptScore(
                case=self.name, label=names[index - 1], seed=seed, prompts=what, slices=held[index],
                dice=float(2 * right / (predicted + reference[index])),
            )
            for what in prompts_of(self.settings)
            for (index, seed, asked), (right, predicted) in sorted(self._voxels.items(), key=_by_seed)
            if asked == what and index < len(reference) and reference[index]
        ]  # fmt: skip
        needed = [
            ClicksNeeded(
                case=self.name, label=names[index - 1], seed=seed, goal=goal, after=tuple(counts[:-1].tolist()),
                never=int(counts[-1]),
            )
            for (index, seed, goal), counts in sorted(self._needed.items(), key=_by_seed)
        ]  # fmt: skip
        obeyed = [
            ClicksObeyed(
                case=self.name, label=names[index - 1], seed=seed, given=tuple(counts[:, 1].tolist()),
                obeyed=tuple(counts[:, 0].tolist()),
            )
            for (index, seed), counts in sorted(self._obeyed.items(), key=lambda item: item[0][::-1])
        ]  # fmt: skip
        return CaseScores(name=self.name, scores=tuple(scores), needed=tuple(needed), obeyed=tuple(obeyed))

    def _measure_everything(self, slices: Sequence[int], targets: Mapping[Place, np.ndarray]) -> None:
        logits = ask_everything(self.embeddings, slices)
        square = enlarge(logits, (self.model.image_size, self.model.image_size))
        indices = unfit_labels(square, self.volume.frame)[:, 0].cpu().numpy()  # (n, H, W)
        for at, found in zip(slices, indices, strict=True):
            for index in range(1, len(self.model.names) + 1):
                mask, target = found == index, self.label[..., at] == index
                self._add((index, None, EVERYTHING), mask, target)
                if Place(at, index) in targets:
                    self._add((index, None, EVERYTHING_THERE), mask, target)

    def _measure_clicks(self, targets: Mapping[Place, np.ndarray], seed: int) -> None:
        feedback, most = self.settings.mask_feedback, max(self.settings.clicks)
        feedback = self.model.trained_with_masks if feedback is None else feedback
        users = {
            place: ClickingUser(volume=self.volume, target=target, feedback=feedback)
            for place, target in targets.items()
        }
        scores = {place: [] for place in targets}
        for number in range(1, most + 1):
            questions = {
                place: user.click(draw(self.name, place, seed, "clicks")) for place, user in users.items()
            }
            asked = {place: question for place, question in questions.items() if question is not None}
            for place, (logits, found) in self._ask(asked):
                users[place].see(logits, found)
            for place, user in users.items():
                scores[place].append(_dice(user.found, user.target))
                counts = self._obeyed.setdefault((place.index, seed), np.zeros((most, 2), dtype=np.int64))
                counts[number - 1] += user.obeyed
                if number in self.settings.clicks:
                    self._add((place.index, seed, clicks_title(number)), user.found, user.target)
        for place, reached in scores.items():
            for goal in GOALS:
                counts = self._needed.setdefault((place.index, seed, goal), np.zeros(most + 1, dtype=int))
                counts[next((n for n, dice in enumerate(reached) if dice >= goal), most)] += 1

    def _ask(
        self, questions: Mapping[Place, SlicePrompt]
    ) -> Iterator[tuple[Place, tuple[Tensor, np.ndarray]]]:
        """Each place with its answer: logits (h, w) and the mask (H, W) on the slice."""
        for place, logits in answer(self.embeddings, questions).items():
            found = on_slices(logits[None, None], self.volume.frame)[0, 0] > 0
            yield place, (logits, found.cpu().numpy())

    def _add(self, key: tuple[int, int | None, str], found: np.ndarray, target: np.ndarray) -> None:
        counts = self._voxels.setdefault(key, np.zeros(2, dtype=np.int64))
        counts += (np.count_nonzero(found & target), np.count_nonzero(found))


def prompts_of(settings: InteractionSettings) -> list[str]:
    """All that is measured, as results call it, in the order of tables."""
    return [EVERYTHING, EVERYTHING_THERE, *map(clicks_title, sorted(settings.clicks)), *AT_ONCE]


def clicks_title(number: int) -> str:
    """What results call so many clicks."""
    return f"{number} click" if number == 1 else f"{number} clicks"


def _by_seed(item: tuple[tuple[int, int | None, object], np.ndarray]) -> tuple[int, int]:
    (index, seed, _), _ = item
    return (-1 if seed is None else seed), index


def _dice(found: np.ndarray, target: np.ndarray) -> float:
    return 2 * np.count_nonzero(found & target) / (np.count_nonzero(found) + np.count_nonzero(target))
