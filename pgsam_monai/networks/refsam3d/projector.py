"""The cross-modal projector (paper, Section 3.3.2, Eq. III): from CLIP's space to the image features'."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM = 256
SEED = 3
"""Of the map that nothing trains. Any number does; it only has to be the same each time."""


class CrossModalProjector(nn.Module):
    """A multilayer perceptron of two layers that takes words and sentences alike to the image's channels.

    The paper gives its result C_e channels, which are the text's; here it has the image features', to which Eq. VI
    multiplies it. Its depth and activation are not stated. A norm follows, so that what a text says counts as much as
    SAM's own tokens, whose entries are of order one: else all queries of a new network are alike.
    """

    def __init__(self, text_dim: int, dim: int = DIM) -> None:
        """`text_dim`: d, channels of the text; `dim`: those of the image features."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(text_dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.LayerNorm(dim)
        )

    def forward(self, text: Tensor) -> Tensor:
        """(…, d), of any length, → (…, dim)."""
        return self.layers(equal_lengths(text))


class UnalignedProjection(nn.Module):
    """Without a cross-modal projector (Table 4): the text's own geometry, in as many channels as the image has.

    A map with orthonormal rows (or columns, where the text has fewer channels than the image), drawn once. Nothing
    learns to align the two spaces; dropping channels or padding them with zeros would favour some of them.
    """

    def __init__(self, text_dim: int, dim: int = DIM) -> None:
        """`text_dim`: d, channels of the text; `dim`: those of the image features."""
        super().__init__()
        random = torch.Generator().manual_seed(SEED)
        weight = nn.init.orthogonal_(torch.empty(dim, text_dim), generator=random)
        self.register_buffer("weight", weight)

    def forward(self, text: Tensor) -> Tensor:
        """(…, d), of any length, → (…, dim)."""
        return F.linear(equal_lengths(text), self.weight)


def build_projector(aligned: bool, text_dim: int, dim: int = DIM) -> nn.Module:
    """The projector of Eq. III, or where not `aligned` what stands in for it, from `text_dim` to `dim`."""
    return CrossModalProjector(text_dim, dim) if aligned else UnalignedProjection(text_dim, dim)


def equal_lengths(text: Tensor) -> Tensor:
    """Vectors (…, d) at the length √d, so that their entries are of order one; zero stays zero.

    CLIP's training compares directions only. Lengths differ between towers, between words and sentences, and the mean
    over a class's descriptions has one that says how alike they are; none of that should tell the network anything.
    """
    return F.normalize(text, dim=-1) * text.shape[-1] ** 0.5
