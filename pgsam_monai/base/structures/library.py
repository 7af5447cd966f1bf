"""The curated library: what each anatomical structure looks like, where it lies, and how it is found by name.

Standard library only: the planner imports this module as well.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pgsam_monai.base.errors import UserFault, nearest_few
from pgsam_monai.base.structures.contextual import CONTEXTUAL
from pgsam_monai.base.structures.spelling import side_of, spelling_keys

MAX_WORDS = 50
"""Longest description; words are divided by blanks."""

MAX_TOKENS = 71
"""Longest description by `estimate_tokens`; CLIP reads 77, two of them its marks of start and end."""

SEEN_ON = {"CT": "on CT", "MR": "on MRI", "RGB": "in a colour picture", "US": "on ultrasound"}
LOOK_FIELDS = {"CT": "ct", "MR": "mr", "RGB": "look", "US": "look"}


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
    """look on CT, Hounsfield units"""
    mr: str = ""
    """look on T1, T2 and other MR sequences"""
    look: str = ""
    """look in colour pictures or on ultrasound"""
    confusions: str = ""
    """what is taken for it by mistake"""
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
    library, index, contextual = load_library(), _index(), _contextual()
    if name in library:
        return library[name]
    keys = spelling_keys(name)
    for key in keys:
        if key in index:
            return library[index[key]]
    for key in keys:
        if key in contextual:
            return library[_decide(name, contextual[key], context)]
    near = _near(keys[0])
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    raise UnknownStructure(
        f"Structure '{name}' is not in the library of {len(library)} structures{hint} Use a name of the library, or "
        "write a text for it yourself.",
        near,
    )


def describe_structure(name: str, modality: str, context: str = "") -> str:
    """One English text of at most 50 words: name, shape, position, look on `modality`, neighbours.

    The parts stand in this order, the most telling first; phrases that CLIP would not read any more are left out
    from the end.

    Args:
        name: as for `find_structure`.
        modality: "CT", "MR", "RGB" or "US"; any other gives a text without the look, and names the modality
            unless it is empty or "unknown".
        context: as for `find_structure`.

    Raises:
        UnknownStructure: as `find_structure`.
    """
    structure = find_structure(name, context=context)
    text = f"{_titled(structure.name, modality)}: {structure.shape}"
    for phrase in _phrases(structure, modality):
        if len((text + phrase).split()) > MAX_WORDS or estimate_tokens(text + phrase) > MAX_TOKENS:
            break
        text += phrase
    return f"{text}."


def _phrases(structure: Structure, modality: str) -> Iterator[str]:
    """What follows the shape, comma by comma, each piece with the separator before it."""
    look = getattr(structure, LOOK_FIELDS.get(modality.upper(), ""), "")
    for separator, part in ((", ", structure.position), ("; ", look), ("; with ", structure.neighbours)):
        for number, phrase in enumerate(part.split(", ") if part else ()):
            yield (", " if number else separator) + phrase


def estimate_tokens(text: str) -> float:
    """About how many tokens CLIP's tokenizer makes of an English text: one for each digit, group of punctuation
    marks and short word, one for every 4 letters of a longer word. Over this library that is 4 too many in the
    mean, and never more than 5 too few."""
    pieces = re.findall(r"\d|[^\W\d]+|[^\w\s]+", text)
    return sum(max(1.0, len(piece) / 4) if piece.isalpha() else 1.0 for piece in pieces)


def plain_text(name: str, modality: str) -> str:
    """The template for a structure that the library doesn't know: "The foo bar on CT."."""
    return f"The {_titled(' '.join(name.replace('_', ' ').split()), modality, capital=False)}."


def _titled(name: str, modality: str, *, capital: bool = True) -> str:
    seen = SEEN_ON.get(modality.upper(), "" if modality.lower() in ("", "unknown") else f"on {modality}")
    name = name[:1].upper() + name[1:] if capital else name
    return f"{name} {seen}".rstrip()


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = {key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n])}
    if repeated:
        raise UserFault(
            f"Library: {', '.join(sorted(repeated))} stands twice in one JSON object; remove one."
        )
    return dict(pairs)


def _structure(key: str, record: dict[str, Any], file: str) -> Structure:
    lists = {field: tuple(record.get(field, ())) for field in ("synonyms", "datasets")}
    try:
        return Structure(**{**record, **lists, "id": key})
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


def _decide(name: str, structures: Mapping[str, frozenset[str]], context: str) -> str:
    words = {word for key in spelling_keys(context) for word in key.split()}
    found = [key for key, deciding in structures.items() if deciding & words]
    if len(found) == 1:
        return found[0]
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
