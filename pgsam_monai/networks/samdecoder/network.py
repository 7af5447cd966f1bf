"""Plain SAM as a baseline: its image encoder frozen, its own mask decoder trained for a mask per class."""

from __future__ import annotations

from torch import Tensor

from pgsam_monai.networks.sam.network import SamNetwork


class SamDecoder(SamNetwork):
    """SAMed without LoRA (Zhang and Liu, 2023): what is learnt with the encoder as SAM left it.

    Trained: the mask decoder and the "no prompt" embedding; the image encoder only if `encoder_training` says so.
    """

    name = "samdecoder"
    title = "SAM with a trained decoder"

    def __init__(self, *, encoder_training: str = "frozen", **sam: object) -> None:
        """
        Args:
            encoder_training: as `SamNetwork`'s.
            sam: its further arguments.

        Raises:
            ValueError: as `SamNetwork`.
            UserFault: SAM's weights are neither here nor obtainable.
        """
        super().__init__(encoder_training=encoder_training, **sam)
        self.freeze_what_prompts_need()

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, H/4, W/4)."""
        features = self.image_encoder.encode(self.normalise(image))
        decoded = self.mask_decoder.decode(
            features.embedding,
            grid_encoding=self.prompt_encoder.grid_encoding(features.embedding),
            dense=self.prompt_encoder.no_prompt(),
            skips=features.skips,
        )
        return decoded.masks.float()
