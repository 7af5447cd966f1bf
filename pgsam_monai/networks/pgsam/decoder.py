"""PG-SAM's mask decoder: SAM's two-way transformer, then fusion, masks per class and their refinement (Fig. 2)."""

from __future__ import annotations

from torch import Tensor, nn

from pgsam_monai.networks.pgsam.aligner import Prior
from pgsam_monai.networks.pgsam.features import MaskFeatures
from pgsam_monai.networks.pgsam.fusion import AttendedFeatures, GuidedFeatures, Pyramid
from pgsam_monai.networks.pgsam.mask_optimizer import MaskOptimizer
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.sam.mask_decoder import MaskDecoder


class PriorGuidedDecoder(nn.Module):
    """SAM's decoder with PG-SAM's parts; each can be left out, as in Table 2 of the paper.

    SAM's quality head has no place in PG-SAM; its token stays, since SAM's transformer was trained with it.
    """

    def __init__(
        self,
        sam: MaskDecoder,
        *,
        skip_channels: tuple[int, ...] = (),
        prior: bool = True,
        fusion: str | None = "additive",
        refinement_steps: int = 3,
    ) -> None:
        """
        Args:
            sam: SAM's decoder, its weights loaded; its transformer, tokens and hyper-networks are taken over.
            skip_channels: of the encoder's features at strides 8 and 4, if `sam` uses them.
            prior: whether a guide will be given.
            fusion: how the guide joins learnt upsampling (Eq. 4), "additive" (Eq. 5) or "attention" (Fig. 2(b)); None
                keeps SAM's upscaling, and a guide is added where it lies.
            refinement_steps: T of Eq. 7; 0 leaves the masks as they are.
        """
        super().__init__()
        self.transformer = sam.transformer
        self.iou_token = sam.iou_token
        self.mask_tokens = sam.mask_tokens
        self.output_hypernetworks_mlps = sam.output_hypernetworks_mlps
        dim = sam.transformer_dim
        self.upscaling = (
            Pyramid(dim=dim, out_channels=dim // 8, skip_channels=skip_channels)
            if fusion
            else SamUpscaling(sam)
        )
        self.guided = _guided(fusion, dim, dim // 8) if prior else None
        self.optimizer = (
            MaskOptimizer(token_dim=dim, channels=dim // 8, steps=refinement_steps)
            if refinement_steps
            else None
        )

    _tokens = MaskDecoder._tokens
    mask_weights = MaskDecoder.mask_weights

    def forward(
        self, features: ImageFeatures, *, grid_encoding: Tensor, dense: Tensor, prior: Prior | None
    ) -> Tensor:
        """
        Args:
            features: the image encoder's embedding (B, 256, h, w) and skips.
            grid_encoding: the embedding's positional encoding (1, 256, h, w).
            dense: the "no prompt" embedding (1, 256, 1, 1).
            prior: what the aligner found on the same grid; None without it.

        Returns:
            mask logits (B, K+1, 4h, 4w), background first.
        """
        embedding = features.embedding
        tokens, source = self.transformer(
            embedding + dense, grid_encoding, self._tokens(embedding.shape[0], None)
        )
        source = source.transpose(1, 2).unflatten(-1, embedding.shape[2:])  # (B, 256, h, w)
        plain = self.upscaling(source, features.skips)
        fused = MaskFeatures(plain) if self.guided is None else self.guided(plain, prior)
        class_tokens = tokens[:, 1:]  # (B, K+1, 256), the m_i of Eq. 6
        logits = fused.masks(self.mask_weights(class_tokens))
        return logits if self.optimizer is None else self.optimizer(logits, fused, class_tokens)


def _guided(fusion: str | None, dim: int, channels: int) -> nn.Module:
    if fusion == "attention":
        return AttendedFeatures(dim=dim, channels=channels)
    return GuidedFeatures(dim=dim, channels=channels, align=fusion is not None)


class SamUpscaling(nn.Module):
    """SAM's own two transposed convolutions, (B, 256, h, w) → (B, 32, 4h, 4w)."""

    def __init__(self, sam: MaskDecoder) -> None:
        super().__init__()
        self.output_upscaling, self.skips = sam.output_upscaling, sam.skips

    forward = MaskDecoder.upscale
