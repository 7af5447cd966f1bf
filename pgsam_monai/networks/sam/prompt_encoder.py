"""SAM's prompt encoder for any input size."""

from __future__ import annotations

import math

import torch
from segment_anything.modeling import PromptEncoder as SamPromptEncoder
from torch import Tensor

from pgsam_monai.networks.position import grid_coordinates
from pgsam_monai.networks.sam.image_encoder import PATCH


class PromptEncoder(SamPromptEncoder):
    """`segment_anything`'s prompt encoder, with the encodings of any grid when no prompt is given."""

    def __init__(self, *, image_size: int, dim: int = 256) -> None:
        """`image_size`: side in pixels of the frame in which points and boxes (x, y) are given."""
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
        return self._encode(*grid_coordinates(embedding)).permute(2, 0, 1).unsqueeze(0)

    def point_tokens(self, points: Tensor, labels: Tensor, *, size: tuple[int, int]) -> Tensor:
        """SAM's tokens of clicks and box corners.

        Args:
            points: (B, N, 2), x and y in pixels of the frame, pixel centres at integers.
            labels: (B, N): 1 and 0 a positive and a negative click, 2 and 3 a box's corners, -1 SAM's "not a point";
                below that nothing: its token is 0, to be hidden from attention.
            size: height and width of the frame, pixels.

        Returns:
            (B, N, 256).
        """
        x, y = (points[..., 0] + 0.5) / size[1], (points[..., 1] + 0.5) / size[0]
        kinds = torch.cat([self.not_a_point_embed.weight, *(kind.weight for kind in self.point_embeddings)])
        kind = kinds[(labels + 1).clamp(min=0)]
        placed, there = (labels >= 0).unsqueeze(-1), (labels >= -1).unsqueeze(-1)
        return placed * self._encode(x, y) + there * kind

    def mask_embedding(self, masks: Tensor) -> Tensor:
        """Mask logits (B, 1, 4H, 4W) as a prompt → dense embedding (B, 256, H, W)."""
        return self.mask_downscaling(masks)

    def _encode(self, x: Tensor, y: Tensor) -> Tensor:
        """Positional encoding of positions in 0..1, each of any shape (…) → (…, 256)."""
        frequencies = self.pe_layer.positional_encoding_gaussian_matrix.float()  # (2, 128)
        angle = (2 * x - 1).unsqueeze(-1) * frequencies[0] + (2 * y - 1).unsqueeze(-1) * frequencies[1]
        angle = 2 * math.pi * angle
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
