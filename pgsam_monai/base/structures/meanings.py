"""What the names of one data set's labels mean, so that those of two can be compared: never by guessing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from pgsam_monai.base.structures.contextual import CONTEXTUAL, GENERIC
from pgsam_monai.base.structures.library import UnknownStructure, find_structure
from pgsam_monai.base.structures.spelling import spelling_keys

SIDES = ("right", "left")
K = TypeVar("K")


def meanings_of(names: Mapping[K, str], context: str) -> dict[K, str]:
    """What each name means, by its key; names without a meaning, and meanings that several have, are left out.

    `context`: the data set's name, which may decide what "tumor" means, as may the other names.
    """
    context = " ".join([context, *names.values()])
    meanings = {key: meaning_of(name, context) for key, name in names.items()}
    counted = Counter(meanings.values())
    return {key: meaning for key, meaning in meanings.items() if meaning and counted[meaning] == 1}


def meaning_of(name: str, context: str) -> str | None:
    """Id of the structure, or for a name that the library doesn't know its spelling; None where it means several."""
    try:
        found = find_structure(name, context=context).id
        return None if found in GENERIC.values() else found  # "primary tumor" may be another one elsewhere
    except UnknownStructure:
        keys = spelling_keys(name)
    if {spelling_keys(known)[0] for known in CONTEXTUAL} & set(keys):
        return None
    telling = any(letter.isalpha() for letter in keys[0])
    return keys[0] if telling else name.casefold()  # "label 1" and "organ 1" share nothing but a number


def sides_of(meaning: str) -> tuple[str, ...]:
    """What the right and the left one of a pair mean."""
    return tuple(f"{meaning}_{side}" for side in SIDES)
