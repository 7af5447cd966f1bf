"""What tells the texts of one data set apart, made to count alike in every direction.

Whitening as in Su et al. 2021, "Whitening Sentence Representations for Better Semantics and Faster Retrieval"
(arXiv:2103.15316), of the classes' own sentences: "the left kidney …" and "the right kidney …" differ in one word, and
their embeddings by a tenth of what others differ by, although no mask may be the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 0.05
"""Of the longest direction's length: shorter ones, which may be an encoder's noise, are raised no further."""
NONE_BELOW = 1e-3
"""Likewise: no difference at all, as along one direction of any sentences that their mean was taken from."""


class Contrast(NamedTuple):
    """What all classes' sentences have in common, and along which directions they differ by how much."""

    common: Tensor
    """(d,), their mean"""
    directions: Tensor | None = None
    """(r, d), orthonormal; None where differences stay as they are"""
    gains: Tensor | None = None
    """(r,), what differences along them are multiplied by"""


def contrast_of(sentences: Tensor, *, whitened: bool) -> Contrast:
    """Of the classes' sentences (K+1, d); `whitened`: with directions. Gradients reach the mean alone."""
    common = sentences.mean(dim=0)
    if not whitened:
        return Contrast(common)
    with torch.no_grad(), torch.autocast(sentences.device.type, enabled=False):
        spread = (sentences - common).float()
        _, lengths, directions = torch.linalg.svd(spread, full_matrices=False)
        gains = lengths.mean() / (lengths.square() + (FLOOR * lengths[0]) ** 2).sqrt()
        gains = torch.where(lengths > NONE_BELOW * lengths[0], gains, torch.ones_like(gains))
    return Contrast(common, directions.to(common.dtype), gains.to(common.dtype))


def differences(text: Tensor, contrast: Contrast) -> Tensor:
    """What texts (…, d), of any length, say beyond what all classes' have in common: (…, d)."""
    beyond = F.normalize(text.to(contrast.common.dtype), dim=-1) - contrast.common
    if contrast.directions is None:
        return beyond
    raised = (beyond @ contrast.directions.T) * (contrast.gains - 1)
    return beyond + raised @ contrast.directions
