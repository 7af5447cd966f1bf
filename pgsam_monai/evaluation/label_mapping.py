"""Which of a bundle's classes another data set labels too, and under which values: by name, never by guessing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import MissingFile, UserFault, nearest_few
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.structures.meanings import meaning_of, meanings_of, sides_of
from pgsam_monai.base.structures.spelling import side_of, spelling_keys

ABOUT = (
    "classes: each class of the bundle and the values of the data set that are this structure; an empty list leaves "
    "the class out. Edit it and give the file back with --map."
)
BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """What a bundle and a data set have in common."""

    own: Mapping[str, int]
    """the bundle's foreground classes → their values in its predictions"""
    other: Mapping[int, str]
    """the data set's foreground values → their names; empty where it names none"""
    pairs: Mapping[str, tuple[int, ...]]
    """classes of the bundle that are compared → the data set's values that mean them"""

    @property
    def own_left_out(self) -> dict[str, tuple[str, ...]]:
        """The bundle's classes without a partner → names of the data set that come near."""
        return {name: near_names(name, self.other.values()) for name in self.own if name not in self.pairs}

    @property
    def other_left_out(self) -> dict[int, tuple[str, ...]]:
        """The data set's values without a partner → classes of the bundle that come near."""
        taken = {value for values in self.pairs.values() for value in values}
        return {value: near_names(name, self.own) for value, name in self.other.items() if value not in taken}

    def to_json(self) -> dict[str, Any]:
        """What `read_label_map` reads, and beside it what a person needs to edit it."""
        return {
            "about": ABOUT,
            "classes": {name: list(self.pairs.get(name, ())) for name in self.own},
            "dataset_labels": {str(value): name for value, name in self.other.items()},
            "near": {name: list(near) for name, near in self.own_left_out.items() if near},
        }


def match_labels(
    own: Mapping[str, int], other: Mapping[int, str], *, own_context: str = "", other_context: str = ""
) -> LabelMap:
    """Pair names that mean the same structure, however they are spelt ("RK", "right kidney", "Kidney_R").

    A class without a side takes the two values of its sides ("adrenal glands": "left adrenal gland" and "right adrenal
    gland"), if the data set has both. Names that several classes or values have, and names that mean different things
    in different data sets where nothing decides ("tumor"), stay unmatched; so does "left kidney" with "kidney".

    Args:
        own: the bundle's foreground classes → their values in its predictions.
        other: the data set's values → names; a background among them is left out.
        own_context: the bundle's name, which may decide what "tumor" means, as may its classes' names.
        other_context: the data set's name, likewise.
    """
    foreground = _foreground(other)
    meanings = meanings_of({name: name for name in own}, own_context)
    values = {meaning: value for value, meaning in meanings_of(foreground, other_context).items()}
    taken = set(meanings.values())
    pairs = {}
    for name, meaning in meanings.items():
        sides = sides_of(meaning)
        if meaning in values:
            pairs[name] = (values[meaning],)
        elif all(side in values and side not in taken for side in sides):
            pairs[name] = tuple(sorted(values[side] for side in sides))
    return LabelMap(own=dict(own), other=foreground, pairs=pairs)


def _foreground(other: Mapping[int, str]) -> dict[int, str]:
    return {value: name for value, name in other.items() if meaning_of(name, "") != BACKGROUND}


def near_names(name: str, others: Iterable[str]) -> tuple[str, ...]:
    """Up to three of `others` whose spelling comes near, the nearest first; never of the other side."""
    key = spelling_keys(name)[0]
    keys = {other: spelling_keys(other)[0] for other in others}
    fits = {
        found: other
        for other, found in keys.items()
        if not side_of(key) or side_of(found) in ("", side_of(key))
    }
    return tuple(fits[found] for found in nearest_few(key, fits, cutoff=0.7))


def read_label_map(file: str | Path, *, own: Mapping[str, int], other: Mapping[int, str]) -> LabelMap:
    """A label map that a person has edited; classes that it doesn't name are left out.

    Args:
        file: JSON with "classes": {class of the bundle: value or list of values of the data set}.
        own, other: as for `match_labels`; where `other` is empty any value is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such JSON, an unknown class or value, the background, or a value of two classes.
    """
    who = f"Label map '{file}'"
    if not Path(file).is_file():
        raise MissingFile(f"{who} does not exist; --map takes auto or such a file.")
    try:
        classes = read_json(file, remedy="correct it")["classes"]
        listed = {name: _listed(values) for name, values in classes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UserFault(
            f'{who} must be JSON of the form {{"classes": {{"spleen": [1], "adrenal glands": [11, 12]}}}} with whole '
            "numbers; take the label_map.json of an evaluation and edit it."
        ) from fault
    foreground = _foreground(other)
    for name, values in listed.items():
        _check_class(who, name, values, own, other, foreground)
    counted = Counter(value for values in listed.values() for value in values)
    for value in (value for value, count in counted.items() if count > 1):
        holders = " and ".join(repr(name) for name, values in listed.items() if value in values)
        raise UserFault(f"{who}: value {value} stands at {holders}; leave it at one class, once.")
    pairs = {name: listed[name] for name in own if listed.get(name)}
    return LabelMap(own=dict(own), other=foreground, pairs=pairs)


def _listed(values: Any) -> tuple[int, ...]:
    several = values if isinstance(values, list) else [values]
    if any(isinstance(value, bool) or not isinstance(value, int) for value in several):
        raise TypeError
    return tuple(several)


def _check_class(
    who: str, name: str, values: Sequence[int], own: Mapping[str, int], other: Mapping, foreground: Mapping
) -> None:
    if name not in own:
        near = near_names(name, own)
        hint = f"did you mean {near[0]!r}?" if near else f"the bundle's are {', '.join(own)}."
        raise UserFault(f"{who}: the bundle has no class '{name}'; {hint}")
    for value in values:
        if value in foreground or not other and value > 0:
            continue
        if value in other or value == 0:
            raise UserFault(f"{who}: '{name}' has {value}, the data set's background; leave it out.")
        known = ", ".join(f"{number} {label}" for number, label in foreground.items())
        raise UserFault(
            f"{who}: '{name}' has {value}, a value that the data set doesn't name; its labels are {known}."
        )


def format_label_map(labels: LabelMap) -> str:
    """A table of what is compared, and what is left out on both sides."""
    title = ("class of the bundle", "labels of the data set")
    rows = [
        (f"{name} ({labels.own[name]})", ", ".join(_named(labels, value) for value in values))
        for name, values in labels.pairs.items()
    ]
    width = max(len(left) for left, _ in [title, *rows])
    lines = [f"Compared: {len(rows)} of {len(labels.own)} classes"]
    lines += [f"  {left.ljust(width)}  {right}" for left, right in (title, *rows)] if rows else []
    own = [_with_near(name, near) for name, near in labels.own_left_out.items()]
    other = [_with_near(_named(labels, value), near) for value, near in labels.other_left_out.items()]
    lines += [
        f"Left out of the {side}: {', '.join(items) or 'nothing'}"
        for side, items in (("bundle", own), ("data set", other))
    ]
    return "\n".join(lines)


def _named(labels: LabelMap, value: int) -> str:
    return f"{labels.other[value]} ({value})" if value in labels.other else str(value)


def _with_near(name: str, near: Sequence[str]) -> str:
    return f"{name} [near: {', '.join(near)}]" if near else name
