"""Which cases train, which validate, which test; and few-shot subsets of the training lists.

Everything is a function of the case names, the labels they hold and a seed: no state, the same file
every time.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1


class SplitError(ValueError):
    """A wish about splits that the data set can't grant."""


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """How much of each training list to keep."""

    spec: str
    """As the user wrote it: "5", "10%" or "slices:10%"."""

    amount: float
    """A count, or a share from 0 to 1."""

    is_share: bool
    level: str
    """"case", or "slice" as the papers draw their 10 %."""

    @classmethod
    def parse(cls, spec: str | int | float) -> FewShot:
        """Reads "5", "10%", "slices:10%" or "slices:50".

        Raises:
            SplitError: neither a positive whole number nor a percentage up to 100.
        """
        text = str(spec).strip()
        match = re.fullmatch(r"(?:(slices|cases):)?\s*(\d+(?:\.\d+)?)\s*(%?)", text)
        amount = float(match[2]) if match else 0.0
        is_share = bool(match and match[3])
        if amount <= 0 or (is_share and amount > 100) or (not is_share and amount != int(amount)):
            raise SplitError(
                f"--few_shot {text}: give a number of cases (5), a share of the cases (10%), "
                "or the papers' share of "
                "slices (slices:10%)."
            )
        level = "slice" if match[1] == "slices" else "case"
        return cls(spec=text, amount=amount / 100 if is_share else amount, is_share=is_share, level=level)

    def to_json(self) -> dict[str, Any]:
        """The entry "few_shot" of splits.json."""
        record: dict[str, Any] = {"spec": self.spec, "level": self.level}
        if self.level == "slice":
            record |= {"share": self.amount} if self.is_share else {"count": int(self.amount)}
        return record

    def count(self, available: int) -> int:
        """How many of `available` cases or slices to keep: at least 1.

        Raises:
            SplitError: more were asked for than there are.
        """
        wanted = max(1, round(self.amount * available)) if self.is_share else int(self.amount)
        if wanted > available:
            raise SplitError(
                f"--few_shot {self.spec}: only {available} training {self.level}s are left "
                "beside the validation fold; ask "
                f"for at most {available}."
            )
        return wanted


@dataclass(frozen=True, kw_only=True)
class Fold:
    training: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The content of splits.json."""

    seed: int
    few_shot: dict[str, Any] | None
    """{"spec": "10%", "level": "case"} or {"spec": "slices:10%", "level": "slice", "share": 0.1 (or "count": n)};
    None without."""

    cases: dict[str, dict[str, Any]]
    """Name -> {"image": path or [paths], "label": path or None}."""

    folds: tuple[Fold, ...]
    """Training lists hold the choice of few cases already. Few slices are drawn where training starts, since only
    there they are counted without fail: by `pgsam_monai.data.splits.FewSlices`, with this file's seed."""

    test: tuple[str, ...] = ()
    note: str = field(default="")
    """Anything unusual about these splits, in a sentence."""

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "seed": self.seed,
            "few_shot": self.few_shot,
        }
        if self.note:
            record["note"] = self.note
        record["cases"] = self.cases
        record["folds"] = [
            {"training": list(f.training), "validation": list(f.validation)} for f in self.folds
        ]
        record["test"] = list(self.test)
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Splits:
        folds = [
            Fold(training=tuple(f["training"]), validation=tuple(f["validation"])) for f in record["folds"]
        ]
        return cls(
            seed=record["seed"],
            few_shot=record["few_shot"],
            cases=dict(record["cases"]),
            folds=tuple(folds),
            test=tuple(record["test"]),
            note=record.get("note", ""),
        )


