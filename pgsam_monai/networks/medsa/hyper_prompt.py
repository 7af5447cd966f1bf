"""HyP-Adpt: an adapter whose middle layers are made from the prompt (Med-SA, Section 3.4, Fig. 2), and its rivals."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.adapter import Adapter, zero_

HYPER_PROMPTS = ("hyper", "add", "concat", "none")
MIDDLE = 16
"""Width between the three prompt-made layers, on which the paper is silent. Table 7a's parameters grow by 0.184 M per
rank; two adapters in each of ViT-H's 32 blocks and the plain ones of the decoder explain 0.166 M, and the rest, which
is 2 blocks × 2 matrices × 256 × this width, points to 16 or 17."""


def build_prompt_adapter(kind: str, dim: int, *, rank: int, prompt_dim: int) -> nn.Module:
    """The adapter of that name, each of which maps (embedding, prompt) to what is to be added.

    Raises:
        ValueError: unknown `kind`.
    """
    if kind not in HYPER_PROMPTS:
        raise UserFault(f"hyper_prompt must be one of {', '.join(HYPER_PROMPTS)}, got '{kind}'.")
    if kind == "hyper":
        return HyperPromptAdapter(dim, rank=rank, prompt_dim=prompt_dim)
    if kind == "add":
        return AddPromptAdapter(dim, rank=rank, prompt_dim=prompt_dim)
    if kind == "concat":
        return ConcatPromptAdapter(dim, rank=rank, prompt_dim=prompt_dim)
    return PromptBlindAdapter(dim, rank=rank)


class HyperPromptAdapter(nn.Module):
    """Down-projection, three layers whose weights the prompt generates (Eq. 1, 2), up-projection.

    Eq. 2 ends in a ReLU. With the output's length as its last one, as the paper has it, an adapter could only ever add
    positive values; so the last generated layer returns to the adapter's width and the usual up-projection follows.
    """

    def __init__(self, dim: int, *, rank: int, prompt_dim: int, middle: int = MIDDLE) -> None:
        """
        Args:
            dim: channels of the embedding.
            rank: the adapter's width: first input and last output length of the generated layers.
            prompt_dim: channels of the prompt embedding.
            middle: lengths between them.
        """
        super().__init__()
        self.down = nn.Linear(dim, rank)
        widths = (rank, middle, middle, rank)
        self.shapes = tuple(zip(widths[:-1], widths[1:], strict=True))
        self.generators = nn.ModuleList(
            nn.Linear(prompt_dim, rows * columns) for rows, columns in self.shapes
        )
        self.up = nn.Linear(rank, dim)
        zero_(self.up)

    def forward(self, embedding: Tensor, prompt: Tensor) -> Tensor:
        """Embedding (B, N, dim) and one prompt embedding per image (B, prompt_dim) → what is to be added."""
        return self.up(self.condition(self.down(embedding), prompt))

    def condition(self, reduced: Tensor, prompt: Tensor) -> Tensor:
        """e_0 (B, N, rank) → e_3 (B, N, rank): e_{n+1} = ReLU(Norm(e_n W_n)), W_n = Re(M_n(prompt)).

        Norm is over the length and has no weights of its own.
        """
        for generator, (rows, columns) in zip(self.generators, self.shapes, strict=True):
            weight = generator(prompt).unflatten(-1, (rows, columns))  # (B, rows, columns)
            reduced = F.relu(F.layer_norm(reduced @ weight, (columns,)))
        return reduced


class AddPromptAdapter(nn.Module):
    """Table 5's "Add": the prompt embedding, projected, joins the reduced embedding as a summand."""

    def __init__(self, dim: int, *, rank: int, prompt_dim: int) -> None:
        super().__init__()
        self.adapter = Adapter(dim, rank=rank)
        self.project = nn.Linear(prompt_dim, rank)

    def forward(self, embedding: Tensor, prompt: Tensor) -> Tensor:
        """As `HyperPromptAdapter`."""
        reduced = self.adapter.down(embedding) + self.project(prompt).unsqueeze(1)
        return self.adapter.up(F.relu(reduced))


class ConcatPromptAdapter(nn.Module):
    """Table 5's "Concat": the adapter reads the embedding and the prompt's side by side."""

    def __init__(self, dim: int, *, rank: int, prompt_dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim + prompt_dim, rank)
        self.up = nn.Linear(rank, dim)
        zero_(self.up)

    def forward(self, embedding: Tensor, prompt: Tensor) -> Tensor:
        """As `HyperPromptAdapter`."""
        beside = prompt.unsqueeze(1).expand(-1, embedding.shape[1], -1)
        return self.up(F.relu(self.down(torch.cat([embedding, beside], dim=-1))))


class PromptBlindAdapter(Adapter):
    """A plain adapter in the same place."""

    def forward(self, embedding: Tensor, prompt: Tensor) -> Tensor:
        """As `HyperPromptAdapter`, the prompt unread."""
        return super().forward(embedding)
