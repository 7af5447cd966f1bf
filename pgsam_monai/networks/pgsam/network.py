"""PG-SAM as a network: one image in, K + 1 logit maps out, guided by a text per class (Zhong et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.pgsam.aligner import Prior, PriorAligner
from pgsam_monai.networks.pgsam.decoder import PriorGuidedDecoder
from pgsam_monai.networks.pgsam.texts import ClassTexts
from pgsam_monai.networks.sam.network import SamNetwork
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.transforms.fit import enlarge


class PGSAM(SamNetwork):
    """SAM's encoder, its decoder and three parts of the paper, each of which can be turned off (Table 2).

    Trained: the image encoder and the CLIP towers as `encoder_training` and `clip_training` say, the aligner and
    the whole decoder. Frozen: the prompt encoder, as in the released code. Every trained parameter gets a gradient.
    """

    name = "pgsam"
    title = "PG-SAM"

    def __init__(
        self,
        *,
        texts: Sequence[Sequence[str]],
        clip_model: str = "ViT-B-32-quickgelu",
        clip_weights: str | None = None,
        clip_training: str = "lora",
        clip_towers: str = "both",
        prior_aligner: bool = True,
        feature_fusion: bool = True,
        mask_optimizer: bool = True,
        refinement_steps: int = 3,
        **sam: object,
    ) -> None:
        """
        Args:
            texts: for each class, background first, one description or several whose embeddings are averaged.
            clip_model: an open_clip model, see `ClipTowers`.
            clip_weights: its weights by tag or file; None for random ones.
            clip_training: "lora" (of the same rank as SAM's), "full" or "frozen".
            clip_towers: which towers that applies to: "both", "text" or "image"; the other is frozen.
            prior_aligner: Eq. 1 to 3; without it neither text nor CLIP is used.
            feature_fusion: Eq. 4 and 5.
            mask_optimizer: Eq. 6 and 7.
            refinement_steps: T of Eq. 7.
            sam: the arguments of `SamNetwork`.

        Raises:
            ValueError: as `SamNetwork`; or `texts` has not num_classes + 1 entries.
            UserFault: weights of SAM or CLIP are neither here nor obtainable.
        """
        super().__init__(**sam)
        rank, weights_dir = sam.get("rank", 4), sam.get("weights_dir")
        skips = self.image_encoder.skip_channels if self.description["skip_features"] else ()
        self.mask_decoder = PriorGuidedDecoder(
            self.mask_decoder,
            skip_channels=skips,
            prior=prior_aligner,
            fusion=feature_fusion,
            refinement_steps=refinement_steps if mask_optimizer else 0,
        )
        self.prompt_encoder.requires_grad_(False)
        self.clip = self.texts = self.aligner = None
        if prior_aligner:
            self.clip = ClipTowers(
                model=clip_model, weights=clip_weights, weights_dir=weights_dir,
                training=clip_training, towers=clip_towers, rank=rank,
            )  # fmt: skip
            self.texts = ClassTexts(texts, self.clip.tokenize, num_classes=self.num_classes)
            self.aligner = PriorAligner(text_dim=self.clip.dim)
        self.description |= {
            "clip_model": clip_model if prior_aligner else "none",
            "feature_fusion": feature_fusion,
            "refinement_steps": refinement_steps if mask_optimizer else 0,
        }

    def train(self, mode: bool = True) -> PGSAM:
        """As usual; for evaluation the texts are encoded now, so that no export traces their encoder."""
        super().train(mode)
        if not mode and self.texts is not None:
            with torch.no_grad():
                self.texts(self.clip)
        return self

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, H/4, W/4)."""
        features = self.image_encoder.encode(self.normalise(image))
        logits = self.mask_decoder(
            features,
            grid_encoding=self.prompt_encoder.grid_encoding(features.embedding),
            dense=self.prompt_encoder.no_prompt(),
            prior=None if self.aligner is None else self.find_prior(image, features.embedding),
        )
        return logits.float()

    def find_prior(self, image: Tensor, embedding: Tensor) -> Prior:
        """Image (B, C, H, W) and SAM's embedding of it (B, 256, h, w) → what the aligner says of them."""
        rgb = self.to_rgb(image)
        rgb = rgb.expand(-1, 3, -1, -1) if rgb.shape[1] == 1 else rgb
        return self.aligner(embedding, self.clip.encode_image(rgb), self.texts(self.clip))

    @torch.no_grad()
    def guide_maps(self, image: Tensor) -> Tensor:
        """Where each class's prior points: image (B, C, H, W) → W on the image's grid (B, K+1, H, W), 0..1.

        Raises:
            ValueError: the network was built without its prior aligner.
        """
        if self.aligner is None:
            raise UserFault("PG-SAM: guide maps need the prior aligner; this network was built without it.")
        features = self.image_encoder.encode(self.normalise(image))
        return enlarge(self.find_prior(image, features.embedding).weights, image.shape[2:])
