"""A structure as one English text that CLIP reads to its end: what it is, where it lies, how it looks in these images.

Standard library only: the planner imports this module as well.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

from pgsam_monai.base.structures.library import Structure, find_structure, side_of_structure
from pgsam_monai.base.structures.scenes import phase_of, picture_of, region_of

MAX_TOKENS = 75
"""Longest text; CLIP reads 77 tokens, two of them its marks of start and end."""

SEEN_ON = {
    "CT": "on CT",
    "MR": "on MRI",
    "RGB": "in a colour picture",
    "US": "on ultrasound",
    "OCT": "on OCT",
    "XRAY": "on X-ray",
    "FUNDUS": "in a fundus photograph",
    "DERMOSCOPY": "in a dermoscopic picture",
    "ENDOSCOPY": "in an endoscopic picture",
    "HISTOLOGY": "in stained histology",
    "FLUORESCENCE": "in fluorescence microscopy",
    "PHASE_CONTRAST": "in phase contrast microscopy",
    "EM": "in electron microscopy",
    "PHOTO": "in a photograph",
}
PIECES = r"'s|[^\W\d_]+|\d|[^\w\s]+"
"""What CLIP's tokenizer never joins: possessive endings, words, single digits, runs of punctuation."""

LEFT_SIDE = {
    ("L", 1): "right",
    ("R", 1): "left",
    ("L", 0): "bottom",
    ("R", 0): "top",
}
"""Letter of an orientation code and its axis, rows first -> where in the picture the patient's left is."""


def describe_structure(
    name: str, modality: str, dataset: str = "", *, others: Iterable[str] = (), orientation: str = ""
) -> str:
    """One English text of at most 77 of CLIP's tokens: name, shape, position, neighbours, look on `modality`.

    The parts stand in this order. Where they are too many, a first phrase of each and a second neighbour go before
    all further ones, and of these the position's before the neighbours', the look's and the shape's.

    Args:
        name: as for `find_structure`.
        modality: "CT", "MR", "US" or "RGB", which the words of the data set or the structure make a kind of picture
            such as "OCT"; any other gives a text without the look, and names the modality unless it is empty or
            "unknown".
        dataset: the data set's name. It decides with `others` what an ambiguous name means and which part of the body
            is shown, and by itself in which contrast phase.
        others: names of the data set's labels, this one's too or not.
        orientation: axis codes of the picture's rows and columns and of the slices, such as "PLS", or "". If known,
            the text of a left or right structure tells on which side of the picture the patient's left is.

    Raises:
        UnknownStructure: as `find_structure`.
    """
    others = [other for other in others if other != name]
    structure = find_structure(name, context=" ".join((dataset, *others)))
    structure = _in_region(structure, region_of(others, dataset, structure.regions))
    seen = picture_of(structure, dataset) if modality.upper() == "RGB" else modality.upper()
    parts = {
        ": ": structure.shape,
        ", ": structure.position,
        "; with ": structure.neighbours,
        "; ": _look(structure, seen, dataset),
        "; the patient's left is ": _left_in_picture(structure, orientation),
    }
    return _fitting(_titled(structure.name, seen if seen in SEEN_ON else modality), parts)


def plain_text(name: str, modality: str) -> str:
    """The template for a structure that the library doesn't know: "The foo bar on CT."."""
    return f"The {_titled(' '.join(name.replace('_', ' ').split()), modality, capital=False)}."


def count_tokens(text: str) -> int:
    """How many tokens CLIP's tokenizer makes of a text, without its marks of start and end: exact for the words of the
    library, for others one for every 3 letters."""
    known = _word_tokens()
    pieces = re.findall(PIECES, text.casefold())
    return sum(known.get(piece, -(-len(piece) // 3)) for piece in pieces)


def _in_region(structure: Structure, region: str) -> Structure:
    told: Mapping[str, Any] = structure.regions.get(region, {})
    return replace(structure, **told)


def _look(structure: Structure, seen: str, dataset: str) -> str:
    if seen != "CT":
        return structure.mr if seen == "MR" else structure.looks.get(seen, "")
    phase = phase_of(dataset)
    phrases = [*structure.ct.split(", "), structure.phases.get(phase, "")]
    if phase == "plain":
        phrases = [phrase for phrase in phrases if not re.search("contrast|enhanc", phrase)]
    return ", ".join(filter(None, phrases))


def _left_in_picture(structure: Structure, orientation: str) -> str:
    """Where in the picture the patient's left is, for a structure of one side; "" for others or where nobody knows."""
    if not side_of_structure(structure.id):
        return ""
    places = [LEFT_SIDE[letter, axis] for axis, letter in enumerate(orientation[:2]) if letter in "LR"]
    return f"on the picture's {places[0]}" if places else ""


def _fitting(start: str, parts: Mapping[str, str]) -> str:
    """The text that starts so and goes on with what fits of the parts, each by the separator before it.

    A phrase that doesn't fit is left out with all that follow it in its part.
    """
    waiting = {separator: part.split(", ") if part else [] for separator, part in parts.items()}
    kept: dict[str, list[str]] = {separator: [] for separator in parts}
    room = MAX_TOKENS - count_tokens(f"{start}.")
    for separator in _in_order_of_use(waiting):
        if waiting[separator]:
            phrase = (", " if kept[separator] else separator) + waiting[separator].pop(0)
            if (cost := count_tokens(phrase)) > room:
                waiting[separator].clear()
            else:
                kept[separator].append(phrase)
                room -= cost
    return start + "".join(phrase for phrases in kept.values() for phrase in phrases) + "."


def _in_order_of_use(waiting: Mapping[str, list[str]]) -> list[str]:
    """Separators of the parts whose next phrase is to be told, the most useful first."""
    shape, position, neighbours, look, left = waiting
    first = [shape, position, neighbours, look, neighbours, left]
    return first + [part for part in (position, neighbours, look, shape) for _ in waiting[part]]


def _titled(name: str, modality: str, *, capital: bool = True) -> str:
    seen = SEEN_ON.get(modality.upper(), "" if modality.lower() in ("", "unknown") else f"on {modality}")
    name = name[:1].upper() + name[1:] if capital else name
    return f"{name} {seen}".rstrip()


@functools.cache
def _word_tokens() -> Mapping[str, int]:
    """Word or punctuation of the library -> CLIP's tokens; see `tests/pgsam_monai/base/structures/test_word_tokens`."""
    by_count = json.loads((files(__package__) / "word_tokens.json").read_text(encoding="utf-8"))
    return {word: int(n) for n, lines in by_count.items() for line in lines for word in line.split()}
