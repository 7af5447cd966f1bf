"""What RefSAM3D is asked in training: templates filled with a structure's names; and what is never taught.

What is kept out of every training stands here and nowhere else: `HELD_OUT_TEMPLATES`, and of each structure's other
names those that `other_names` holds out. Whoever asks a trained network by these measures whether it understands a
request or has learnt it by heart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.structures.library import load_library
from pgsam_monai.base.structures.meanings import meanings_of
from pgsam_monai.base.structures.spelling import spelling_keys

TITLE = "RefSAM3D"
NAME = "{name}"
TEMPLATES = (
    "perform {name} segmentation",  # the paper's own example, Section 3.3.1
    "{name} segmentation",  # as in its Table 1
    "{name}",
    "segment the {name}",
    "where is the {name}?",
    "show me the {name}",
)
"""Ways to ask for a structure in training; the more they vary, the less the network minds how a user puts it."""
HELD_OUT_TEMPLATES = (
    "outline the {name}",
    "which part of this scan is the {name}?",
    "I am looking for the {name}",
)
HELD_OUT_PART = 4
"""One in so many of a structure's other names is held out, and at least one of two or more."""

LEFT, RIGHT = "_left", "_right"
BOTH_SIDES = "left and right "


class OtherNames(NamedTuple):
    """Of one structure, beside the one that its label has."""

    taught: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


def other_names(names: Sequence[str]) -> list[OtherNames]:
    """What the library of described structures calls the classes `names`, background first, in any language it has.

    None for the background, for what the library doesn't know, and for what means the same as another class. Of those
    that aren't the label's name in other spelling a fixed part is held out in all their spellings, the first by hash.
    """
    library = load_library()
    found = []
    for index, meaning in enumerate(_meanings(names)):
        structure = library.get(meaning or "")
        known = () if structure is None else (structure.name, *structure.synonyms)
        others = [name for name in dict.fromkeys(known) if name.casefold() != names[index].casefold()]
        spelled = dict.fromkeys(key for name in others if (key := _key(name)) != _key(names[index]))
        count = max(len(spelled) // HELD_OUT_PART, 1) if len(others) > 1 else 0
        hidden = sorted(spelled, key=_hash)[:count]
        found.append(
            OtherNames(
                taught=tuple(name for name in others if _key(name) not in hidden),
                held_out=tuple(name for name in others if _key(name) in hidden),
            )
        )
    return found


def pair_names(names: Sequence[str]) -> dict[tuple[int, int], tuple[str, ...]]:
    """(a left structure's index, its right one's), where both are among `names` -> what both are called together."""
    index = {meaning: number for number, meaning in enumerate(_meanings(names)) if meaning}
    found = {}
    for meaning, left in index.items():
        stem = meaning.removesuffix(LEFT)
        name = load_library()[meaning].name if meaning in load_library() else ""
        right = index.get(stem + RIGHT)
        if meaning.endswith(LEFT) and right is not None and name.startswith("left ") and stem not in index:
            found[left, right] = _both(name.removeprefix("left "))
    return found


def _both(name: str) -> tuple[str, ...]:
    plural = re.sub(r"(?<=[^aeiou])y$", "ie", name) + "s"
    regular = spelling_keys(plural) == spelling_keys(name)  # else it has a plural of its own: hippocampi
    return (f"{BOTH_SIDES}{name}", *((plural, f"both {plural}") if regular else ()))


def _meanings(names: Sequence[str]) -> list[str | None]:
    """Of each name; None for the background and where several names mean the same."""
    meanings = meanings_of(dict(enumerate(names)), context="")
    return [meanings.get(index) if index else None for index in range(len(names))]


def _key(name: str) -> str:
    return spelling_keys(name)[0]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Requests:
    """All requests that may be drawn in training, and which of them ask for what."""

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        names: Sequence[str],
        *,
        templates: Sequence[str] = TEMPLATES,
        other_names_share: float = 0.0,
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first, which are requests as well.
            names: their names, background first.
            templates: requests with "{name}" where the class's name goes; nothing else in braces has a meaning.
            other_names_share: of the requests for a class that has other names, 0 to 1, those that use one of them.

        Raises:
            UserFault: not as many names as texts, no templates, or one without "{name}".
        """
        if len(names) != len(texts):
            raise UserFault(
                f"{TITLE}: names must be those of background and {len(texts) - 1} classes, so {len(texts)} "
                f"entries, got {len(names)}; plan again."
            )
        _check_templates(templates)
        self.num_classes, self.names = len(texts) - 1, tuple(names)
        self.texts: list[str] = []
        self.partners: dict[int, int] = {}
        self._share = other_names_share
        self._others: dict[tuple[int, ...], range] = {}
        self._own = {(index,): self._add(descriptions) for index, descriptions in enumerate(texts)}
        for index, name in enumerate(names[1:], start=1):
            rows = self._add(_filled(templates, [name]))
            self._own[index,] = [*self._own[index,], *rows]
        if other_names_share:
            for index, others in enumerate(other_names(names)):
                self._others[index,] = self._add(_filled(templates, others.taught))
        for pair, together in pair_names(names).items():
            self._own[tuple(sorted(pair))] = self._add(_filled(templates, together))
            self.partners |= {pair[0]: pair[1], pair[1]: pair[0]}

    def _add(self, texts: Sequence[str]) -> Sequence[int]:
        self.texts += texts
        return range(len(self.texts) - len(texts), len(self.texts))

    def draw(self, wanted: Sequence[Sequence[int]]) -> list[int]:
        """A request's row for each of `wanted`: a class, or a class and its partner, in any order and repeated or not.

        The draw is from torch's global generator, which a bundle seeds by epoch: a resumed training asks the same.

        Raises:
            UserFault: a class outside 1 to K, or two that are no pair.
        """
        asked = [tuple(sorted(set(classes))) for classes in wanted]
        if not all(key in self._own and min(key) > 0 for key in asked):
            raise UserFault(
                f"{TITLE}: classes that can be asked for are 1 to {self.num_classes} and pairs, got {list(wanted)}."
            )
        return [self._draw(key) for key in asked]

    @cached_property
    def classes(self) -> Tensor:
        """Which classes each of `texts` asks for: (texts, K+1) bool, two for a pair, none for the background's."""
        asked = torch.zeros(len(self.texts), self.num_classes + 1, dtype=torch.bool)
        for each in (self._own, self._others):
            for key, rows in each.items():
                for index in key:
                    asked[list(rows), index] = True
        asked[:, 0] = False
        return asked

    def draw_each(self) -> list[int]:
        """A row for each of all classes; the background, which nobody asks for, is one of its descriptions."""
        return [self._draw((index,)) for index in range(self.num_classes + 1)]

    def _draw(self, key: tuple[int, ...]) -> int:
        others = self._others.get(key)
        rows = others if others and torch.rand(()) < self._share else self._own[key]
        return rows[int(torch.randint(len(rows), ()))]


def _filled(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    return [template.replace(NAME, name) for name in names for template in templates]


def _check_templates(templates: Sequence[str]) -> None:
    if isinstance(templates, str) or not templates:
        raise UserFault(f"{TITLE}: templates must be a list of one request or more, got {templates!r}.")
    for template in templates:
        if NAME not in template:
            raise UserFault(
                f"{TITLE}: each template must hold {NAME} where the class's name goes, got '{template}'."
            )
