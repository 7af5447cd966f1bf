"""The curated library: what each anatomical structure looks like, where it lies, and how it is found by name.

Standard library only: the planner imports this module as well.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pgsam_monai.base.errors import UserFault, nearest_few
from pgsam_monai.base.structures.contextual import CONTEXTUAL, GENERIC
from pgsam_monai.base.structures.spelling import side_of, spelling_keys

REGION_OF_FILE = {"abdomen": "abdomen", "head": "head", "pelvis": "pelvis", "thorax": "chest"}
"""File of the library -> the part of the body that its structures lie in, unless they say otherwise."""


class UnknownStructure(UserFault):
    """A name that is no structure of the library, or stands for several."""

    def __init__(self, message: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.suggestions = suggestions
        """Names of structures that may have been meant, the likeliest first."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One anatomical structure. Descriptive fields are phrases of at most 14 words, without a full stop."""

    id: str
    """snake_case, unique; TotalSegmentator's class name where there is one"""
    name: str
    """as a radiologist writes it in a sentence"""
    shape: str
    """form and size"""
    position: str
    """side and level in the body; left and right are the patient's"""
    neighbours: str = ""
    """what touches it, and where"""
    ct: str = ""
    """look on CT of any contrast phase, in words: networks read no Hounsfield units"""
    phases: Mapping[str, str] = field(default_factory=dict)
    """contrast phase, a key of `scenes.PHASES` -> what CT of that phase shows beside"""
    mr: str = ""
    """look on T1, T2 and other MR sequences"""
    looks: Mapping[str, str] = field(default_factory=dict)
    """kind of picture, a key of `scenes.PICTURES` or "RGB" -> look"""
    region: str = ""
    """the part of the body, a key of `scenes.REGIONS`, that it lies in; "" for several and for none"""
    regions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """part of the body -> the descriptive fields that differ where only this part is shown"""
    confusions: str = ""
    """what is taken for it by mistake: for a language model's question, not for texts; CLIP hardly reads "not" """
    synonyms: tuple[str, ...] = ()
    """other names and data sets' spellings, none of which means anything else"""
    datasets: tuple[str, ...] = ()
    """data sets that label it"""


@functools.cache
def load_library() -> Mapping[str, Structure]:
    """Every structure by its id, from `library/*.json` beside this module, in the order of the files' names.

    Raises:
        ValueError: a file repeats an id or holds an unknown field; the message names it.
    """
    library: dict[str, Structure] = {}
    folder = files(__package__) / "library"
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".json")), key=lambda f: f.name):
        for key, record in json.loads(
            file.read_text(encoding="utf-8"), object_pairs_hook=_no_repeats
        ).items():
            if key in library:
                raise UserFault(
                    f"Library file '{file.name}': the id '{key}' stands in another file too; rename it."
                )
            library[key] = _structure(key, record, file.name)
    return MappingProxyType(library)


def find_structure(name: str, *, context: str = "") -> Structure:
    """The structure that a label name means, whatever its spelling.

    Args:
        name: an id, a name or a synonym; case, accents, separators, "L."/"lt"/"left" before or after, plural and
            British or American spelling don't matter.
        context: the data set's name, its other label names, or both. Used only for the names in `CONTEXTUAL`.

    Raises:
        UnknownStructure: no structure has this name, or it is a contextual one and `context` decides for none
            or for several.
    """
    library, index = load_library(), _index()
    if name in library:
        return library[name]
    keys = spelling_keys(name)
    for key in keys:
        if key in index:
            return library[index[key]]
    for key in keys:
        if key in _contextual():
            return library[_decide(name, key, context)]
    near = _near(keys[0])
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    raise UnknownStructure(
        f"Structure '{name}' is not in the library of {len(library)} structures{hint} Use a name of the library, or "
        "write a text for it yourself.",
        near,
    )


def side_of_structure(key: str) -> str:
    """ "left", "right", or "" for a structure, by its id, of neither or both sides."""
    return _sides()[key]


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = {key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n])}
    if repeated:
        raise UserFault(
            f"Library: {', '.join(sorted(repeated))} stands twice in one JSON object; remove one."
        )
    return dict(pairs)


def _structure(key: str, record: dict[str, Any], file: str) -> Structure:
    lists = {name: tuple(record.get(name, ())) for name in ("synonyms", "datasets")}
    region = REGION_OF_FILE.get(file.removesuffix(".json"), "")
    try:
        return Structure(**{"region": region, **record, **lists, "id": key})
    except TypeError as error:
        raise UserFault(
            f"Library file '{file}', structure '{key}': {error}; see the fields of Structure."
        ) from error


@functools.cache
def _index() -> Mapping[str, str]:
    """Spelling key -> id. Raises ValueError for a spelling that two structures claim."""
    index: dict[str, str] = {}
    for structure in load_library().values():
        for name in (structure.id, structure.name, *structure.synonyms):
            key = spelling_keys(name)[0]
            other = index.setdefault(key, structure.id)
            if other != structure.id:
                raise UserFault(
                    f"Library: '{name}' of '{structure.id}' also means '{other}'; take it from one."
                )
    return MappingProxyType(index)


@functools.cache
def _contextual() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """`CONTEXTUAL` with names and deciding words as spelling keys."""
    return {
        spelling_keys(name)[0]: {
            key: frozenset(spelling_keys(word)[0] for word in words) for key, words in structures.items()
        }
        for name, structures in CONTEXTUAL.items()
    }


def _decide(name: str, key: str, context: str) -> str:
    structures, generic = _contextual()[key], GENERIC.get(key)
    words = {word for key in spelling_keys(context) for word in key.split()}
    found = [key for key, deciding in structures.items() if deciding & words]
    if len(found) == 1:
        return found[0]
    if generic:
        return generic
    library = load_library()
    names = tuple(library[key].name for key in found or structures if key in library)
    raise UnknownStructure(
        f"Structure '{name}' means different things in different data sets, and "
        f"{'several fit' if found else 'nothing decides'} here; did you mean {' or '.join(map(repr, names))}? Use "
        "that name for the label.",
        names,
    )


@functools.cache
def _sides() -> Mapping[str, str]:
    """Id -> "left", "right" or ""."""
    return {key: side_of(spelling_keys(structure.name)[0]) for key, structure in load_library().items()}


def _near(key: str) -> tuple[str, ...]:
    """Up to three names whose spelling is close to `key`, never of the other side."""
    index, library = _index(), load_library()
    side = side_of(key)
    candidates = [other for other, meant in index.items() if not side or _sides()[meant] in ("", side)]
    close = nearest_few(key, candidates, most=8, cutoff=0.7)
    return tuple(dict.fromkeys(library[index[other]].name for other in close))[:3]
