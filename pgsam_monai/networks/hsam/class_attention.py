"""H-SAM's class-balanced mask-guided self-attention, which enhances the image embedding (Section 3.2, Fig. 3)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.hsam.class_noise import ClassNoise
from pgsam_monai.networks.sam.attention import MLPBlock
from pgsam_monai.networks.sam.transformer import DecoderAttention
from pgsam_monai.transforms.fit import enlarge

GRID = 14
"""Side of the fixed grid on which classes are compared: SAM's own at 224 pixels, where nothing is resized."""
MOST_HEADS = 8


class ClassAttention(nn.Module):
    """The classes' maps attend to each other; what they come to gates the embedding: F + F ⊙ gate.

    A token is a class, its features are its map over the grid. One set of weights serves every input size: embeddings
    of another grid have their maps resized to this one and the gate resized back. In the released code the gate passes
    a softmax over its single channel, so it is 1 everywhere; here it is the linear layer's own value. Its weights
    start near zero, hence the embedding starts as it is.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        noise: ClassNoise,
        grid: int = GRID,
        heads: int | None = None,
        mlp_dim: int = 2048,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            noise: the class-balanced augmentation, applied while training.
            grid: side of the grid of a class's map, positions.
            heads: of the attention; None for `heads_of` that grid.
            mlp_dim: the FFN's hidden width.

        Raises:
            ValueError: `heads` doesn't divide the grid's positions.
        """
        super().__init__()
        heads = heads_of(grid) if heads is None else heads
        if grid**2 % heads:
            raise UserFault(f"H-SAM's class attention: {heads} heads don't divide {grid} x {grid} positions.")
        self.grid = grid
        self.noise = noise
        self.attention = DecoderAttention(grid**2, heads)
        self.norm_attention = nn.LayerNorm(grid**2)
        self.mlp = MLPBlock(embedding_dim=grid**2, mlp_dim=mlp_dim)
        self.norm_mlp = nn.LayerNorm(grid**2)
        self.compress = nn.Linear(num_classes + 1, 1)
        nn.init.normal_(self.compress.weight, std=0.02)
        nn.init.zeros_(self.compress.bias)

    def forward(self, embedding: Tensor, masks: Tensor, label: Tensor | None = None) -> Tensor:
        """
        Args:
            embedding: image embedding F (B, 256, h, w).
            masks: mask features (B, K+1, h, w): the first stage's mask tokens times its image tokens.
            label: class indices (B, 1, H, W), for the noise in training.

        Returns:
            the enhanced embedding (B, 256, h, w).
        """
        return embedding + embedding * self.gate(masks, label)

    def gate(self, masks: Tensor, label: Tensor | None = None) -> Tensor:
        """Mask features (B, K+1, h, w) → the gate (B, 1, h, w)."""
        maps = self.normalise(enlarge(masks, (self.grid, self.grid)))
        if label is not None and self.training:
            maps = self.noise(maps, label)
        tokens = maps.flatten(2)  # (B, K+1, grid²)
        tokens = self.norm_attention(tokens + self.attention(tokens, tokens, tokens))
        tokens = self.norm_mlp(tokens + self.mlp(tokens))
        gate = self.compress(tokens.transpose(1, 2)).transpose(1, 2)  # (B, 1, grid²)
        return enlarge(gate.unflatten(-1, (self.grid, self.grid)), masks.shape[2:])

    @staticmethod
    def normalise(maps: Tensor) -> Tensor:
        """Each class's map (B, K+1, h, w) at mean 0 and variance 1 over its positions: Eq. 1's normalised P."""
        return F.layer_norm(maps, maps.shape[2:])


def heads_of(grid: int) -> int:
    """The most heads, up to 8, that divide a grid's positions: the released code's 7 of 14 × 14 and 8 of 32 × 32."""
    return next(heads for heads in range(MOST_HEADS, 0, -1) if grid**2 % heads == 0)
