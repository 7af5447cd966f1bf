"""PG-SAM as a network: one image in, K + 1 logit maps out, guided by a text per class (Zhong et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.pgsam.aligner import ImageEvidence, Prior, PriorAligner
from pgsam_monai.networks.pgsam.decoder import PriorGuidedDecoder
from pgsam_monai.networks.sam.network import SamNetwork
from pgsam_monai.networks.text.class_texts import ClassTexts, SentenceTexts, check_texts
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.transforms.fit import enlarge

IMAGE_PRIORS = ("global", "patches", "none")
TEXT_MATCHES = ("learnt", "identity")
FUSIONS = ("additive", "attention")
MATCH_DIM = 128


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
        case_texts: Sequence[Sequence[str]] = (),
        clip_model: str = "ViT-B-32-quickgelu",
        clip_weights: str | None = None,
        clip_training: str = "lora",
        clip_towers: str = "both",
        image_prior: str = "global",
        text_match: str = "learnt",
        base_rates: bool = False,
        text_encoder: str | None = None,
        embeddings_file: str | None = None,
        prior_aligner: bool = True,
        feature_fusion: bool = True,
        fusion: str = "additive",
        mask_optimizer: bool = True,
        refinement_steps: int = 3,
        **sam: object,
    ) -> None:
        """
        Args:
            texts: for each class, background first, one description or several whose embeddings are averaged.
            case_texts: further descriptions, of single images, see `forward`.
            clip_model: an open_clip model, see `ClipTowers`.
            clip_weights: its weights by tag or file; None for random ones.
            clip_training: "lora" (of the same rank as SAM's), "full" or "frozen".
            clip_towers: which towers that applies to: "both", "text" or "image"; the other is frozen.
            image_prior: what CLIP's image tower tells: "global", one similarity per class and image (Eq. 1), "patches",
                where in the image as well, or "none", which leaves the tower out.
            text_match: "learnt" takes the texts through a learnt map before SAM's features are compared with them, by
                which they may become mere names; "identity" compares with the texts as they were written.
            base_rates: whether W has a learnt base rate per class beside what texts say.
            text_encoder: None for CLIP's text tower; else a frozen sentence encoder, see `sentences.embed_sentences`.
            embeddings_file: where what that encoder said is kept; None for nowhere.
            prior_aligner: Eq. 1 to 3; without it neither text nor CLIP is used.
            feature_fusion: Eq. 4 and 5.
            fusion: the form of the latter: "additive" (Eq. 5) or "attention" (Fig. 2(b)).
            mask_optimizer: Eq. 6 and 7.
            refinement_steps: T of Eq. 7.
            sam: the arguments of `SamNetwork`.

        Raises:
            UserFault: as `SamNetwork`; `texts` has not num_classes + 1 entries; an unknown choice; or the weights of
                SAM or CLIP, or the sentence encoder, are neither here nor obtainable.
        """
        _check_choices(image_prior, text_match, fusion)
        super().__init__(**sam)
        skips = self.image_encoder.skip_channels if self.description["skip_features"] else ()
        self.mask_decoder = PriorGuidedDecoder(
            self.mask_decoder,
            skip_channels=skips,
            prior=prior_aligner,
            fusion=fusion if feature_fusion else None,
            refinement_steps=refinement_steps if mask_optimizer else 0,
        )
        self.prompt_encoder.requires_grad_(False)
        self.image_prior, self.text_encoder, self.embeddings_file = image_prior, text_encoder, embeddings_file
        self.clip = self.texts = self.case_texts = self.aligner = self._text_rows = None
        if prior_aligner:
            check_texts(texts, self.num_classes, who=self.title)
            looks, reads = image_prior != "none", text_encoder is None
            if looks or reads:
                self.clip = ClipTowers(
                    model=clip_model, weights=clip_weights, weights_dir=sam.get("weights_dir"),
                    training=clip_training, towers=_present(clip_towers, looks, reads), rank=sam.get("rank", 4),
                    image_tower=looks, text_tower=reads,
                )  # fmt: skip
            self.texts = self.read_texts(texts)
            self.case_texts = self.read_texts(case_texts) if case_texts else None
            self.aligner = PriorAligner(
                text_dim=self.clip.dim if reads else self.texts.dim,
                image_dim=self.clip.dim if looks else None,
                patches=image_prior == "patches",
                base_rates=base_rates * (self.num_classes + 1),
                match_dim=None if text_match == "identity" else MATCH_DIM,
            )
        self.description |= {
            "clip_model": "none" if self.clip is None else clip_model,
            "feature_fusion": feature_fusion,
            "refinement_steps": refinement_steps if mask_optimizer else 0,
        }
        self.description |= {
            "image_prior": image_prior, "text_match": text_match, "text_encoder": text_encoder, "fusion": fusion,
            "base_rates": base_rates,
        }  # fmt: skip

    def read_texts(self, texts: Sequence[Sequence[str]]) -> ClassTexts | SentenceTexts:
        """Descriptions, each alone or with alternatives, as a module whose forward(clip) gives a row (d) for each."""
        classes = len(texts) - 1
        if self.text_encoder is None:
            return ClassTexts(texts, self.clip.tokenize, num_classes=classes)
        return SentenceTexts(texts, self.text_encoder, num_classes=classes, file=self.embeddings_file)

    def forward(
        self, image: Tensor, label: Tensor | None = None, text_rows: Tensor | None = None
    ) -> Tensor | list[Tensor]:
        """As `SliceNetwork.forward`, with texts of the images' own.

        Args:
            image: (B, C, H, W) or (B, C, H, W, D).
            label: not read.
            text_rows: (B, K+1), or (1, K+1) for all: which text each class has on each image, as its number among
                `texts` and `case_texts` together; None for the classes' own.

        Returns:
            logits as `SliceNetwork.forward`.
        """
        slices = image.shape[4] if image.ndim == 5 else 1
        shared = text_rows is None or len(text_rows) == 1
        self._text_rows = text_rows if shared else text_rows.repeat_interleave(slices, dim=0)
        try:
            return super().forward(image, label)
        finally:
            self._text_rows = None

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
        texts = self.texts(self.clip)
        if self._text_rows is not None and self.case_texts is not None:
            texts = self.texts_of_images(texts, self._text_rows)
        return self.aligner(embedding, self.look(image), texts)

    def texts_of_images(self, texts: Tensor, rows: Tensor) -> Tensor:
        """Class texts (K+1, d) and rows (B, K+1) as in `forward` → each image's own texts (B, K+1, d).

        Of the cases' texts, of which there may be thousands, those are encoded that these images have.
        """
        wanted, places = rows.unique(return_inverse=True)
        of_cases = wanted[wanted >= len(texts)] - len(texts)
        if not len(of_cases):
            return texts[rows]
        table = torch.cat([texts[wanted[wanted < len(texts)]], self.case_texts.some(self.clip, of_cases)])
        return table[places]

    def look(self, image: Tensor) -> ImageEvidence | None:
        """Image (B, C, H, W) → what CLIP sees in it; None without an image tower."""
        if self.image_prior == "none":
            return None
        rgb = self.to_rgb(image)
        rgb = rgb.expand(-1, 3, -1, -1) if rgb.shape[1] == 1 else rgb
        if self.image_prior == "global":
            return ImageEvidence(self.clip.encode_image(rgb))
        return ImageEvidence(*self.clip.encode_patches(rgb))

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


def _check_choices(image_prior: str, text_match: str, fusion: str) -> None:
    choices = {
        "image_prior": (image_prior, IMAGE_PRIORS),
        "text_match": (text_match, TEXT_MATCHES),
        "fusion": (fusion, FUSIONS),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserFault(f"{name} must be one of {', '.join(known)}, got '{value}'.")


def _present(towers: str, looks: bool, reads: bool) -> str:
    """Which of CLIP's towers are trained, of those that are there."""
    return towers if looks and reads else "image" if looks else "text"
