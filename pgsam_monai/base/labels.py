"""What an entry of the decision `labels` says: a class's value in the files, or several that are one class."""

from __future__ import annotations

from collections.abc import Sequence

Entry = int | Sequence[int]
"""12, or [12, 13] for values that are merged: predictions hold the first."""


def values_of(entry: Entry) -> tuple[int, ...]:
    """The values in the files that make up the class."""
    return (entry,) if isinstance(entry, int) else tuple(entry)


def class_of(labels: Sequence[Entry], value: int) -> int | None:
    """Index of the class that `value` belongs to; None where no class lists it, which makes it background."""
    return next((index for index, entry in enumerate(labels) if value in values_of(entry)), None)


def shown(entry: Entry) -> str:
    """The values for a reader: "12", or "12 + 13"."""
    return " + ".join(map(str, values_of(entry)))


def background_of(label_names: dict[str, int] | None) -> int:
    """The value that the data set's own names call background; 0 where they call none so."""
    names = {name.strip().lower(): value for name, value in (label_names or {}).items()}
    return names.get("background", 0)
