"""H-SAM's second decoding stage: enhanced embedding, masked transformer, pixel decoder, masks (Fig. 2)."""

from __future__ import annotations

import torch
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.networks.hsam.class_attention import GRID, ClassAttention
from pgsam_monai.networks.hsam.class_noise import ClassNoise
from pgsam_monai.networks.hsam.pixel_decoder import HierarchicalPixelDecoder, PlainPixelDecoder
from pgsam_monai.networks.hsam.transformer import MaskedTwoWayTransformer
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.sam.mask_decoder import Decoded

PRIOR_STRIDE = 4
"""The first stage's masks are so many times finer than the embedding."""


class SecondStage(nn.Module):
    """A decoder like SAM's with a token per class and none for quality, guided by what the first stage found."""

    def __init__(
        self,
        *,
        num_classes: int,
        mlp_dim: int = 2048,
        layers: int = 2,
        mask_attention: str = "learnable",
        noise: ClassNoise | None = None,
        class_grid: int = GRID,
        pixel_decoder: bool = True,
        skip_channels: tuple[int, ...] = (),
        stride: int = 16,
        dropout: float = 0.2,
        dim: int = 256,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            mlp_dim: hidden width of the transformer's MLPs, as in the first stage.
            layers: of the transformer, as in the first stage.
            mask_attention: see `MaskedAttention`.
            noise: of the class-balanced mask-guided self-attention; None leaves that attention out.
            class_grid: side of that attention's grid.
            pixel_decoder: the hierarchical one; otherwise SAM's.
            skip_channels: of the encoder's features at strides 8 and 4, if the first stage uses them.
            stride: pixels per cell of the embedding, 16 or 4.
            dropout: see `MaskedTwoWayTransformer`.
            dim: channels of the embedding.
        """
        super().__init__()
        self.class_attention = (
            None if noise is None else ClassAttention(num_classes=num_classes, noise=noise, grid=class_grid)
        )
        self.mask_tokens = nn.Embedding(num_classes + 1, dim)
        self.transformer = MaskedTwoWayTransformer(
            kind=mask_attention, dropout=dropout, depth=layers, dim=dim, mlp_dim=mlp_dim
        )
        self.pixel_decoder = (
            HierarchicalPixelDecoder(dim=dim, skip_channels=skip_channels, stride=stride)
            if pixel_decoder
            else PlainPixelDecoder(dim=dim, skip_channels=skip_channels)
        )
        mlp_layers = 5 if pixel_decoder else 3  # the released code's and SAM's
        self.hyper_mlps = nn.ModuleList(
            MLP(dim, dim, self.pixel_decoder.out_channels, mlp_layers) for _ in range(num_classes + 1)
        )

    def forward(
        self, features: ImageFeatures, first: Decoded, *, grid_encoding: Tensor, label: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            features: the image embedding (B, 256, h, w), "no prompt" added, and the encoder's skips.
            first: what the first stage decoded.
            grid_encoding: positional encoding (1, 256, h, w).
            label: class indices (B, 1, H, W), for the noise in training.

        Returns:
            mask logits (B, K+1, H, W), or (B, K+1, 4h, 4w) without the hierarchical pixel decoder.
        """
        embedding = features.embedding
        if self.class_attention is not None:
            embedding = self.class_attention(embedding, mask_features(first), label)
        tokens = self.mask_tokens.weight.unsqueeze(0).expand(embedding.shape[0], -1, -1)
        tokens, image = self.transformer(embedding, grid_encoding, tokens, prior(first.masks))
        source = image.transpose(1, 2).unflatten(-1, embedding.shape[2:])  # (B, 256, h, w)
        upscaled = self.pixel_decoder(source, first.upscaled, features.skips)
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.hyper_mlps)], dim=1)
        return torch.einsum("bkc,bchw->bkhw", weights, upscaled)


def mask_features(first: Decoded) -> Tensor:
    """The first stage's mask tokens times its image tokens, not upscaled: (B, K+1, h, w)."""
    return torch.einsum("bkc,bchw->bkhw", first.tokens[:, 1:], first.source)


def prior(masks: Tensor) -> Tensor:
    """The first stage's logits (B, K+1, 4h, 4w) → its probabilities M on the embedding's grid (B, K+1, h, w)."""
    small = F.interpolate(masks, scale_factor=1 / PRIOR_STRIDE, mode="bilinear", align_corners=False)
    return small.softmax(dim=1)
