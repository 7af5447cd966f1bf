"""SAMed: SAM without prompts, one mask per class, its encoder adapted by LoRA (Zhang and Liu, 2023)."""

from __future__ import annotations

from torch import Tensor

from pgsam_monai.networks.sam.network import SamNetwork


class SAMed(SamNetwork):
    """SAM's image encoder, "no prompt", and its mask decoder with a mask token per class.

    Trained: the mask decoder and the "no prompt" embedding; the image encoder as `encoder_training` says. Arguments:
    see `SamNetwork`.
    """

    name = "samed"
    title = "SAMed"

    def __init__(self, **sam: object) -> None:
        """`sam`: the arguments of `SamNetwork`, whose errors it raises."""
        super().__init__(**sam)
        self.freeze_what_prompts_need()

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, H/4, W/4)."""
        features = self.image_encoder.encode(self.normalise(image))
        logits, _ = self.mask_decoder(
            features.embedding,
            grid_encoding=self.prompt_encoder.grid_encoding(features.embedding),
            dense=self.prompt_encoder.no_prompt(),
            skips=features.skips,
        )
        return logits.float()
