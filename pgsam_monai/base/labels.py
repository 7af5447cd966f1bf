"""What an entry of the decision `labels` says: a class's value in the files, or several that are one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgsam_monai.base.errors import UserFault

Entry = int | Sequence[int]
"""12, or [12, 13] for values that are merged: predictions hold the first."""


def values_of(entry: Entry) -> tuple[int, ...]:
    """The values in the files that make up the class."""
    return tuple(int(value) for value in entry) if isinstance(entry, Sequence) else (int(entry),)


def class_of(labels: Sequence[Entry], value: int) -> int | None:
    """Index of the class that `value` belongs to; None where no class lists it, which makes it background."""
    return next((index for index, entry in enumerate(labels) if value in values_of(entry)), None)


def shown(entry: Entry) -> str:
    """The values for a reader: "12", or "12 + 13"."""
    return " + ".join(map(str, values_of(entry)))


def known_classes(labels: Sequence[Entry], labelled: Sequence[int] | None) -> list[bool]:
    """Of each class, the background first, whether all of its values were looked for; `labelled` None: all were."""
    looked_for = None if labelled is None else set(labelled)
    return [
        index == 0 or looked_for is None or looked_for.issuperset(values_of(entry))
        for index, entry in enumerate(labels)
    ]


IGNORE_NAMES = {"ignore", "ignored", "ignore_label", "ignore label"}
"""nnU-Net's "ignore" marks voxels that nobody labelled, in lower case"""


def is_ignore(name: str) -> bool:
    """Whether a label's name says that nobody labelled its voxels."""
    return name.strip().lower() in IGNORE_NAMES


def ignore_of(label_names: Mapping[str, int] | None) -> int | None:
    """The value of voxels that nobody labelled, by the data set's own names; None where these know of none."""
    return next((value for name, value in (label_names or {}).items() if is_ignore(name)), None)


def foreground_of(label_names: Mapping[str, int] | None) -> dict[str, int]:
    """The names of structures: neither the background nor what nobody labelled."""
    background = background_of(label_names)
    return {
        name: value
        for name, value in (label_names or {}).items()
        if value != background and not is_ignore(name)
    }


def background_of(label_names: Mapping[str, int] | None) -> int:
    """The value that the data set's own names call background; 0 where they call none so."""
    names = {name.strip().lower(): value for name, value in (label_names or {}).items()}
    return names.get("background", 0)


def check_labels(labels: Sequence[Entry]) -> tuple[tuple[int, ...], ...]:
    """The values of each class; ValueError unless they are distinct non-negative integers.

    0 must be among them, of whatever class: a list that forgot its background is found out.
    """
    entries = tuple(values_of(entry) for entry in labels)
    values = [value for entry in entries for value in entry]
    if (
        0 not in values
        or not all(entries)
        or len(set(values)) != len(values)
        or min(values) < 0
        or max(values) >= 2**31
    ):
        raise UserFault(
            "labels must be distinct integers from 0 to 2^31-1, or lists of them for a class of several, with"
            f" background first and 0 among them, got {list(labels)}."
        )
    return entries


def restored_values(labels: Sequence[Entry]) -> list[int]:
    """What predictions hold for each class: its first value."""
    return [values_of(entry)[0] for entry in labels]
