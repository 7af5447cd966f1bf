"""SAM's prompt encoder for any input size."""

from __future__ import annotations

import math

import torch
from segment_anything.modeling import PromptEncoder as SamPromptEncoder
from torch import Tensor

from pgsam_monai.networks.sam.image_encoder import PATCH
from pgsam_monai.networks.sam.position import grid_coordinates


class PromptEncoder(SamPromptEncoder):
    """`segment_anything`'s prompt encoder, with the encodings of any grid when no prompt is given."""

    def __init__(self, *, image_size: int, dim: int = 256) -> None:
        """``image_size``: side in pixels of the frame in which points and boxes (x, y) are given."""
        grid = image_size // PATCH
        super().__init__(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        )

    def no_prompt(self) -> Tensor:
        """The dense embedding that stands for "no mask given": (1, 256, 1, 1), to be broadcast."""
        return self.no_mask_embed.weight.reshape(1, -1, 1, 1)

    def grid_encoding(self, embedding: Tensor) -> Tensor:
        """Positional encoding of an image embedding (B, 256, H, W)'s grid: (1, 256, H, W).

        Written out instead of SAM's matrix product, which autocast would round to 8 bits of mantissa.
        """
        x, y = grid_coordinates(embedding)
        frequencies = self.pe_layer.positional_encoding_gaussian_matrix.float()  # (2, 128)
        x = (2 * x - 1).unsqueeze(0) * frequencies[0].reshape(-1, 1, 1)  # (128, H, W)
        y = (2 * y - 1).unsqueeze(0) * frequencies[1].reshape(-1, 1, 1)
        angle = 2 * math.pi * (x + y)
        return torch.cat([angle.sin(), angle.cos()]).unsqueeze(0)
