"""SAM's mask decoder with one mask token per class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder as SamMaskDecoder
from torch import Tensor, nn

from pgsam_monai.networks.sam.norm import LayerNorm2d
from pgsam_monai.networks.sam.transformer import TwoWayTransformer


class Decoded(NamedTuple):
    """What SAM's decoder makes of an image."""

    masks: Tensor
    """logits (B, K+1, 4H, 4W)"""
    tokens: Tensor
    """the quality token and the K + 1 mask tokens (B, K+2, 256), having seen the image"""
    source: Tensor
    """the image embedding (B, 256, H, W), having seen the tokens"""
    upscaled: Tensor
    """the same (B, 32, 4H, 4W), of which the masks are weighted sums"""


class MaskDecoder(SamMaskDecoder):
    """`segment_anything`'s decoder for `num_classes` + 1 masks (background first), all of them returned.

    Image b of the batch is decoded with prompts b; SAM decodes many prompts of one image instead.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        dim: int = 256,
        layers: int = 2,
        mlp_dim: int = 2048,
        skip_channels: tuple[int, ...] = (),
    ) -> None:
        """
        Args:
            num_classes: foreground classes.
            dim: channels of the image embedding.
            layers: of the two-way transformer.
            mlp_dim: its hidden width.
            skip_channels: channels of the encoder's features at strides 8 and 4, to be added while upscaling
                and mixed in by a 3×3 convolution; empty for SAM's plain upscaling.
        """
        super().__init__(
            num_multimask_outputs=num_classes,
            transformer_dim=dim,
            transformer=TwoWayTransformer(depth=layers, dim=dim, mlp_dim=mlp_dim),
        )
        self.output_upscaling[1] = LayerNorm2d(dim // 4)
        widths = (dim // 4, dim // 8)
        self.skips = nn.ModuleList(
            SkipFusion(channels, width) for channels, width in zip(skip_channels, widths, strict=False)
        )

    def forward(
        self,
        embedding: Tensor,
        *,
        grid_encoding: Tensor,
        dense: Tensor,
        sparse: Tensor | None = None,
        skips: tuple[Tensor, ...] = (),
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            embedding: image embedding (B, 256, H, W).
            grid_encoding: its positional encoding (1, 256, H, W).
            dense: dense prompt embedding (B or 1, 256, H or 1, W or 1).
            sparse: sparse prompt embeddings (B, N, 256); None for no prompt.
            skips: the encoder's features at strides 8 and 4, if the decoder was built for them.

        Returns:
            mask logits (B, num_classes + 1, 4H, 4W) and SAM's quality estimates (B, num_classes + 1).
        """
        decoded = self.decode(embedding, grid_encoding=grid_encoding, dense=dense, sparse=sparse, skips=skips)
        return decoded.masks, self.iou_prediction_head(decoded.tokens[:, 0])

    def decode(
        self,
        embedding: Tensor,
        *,
        grid_encoding: Tensor,
        dense: Tensor,
        sparse: Tensor | None = None,
        skips: tuple[Tensor, ...] = (),
    ) -> Decoded:
        """As `forward`, with all that the masks are made of and without the quality estimates."""
        height, width = embedding.shape[2:]
        source = embedding + dense
        tokens, source = self.transformer(source, grid_encoding, self._tokens(embedding.shape[0], sparse))
        source = source.transpose(1, 2).unflatten(-1, (height, width))  # (B, 256, H, W)
        upscaled = self.upscale(source, skips)  # (B, 32, 4H, 4W)
        weights = self.mask_weights(tokens[:, 1 : 1 + self.num_mask_tokens])  # (B, K+1, 32)
        masks = torch.einsum("bkc,bchw->bkhw", weights, upscaled)
        return Decoded(masks, tokens[:, : 1 + self.num_mask_tokens], source, upscaled)

    def _tokens(self, batch: int, sparse: Tensor | None) -> Tensor:
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).unsqueeze(0).expand(batch, -1, -1)
        return own if sparse is None else torch.cat([own, sparse], dim=1)  # (B, 1 + K + 1 + N, 256)

    def mask_weights(self, tokens: Tensor) -> Tensor:
        """Mask tokens (B, K+1, 256) → each mask's weights (B, K+1, 32) of the upscaled channels."""
        return torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)

    def upscale(self, source: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """Two transposed convolutions, (B, 256, H, W) → (B, 32, 4H, 4W), each joined by its skip feature."""
        if not self.skips:
            return self.output_upscaling(source)
        first, norm, act, second, last_act = self.output_upscaling
        eighth = self.skips[0](act(norm(first(source))), skips[0])
        return self.skips[1](last_act(second(eighth)), skips[1])


class SkipFusion(nn.Module):
    """Adds a finer feature map to the upscaled one and mixes both with a 3×3 convolution, as a residual."""

    def __init__(self, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(skip_channels, channels, kernel_size=1)
        self.norm = nn.InstanceNorm2d(channels, affine=True)
        self.act = nn.GELU()
        self.mix = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, upscaled: Tensor, skip: Tensor) -> Tensor:
        """`upscaled` (B, channels, H, W), `skip` (B, skip_channels, H, W) → (B, channels, H, W)."""
        joined = upscaled + self.project(skip)
        return joined + self.mix(self.act(self.norm(joined)))