def make_splits(
    cases: Sequence[Any],
    *,
    labels: Mapping[str, Sequence[int]],
    folds: int,
    seed: int,
    few_shot: str | int | None = None,
) -> Splits:
    """Splits a data set's cases.

    Args:
        cases: records with `name`, `images`, `label`, `group` ("train" or "test") and `fold`.
        labels: training case -> foreground values it holds. Cases that are not named here don't train.
        folds: number of folds; as many as cases means leave-one-out.
        seed: of the shuffling.
        few_shot: "5", "10%", "slices:10%" or None.

    Raises:
        SplitError: the wish can't be granted.
    """
    training = [case for case in cases if case.group == "train" and case.name in labels]
    names = [case.name for case in training]
    stated = {case.name: case.fold for case in training if getattr(case, "fold", None) is not None}
    if len(stated) == len(names) and len(set(stated.values())) == folds:
        validation = _stated_folds(stated)
    else:
        validation = balanced_folds(names, labels=labels, folds=folds, seed=seed)
    made = [_fold(names, held_out) for held_out in validation]
    test = [case for case in cases if case.group == "test"]
    entries = {case.name: _entry(case) for case in [*training, *test]}
    wish = None if few_shot is None else FewShot.parse(few_shot)
    if wish and wish.level == "case":
        order = few_shot_order(names, labels=labels, seed=seed)
        made = [_restricted(fold, wish, order) for fold in made]
    return Splits(
        seed=seed,
        few_shot=wish.to_json() if wish else None,
        cases=entries,
        folds=tuple(made),
        test=tuple(case.name for case in test),
    )


def balanced_folds(
    names: Sequence[str], *, labels: Mapping[str, Sequence[int]], folds: int, seed: int
) -> list[list[str]]:
    """Validation lists whose sizes differ by one at most, rare labels spread over the folds first."""
    if not 2 <= folds <= len(names):
        raise SplitError(
            f"{len(names)} cases can't make {folds} folds; choose 2 to {len(names)} (--override folds=N)."
        )
    shuffled = _shuffled(names, seed)
    holders = Counter(value for name in names for value in labels[name])
    rarest_first = sorted(
        shuffled, key=lambda name: min((holders[value] for value in labels[name]), default=len(names))
    )
    capacity = [len(names) // folds + (index < len(names) % folds) for index in range(folds)]
    filled: list[list[str]] = [[] for _ in range(folds)]
    held = [Counter() for _ in range(folds)]
    for name in rarest_first:
        rare = sorted(labels[name], key=lambda value: (holders[value], value))
        free = [index for index in range(folds) if len(filled[index]) < capacity[index]]
        chosen = min(
            free, key=lambda index: ([held[index][value] for value in rare], len(filled[index]), index)
        )
        filled[chosen].append(name)
        held[chosen].update(labels[name])
    place = {name: index for index, name in enumerate(names)}
    return [sorted(fold, key=place.__getitem__) for fold in filled]


def few_shot_order(names: Sequence[str], *, labels: Mapping[str, Sequence[int]], seed: int) -> list[str]:
    """All `names` in the order in which few-shot subsets take them, so that larger subsets contain
    smaller ones.

    Each next case is the one that adds most to the labels seen least so far; the seed decides among equals.
    """
    left = _shuffled(names, seed)
    seen: Counter = Counter()
    order: list[str] = []
    while left:
        chosen = max(left, key=lambda name: sum(1.0 / (1 + seen[value]) ** 2 for value in labels[name]))
        left.remove(chosen)
        order.append(chosen)
        seen.update(labels[chosen])
    return order


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def _stated_folds(stated: Mapping[str, int]) -> list[list[str]]:
    return [
        [name for name, fold in stated.items() if fold == number] for number in sorted(set(stated.values()))
    ]


def _fold(names: Sequence[str], held_out: Sequence[str]) -> Fold:
    out = set(held_out)
    return Fold(training=tuple(name for name in names if name not in out), validation=tuple(held_out))


def _restricted(fold: Fold, wish: FewShot, order: Sequence[str]) -> Fold:
    keep = set([name for name in order if name in fold.training][: wish.count(len(fold.training))])
    return Fold(training=tuple(name for name in fold.training if name in keep), validation=fold.validation)


def _entry(case: Any) -> dict[str, Any]:
    images = list(case.images)
    return {"image": images[0] if len(images) == 1 else images, "label": case.label}
