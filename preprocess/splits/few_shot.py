"""Few-shot subsets of training lists: seeded, nested, and balanced over the structures that the cases hold.

Cases count where each shows another subject; else subjects do, with all their cases.
"""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.splits import by_subject
from preprocess.splits.records import Splits

BY_SEED_ALONE = (
    "The few training cases were drawn by the seed alone, "
    "since it isn't known which structures each case holds."
)


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """How much of each training list to keep."""

    spec: str
    """as the user wrote it: "5", "10%" or "slices:10%"."""

    amount: float
    """a count, or a share from 0 to 1"""

    is_share: bool
    level: str
    """"case", or "slice" as the papers draw their 10 %"""

    @classmethod
    def parse(cls, spec: str | int | float) -> FewShot:
        """Reads "5", "10%", "slices:10%" or "slices:50".

        Raises:
            UserFault: neither a positive whole number nor a percentage up to 100.
        """
        text = str(spec).strip()
        match = re.fullmatch(r"(?:(slices|cases):)?\s*(\d+(?:\.\d+)?)\s*(%?)", text)
        amount = float(match[2]) if match else 0.0
        is_share = bool(match and match[3])
        if amount <= 0 or (is_share and amount > 100) or (not is_share and amount != int(amount)):
            raise UserFault(
                f"--few_shot {text}: give a number of cases or subjects (5), a share of them (10%), "
                "or the papers' share of slices (slices:10%)."
            )
        level = "slice" if match[1] == "slices" else "case"
        return cls(spec=text, amount=amount / 100 if is_share else amount, is_share=is_share, level=level)

    def to_json(self) -> dict[str, Any]:
        """The entry "few_shot" of splits.json."""
        record: dict[str, Any] = {"spec": self.spec, "level": self.level}
        if self.level == "slice":
            record |= {"share": self.amount} if self.is_share else {"count": int(self.amount)}
        return record

    def count(self, available: int, units: str | None = None) -> int:
        """How many of `available` cases, subjects or slices (`units`, by default those of the level) to keep: at least
        1.

        Raises:
            UserFault: more were asked for than there are.
        """
        wanted = max(1, round(self.amount * available)) if self.is_share else int(self.amount)
        if wanted > available:
            raise UserFault(
                f"--few_shot {self.spec}: only {available} training {units or f'{self.level}s'} are left "
                f"beside the validation fold; ask for at most {available}."
            )
        return wanted


def few_shot_order(
    names: Sequence[str], *, labels: Mapping[str, Sequence[int]] | None, seed: int
) -> list[str]:
    """All `names` in the order in which few-shot subsets take them, so that larger subsets contain
    smaller ones.

    The next case is always the one that holds most of the labels not seen yet, then most of those seen once, and so
    on; among equals the one with the rarest label; then the seed decides. Cases without any label come last.

    Args:
        names: the cases.
        labels: case -> foreground values it holds; None leaves the order to the seed.
        seed: of the shuffling.
    """
    shuffled = shuffle(names, seed)
    if labels is None:
        return shuffled
    alike: dict[tuple[int, ...], deque[str]] = {}  # cases with the same labels differ by the shuffling alone
    for name in shuffled:
        alike.setdefault(tuple(sorted(set(labels[name]))), deque()).append(name)
    place = {name: position for position, name in enumerate(shuffled)}
    holders = Counter(value for held, cases in alike.items() for value in held for _ in cases)
    seen: Counter = Counter()
    order: list[str] = []
    while alike:
        # The infinity makes more labels better than fewer where the first ones are equal.
        held = min(
            alike,
            key=lambda held: (
                [*sorted(seen[value] for value in held), inf],
                [*sorted(holders[value] for value in held), inf],
                place[alike[held][0]],
            ),
        )
        order.append(alike[held].popleft())
        seen.update(held)
        if not alike[held]:
            del alike[held]
    return order


def shuffle(names: Sequence[str], seed: int) -> list[str]:
    """A shuffled copy."""
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def labels_of(names: Iterable[str], labels: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """The labels that a subject's cases hold together."""
    return tuple(sorted({value for name in names for value in labels[name]}))


def restrict(splits: Splits, wish: FewShot, seed: int) -> Splits:
    """Splits whose training lists keep as many subjects as wished for, each with all its cases.

    Each fold's order is that of its own training list, so that every fold's first subjects cover its labels, and
    subsets of one fold and seed are nested. The entries "labels" of the cases balance the draw; where any training case
    of a fold has none, the seed alone decides, and the note says so.

    Raises:
        UserFault: a fold has fewer training subjects.
    """
    folds, note = [], splits.note
    for fold in splits.folds:
        known = all("labels" in splits.cases[name] for name in fold.training)
        held = {name: splits.cases[name].get("labels", ()) for name in fold.training}
        cases = by_subject(splits.cases, fold.training)
        labels = {subject: labels_of(own, held) for subject, own in cases.items()} if known else None
        count = wish.count(len(cases), splits.units)
        drawn = few_shot_order(list(cases), labels=labels, seed=seed)[:count]
        kept = {name for subject in drawn for name in cases[subject]}
        folds.append(replace(fold, training=tuple(name for name in fold.training if name in kept)))
        if not known and BY_SEED_ALONE not in note:
            note = f"{note} {BY_SEED_ALONE}".strip()
    level = {"level": "subject"} if splits.subjects else {}
    return replace(splits, folds=tuple(folds), few_shot=wish.to_json() | level, note=note)


def few_shot_splits(splits: Splits, cases: int, seed: int) -> Splits:
    """Restrict every training list of existing splits to `cases` cases (or subjects), drawn anew with `seed`.

    What is drawn depends on splits.json alone. Subsets of one seed are nested. Validation and test cases stay.

    Raises:
        UserFault: a fold has fewer of them, or the splits draw slices, which doesn't go with drawing cases.
    """
    if splits.few_shot and splits.few_shot["level"] == "slice":
        raise UserFault(
            f"few-shot by case: these splits draw slices already ({splits.few_shot['spec']}); plan the data set "
            "without it."
        )
    drawn = restrict(splits, FewShot.parse(cases), seed)
    return replace(drawn, few_shot={**drawn.few_shot, "seed": seed})
