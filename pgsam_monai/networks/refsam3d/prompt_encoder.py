"""SAM's prompt encoder for volumes: where things lie, and what the texts ask for (paper, Sections 3.3.4 and 3.4)."""

from __future__ import annotations

import math

import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn


class VolumePromptEncoder(nn.Module):
    """SAM's position code with a third coordinate, and its embedding for "no mask given", to which the cross-modal
    prompt is added. SAM's embeddings of clicks, boxes and masks have no part in the paper and are left out."""

    def __init__(self, *, dim: int = 256) -> None:
        super().__init__()
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.register_buffer("depth_frequencies", torch.randn(dim // 2))
        self.no_mask_embed = nn.Embedding(1, dim)

    def dense(self, prompt: Tensor | None) -> Tensor:
        """The cross-modal prompt (B, 256, h, w, d), or None → what is added to the image embedding."""
        nothing = self.no_mask_embed.weight.reshape(1, -1, 1, 1, 1)
        return nothing if prompt is None else nothing + prompt

    def grid_encoding(self, embedding: Tensor) -> Tensor:
        """Position code of an embedding (B, 256, h, w, d)'s grid: (1, 256, h, w, d) float32.

        On the middle slice it is SAM's own.
        """
        frequencies = self.pe_layer.positional_encoding_gaussian_matrix.float()  # (2, 128): of x and of y
        ones = torch.ones_like(
            embedding[0, 0], dtype=torch.float32
        )  # its size follows a traced network's input
        y, x, z = (2 * (ones.cumsum(axis) - 0.5) / embedding.shape[2 + axis] - 1 for axis in range(3))
        angle = x.unsqueeze(-1) * frequencies[0] + y.unsqueeze(-1) * frequencies[1]
        angle = 2 * math.pi * (angle + z.unsqueeze(-1) * self.depth_frequencies.float())
        return torch.cat([angle.sin(), angle.cos()], dim=-1).permute(3, 0, 1, 2).unsqueeze(0)
