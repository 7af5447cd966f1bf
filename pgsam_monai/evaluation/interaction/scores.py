"""The numbers of measured interaction: records, and what they come to over cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import made_of, read_json

Case = TypeVar("Case")

OVERALL = "mean"
"""What results call the mean over classes."""


@dataclass(frozen=True, kw_only=True)
class PromptScore:
    """Dice of one class of one case."""

    case: str
    label: str
    seed: int | None
    """of the simulated user; None without one"""
    prompts: str
    """ "3 clicks", "box 0.5", "everything", …"""
    slices: int
    """that hold the class, each of which was prompted"""
    dice: float
    """3-D, 0 to 1"""


@dataclass(frozen=True, kw_only=True)
class ClicksNeeded:
    """How many clicks the slices of one class of one case took to reach a Dice."""

    case: str
    label: str
    seed: int
    goal: float
    """Dice on the slice"""
    after: tuple[int, ...]
    """slices that reached it with the first click, with the second, …"""
    never: int
    """slices that did not reach it"""

    @property
    def median(self) -> float | None:
        """Clicks that half of the slices need at most; None if fewer than half reach the goal."""
        half, reached = (sum(self.after) + self.never) / 2, 0
        for number, slices in enumerate(self.after, 1):
            reached += slices
            if reached >= half:
                return number
        return None

    @property
    def share(self) -> float:
        """Of the slices, those that reached the goal."""
        return sum(self.after) / (sum(self.after) + self.never)


@dataclass(frozen=True, kw_only=True)
class ClicksObeyed:
    """How many of the clicks on one class of one case the answers to them obey.

    A positive click is obeyed where the answer holds its pixel, a negative one where it doesn't.
    """

    case: str
    label: str
    seed: int
    given: tuple[int, ...]
    """clicks so far on all slices that hold the class, after 1, 2, … a slice; who is satisfied stops earlier"""
    obeyed: tuple[int, ...]
    """how many of these the latest answer obeys"""

    def share(self, number: int) -> float:
        """Of the clicks given so far, those obeyed after `number` clicks per slice, 1 or more."""
        return self.obeyed[number - 1] / self.given[number - 1]

    @property
    def overall(self) -> float:
        """Of all clicks in all answers: a click counts again in the answer to every later number of clicks."""
        return sum(self.obeyed) / sum(self.given)


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """All that was measured on one case."""

    name: str
    scores: tuple[PromptScore, ...]
    needed: tuple[ClicksNeeded, ...]
    obeyed: tuple[ClicksObeyed, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> CaseScores:
        return cls(
            name=record["name"],
            scores=tuple(PromptScore(**one) for one in record["scores"]),
            needed=tuple(ClicksNeeded(**{**one, "after": tuple(one["after"])}) for one in record["needed"]),
            obeyed=tuple(
                ClicksObeyed(**{**one, "given": tuple(one["given"]), "obeyed": tuple(one["obeyed"])})
                for one in record["obeyed"]
            ),
        )


@dataclass(frozen=True, kw_only=True)
class MeanDice:
    """Dice of one class over all cases and users, or of all classes."""

    label: str
    """class name, or "mean" for the mean over classes"""
    prompts: str
    mean: float
    std: float | None
    """between cases, the users' mean taken first; divisor n - 1; None for one case"""
    cases: int
    """that hold the class"""


def kept_case(file: Path, stamp: str, make: Callable[[dict[str, Any]], Case]) -> Case | None:
    """What an earlier run measured of a case, if its stamp is the same; else None.

    Args:
        file: of the case.
        stamp: changes with everything that the numbers depend on.
        make: the numbers from the file's content.

    Raises:
        UserFault: the file is damaged.
    """
    if not file.is_file():
        return None
    remedy = "delete it, then the case is measured again"
    content = read_json(file, remedy=remedy, nan=True)
    if content.get("stamp") != stamp:
        return None
    return made_of(content, make, file=file, remedy=remedy)


def mean_dice(cases: Sequence[CaseScores]) -> list[MeanDice]:
    """Every kind of prompts for every class, then for their mean: the mean over classes of each class's mean over
    cases. Its spread is that between the cases' means over classes. Raises ValueError if nothing was measured."""
    by_place: dict[tuple[str, str, str], list[float]] = {}
    for case in cases:
        for score in case.scores:
            by_place.setdefault((score.prompts, score.label, score.case), []).append(score.dice)
    if not by_place:
        raise UserFault("interaction: none of the cases holds any of the classes.")
    labels = list(dict.fromkeys(label for _, label, _ in by_place))
    names = list(dict.fromkeys(case for _, _, case in by_place))
    rows = []
    for prompts in dict.fromkeys(prompts for prompts, _, _ in by_place):
        grid = {
            (label, name): mean(by_place[prompts, label, name])
            for label in labels
            for name in names
            if (prompts, label, name) in by_place
        }
        columns = {label: [dice for at, dice in grid.items() if at[0] == label] for label in labels}
        columns = {label: column for label, column in columns.items() if column}
        rows += [_row(label, prompts, column) for label, column in columns.items()]
        by_case = [[dice for at, dice in grid.items() if at[1] == name] for name in names]
        overall = _row(OVERALL, prompts, [mean(scores) for scores in by_case if scores])
        rows.append(
            MeanDice(
                label=OVERALL, prompts=prompts, mean=mean(mean(column) for column in columns.values()),
                std=overall.std, cases=overall.cases,
            )
        )  # fmt: skip
    return rows


def clicks_needed(cases: Sequence[CaseScores]) -> list[ClicksNeeded]:
    """Slices of all cases and users together, for every class and goal, then for all classes ("mean" as label)."""
    needed = [one for case in cases for one in case.needed]
    labels = list(dict.fromkeys(one.label for one in needed))
    rows = []
    for goal in sorted({one.goal for one in needed}):
        at_goal = [one for one in needed if one.goal == goal]
        rows += [_pool([one for one in at_goal if one.label == label], label) for label in labels]
        rows.append(_pool(at_goal, OVERALL))
    return rows


def clicks_obeyed(cases: Sequence[CaseScores]) -> list[ClicksObeyed]:
    """Clicks of all cases and users together, for every class, then for all classes ("mean" as label)."""
    every = [one for case in cases for one in case.obeyed]
    labels = list(dict.fromkeys(one.label for one in every))
    by_label = {label: [one for one in every if one.label == label] for label in labels}
    return [_pool_obeyed(own, label) for label, own in {**by_label, OVERALL: every}.items() if own]


def _row(label: str, prompts: str, values: Sequence[float]) -> MeanDice:
    std = stdev(values) if len(values) > 1 else None
    return MeanDice(label=label, prompts=prompts, mean=mean(values), std=std, cases=len(values))


def _pool(needed: Sequence[ClicksNeeded], label: str) -> ClicksNeeded:
    after = tuple(map(sum, zip(*(one.after for one in needed), strict=True)))
    never = sum(one.never for one in needed)
    return ClicksNeeded(case="all", label=label, seed=-1, goal=needed[0].goal, after=after, never=never)


def _pool_obeyed(every: Sequence[ClicksObeyed], label: str) -> ClicksObeyed:
    given, obeyed = (
        tuple(map(sum, zip(*counts, strict=True)))
        for counts in ([one.given for one in every], [one.obeyed for one in every])
    )
    return ClicksObeyed(case="all", label=label, seed=-1, given=given, obeyed=obeyed)
