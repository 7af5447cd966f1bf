"""Other texts for some classes of a network that reads a text per class, for one request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pgsam_monai.networks.text.clip import ClipTowers

KEPT = 32
"""so many texts stay encoded"""


class ClassTextEditor:
    """Puts texts in place of those of a network (`networks.pgsam.PGSAM`), and takes them out again."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        """
        Args:
            network: with `texts`, `clip` and `read_texts`.
            names: of its classes, background first.
        """
        self._network, self._names = network, list(names)
        self._encoders: OrderedDict[tuple[str, ...], nn.Module] = OrderedDict()

    @contextmanager
    def edited(self, texts: Mapping[str, Sequence[str]]) -> Iterator[None]:
        """The network reads `texts`, alternatives by class name; afterwards its own again."""
        network, own = self._network, self._network.texts
        rows = {self._names.index(name): self._encoder(tuple(given)) for name, given in texts.items()}
        network.texts = _EditedTexts(own, rows)
        try:
            yield
        finally:
            network.texts = own
            self._forget()

    def _encoder(self, texts: tuple[str, ...]) -> nn.Module:
        """Gives (1, d) of one class, encoded once, where the network's own lies."""
        if texts not in self._encoders:
            self._encoders[texts] = self._network.read_texts([texts])
        self._encoders.move_to_end(texts)
        return self._encoders[texts].to(next(self._network.parameters()).device)

    def _forget(self) -> None:
        while len(self._encoders) > KEPT:
            self._encoders.popitem(last=False)


class _EditedTexts(nn.Module):
    """As `ClassTexts`, with some rows replaced."""

    def __init__(self, own: nn.Module, rows: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self._own, self._rows = (own,), dict(rows)  # no modules of this one

    def forward(self, clip: ClipTowers | None) -> Tensor:
        """Embeddings (K+1, d)."""
        embeddings = list(self._own[0](clip))
        for index, encoder in self._rows.items():
            (embeddings[index],) = encoder(clip)
        return torch.stack(embeddings)
