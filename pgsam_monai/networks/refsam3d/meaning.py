"""Which classes a request means: those that it names, else what the nearest request of training asks for.

A network from one data set's labels has learnt few words, and which of its classes "ren dexter" or "outline the liver"
is about needn't be learnt at all: the library of structures knows names, a sentence encoder what resembles what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.base.structures.library import load_library
from pgsam_monai.networks.refsam3d.requests import BOTH_SIDES, Requests, other_names, pair_names

NEAR = 0.7
"""Cosine of a request and the nearest one of training from which on they mean the same. Of MiniLM's, templates that no
training has seen have 0.72 or more with their structure's and are never nearer to another's; of 423 other structures'
names seven have more (docs/results.md)."""
SHORTEST = 4
"""Letters of a name that is looked for within a text: «rate» is a spleen, but «la» more often no left atrium."""


class NamedClasses:
    """Finds classes by any name that the library knows of them, left and right apart, pairs as both."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: of background and classes."""
        self.names = tuple(names)

    def of(self, text: str) -> set[int] | None:
        """Classes named in a text: none where it names a structure that is no class, too; None if it names nothing."""
        names = [name.casefold() for name in self._within.findall(text)]
        whole = text.strip().casefold()
        found = [self.known[name] for name in ([whole] if whole in self.known else names)]
        if not found:
            return None
        return set().union(*found) if all(found) else set()

    @cached_property
    def known(self) -> dict[str, tuple[int, ...]]:
        """Names in small letters and their classes: one, two of a pair, none of a structure that is no class."""
        called = {name.casefold(): (index,) for index, name in enumerate(self.names) if index}
        for pair, together in pair_names(self.names).items():
            single = together[0].removeprefix(BOTH_SIDES)
            called |= {name.casefold(): pair for name in (*together, single)}
        for index, others in enumerate(other_names(self.names)):
            for name in (*others.taught, *others.held_out):
                called.setdefault(name.casefold(), (index,))
        for structure in load_library().values():
            for name in (structure.name, *structure.synonyms):
                called.setdefault(name.casefold(), ())
        return called

    @cached_property
    def _within(self) -> re.Pattern:
        """The longer names as whole words, the longest first: "liver tumor" isn't the liver."""
        longest_first = sorted((name for name in self.known if len(name) >= SHORTEST), key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


class Meaning:
    """Which classes a text means, whoever reads it."""

    def __init__(self, requests: Requests) -> None:
        """`requests`: those of training."""
        self.requests, self.named = requests, NamedClasses(requests.names)

    def of(self, text: str, read: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
        """What a request of training asks for, if it is one; else what the text names, else what the nearest asks for.

        Args:
            text: any.
            read: gives the text's vector (1, d) and those of all requests (n, d), where they are needed.

        Returns:
            (1, K+1) bool, all False if it means no class; background is never meant.
        """
        if text in self.requests.texts:
            return self.requests.classes[self.requests.texts.index(text)][None]
        named = self.named.of(text)
        if named is None:
            return nearest_classes(*read(), self.requests)
        flags = torch.zeros(1, self.requests.num_classes + 1, dtype=torch.bool)
        flags[:, sorted(named)] = True
        return flags

    def names_another(self, text: str) -> bool:
        """Whether a text that no training has asked names a structure that is no class, as "liver tumor" does."""
        return text not in self.requests.texts and self.named.of(text) == set()


def nearest_classes(sentence: Tensor, known: Tensor, requests: Requests) -> Tensor:
    """What the nearest request of training asks for.

    Args:
        sentence: a text's vector (1, d).
        known: vectors of all requests' texts (n, d).
        requests: those.

    Returns:
        (1, K+1) bool, none where nothing is nearer than `NEAR`.
    """
    directions = F.normalize(known, dim=-1)
    cosines, rows = (F.normalize(sentence.to(known.dtype), dim=-1) @ directions.T).max(dim=1)
    return requests.classes[rows.cpu()] & (cosines.cpu() > NEAR).unsqueeze(1)
