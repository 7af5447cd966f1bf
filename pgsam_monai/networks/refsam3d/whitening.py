"""What tells the texts of one data set apart, made to count alike in every direction.

Whitening as in Su et al. 2021, "Whitening Sentence Representations for Better Semantics and Faster Retrieval"
(arXiv:2103.15316), of the classes' own sentences: "the left kidney …" and "the right kidney …" differ in one word, and
their embeddings by a tenth of what others differ by, although no mask may be the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 0.05
"""Of the longest direction's length: shorter ones, which may be an encoder's noise, are raised no further."""
NONE_BELOW = 1e-3
"""Likewise: no difference at all, as along one direction of any sentences that their mean was taken from."""


class TextContrast(nn.Module):
    """What texts say beyond what all classes' sentences have in common, whitened or as it is.

    Texts of one data set resemble each other far more than they differ, to CLIP and more so to an untrained tower.
    Directions and gains are found anew when the sentences have changed, and are buffers: an exported network takes
    them along to any device, and computes none.
    """

    def __init__(self, *, whitened: bool) -> None:
        super().__init__()
        self.whitened = whitened
        self.register_buffer("directions", None, persistent=False)  # (r, d), orthonormal
        self.register_buffer("gains", None, persistent=False)  # (r,), of differences along them
        self._sentences: Tensor | None = None
        """those that both are of"""

    def forward(self, text: Tensor, sentences: Tensor) -> Tensor:
        """Text (…, d), of any length, and the classes' sentences (K+1, d) → (…, d).

        Gradients reach the sentences by their mean alone.
        """
        common = sentences.mean(dim=0)
        beyond = F.normalize(text.to(common.dtype), dim=-1) - common
        if not self.whitened:
            return beyond
        self.prepare(sentences)
        return beyond + ((beyond @ self.directions.T) * (self.gains - 1)) @ self.directions

    def prepare(self, sentences: Tensor) -> None:
        """Find directions and gains of the classes' sentences (K+1, d), unless they are known."""
        exporting = torch.jit.is_tracing() or torch.compiler.is_exporting()
        if not self.whitened or self._sentences is sentences or exporting and self.gains is not None:
            return
        with torch.no_grad(), torch.autocast(sentences.device.type, enabled=False):
            spread = (sentences - sentences.mean(dim=0)).float()
            _, lengths, directions = torch.linalg.svd(spread, full_matrices=False)
            gains = lengths.mean() / (lengths.square() + (FLOOR * lengths[0]) ** 2).sqrt()
            gains = torch.where(lengths > NONE_BELOW * lengths[0], gains, torch.ones_like(gains))
        self.directions, self.gains = directions.to(sentences.dtype), gains.to(sentences.dtype)
        self._sentences = None if sentences.requires_grad else sentences
