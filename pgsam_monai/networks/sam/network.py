"""What every prompt-free SAM network here shares: input, weights, trained parts, volumes, its description."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.lora import add_lora
from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.checkpoint import SAM_LAYERS, load_sam_state
from pgsam_monai.networks.sam.image_encoder import check_size
from pgsam_monai.networks.slices import SliceNetwork
from pgsam_monai.weights.files import load_weights, resolve_weights

logger = logging.getLogger(__name__)

ENCODER_TRAINING = ("lora", "full", "frozen")
SAM_MEAN = (0.485, 0.456, 0.406)
SAM_STD = (0.229, 0.224, 0.225)
SAM_MASKS = 3
"""SAM's masks for an ambiguous prompt, besides the one for a clear prompt."""


class SamNetwork(SliceNetwork):
    """SAM's three parts for K classes and no prompt; a subclass says in `segment` how they are used."""

    keeps_sam_masks: bool = False
    """whether the decoder has SAM's own four masks instead of one per class, and loads all that SAM has of them"""

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int = 1,
        backbone: str = "vit_b",
        weights: str | None = None,
        weights_dir: str | None = None,
        encoder_training: str = "lora",
        rank: int = 4,
        decoder_layers: int = SAM_LAYERS,
        pixel_mean: Sequence[float] = SAM_MEAN,
        pixel_std: Sequence[float] = SAM_STD,
        skip_features: bool = True,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K, at least 1.
            image_size: side in pixels that the network is built for, a multiple of 16; it accepts any other.
            in_channels: channels of the image. 1 is repeated for SAM's three, 3 goes in as it is, any other
                count passes a trained 1×1 convolution that starts as the average of the channels.
            backbone: a name in `base.backbones.BACKBONES`.
            weights: weights of the backbone by name or file (see `pgsam_monai.weights.files`); None for random ones.
            weights_dir: where weights are kept; None for the default folder.
            encoder_training: "lora" trains updates of rank `rank` to q and v (TinyViT: to q, k and v, which are
                one layer), "full" all of the image encoder, "frozen" none of it.
            rank: LoRA's rank.
            decoder_layers: of the decoder's two-way transformer, at least SAM's two (H-SAM's Table 6 has SAMed with
                four and six). Weights fill the first two, further ones start from random values.
            pixel_mean: of three channels, on the 0..1 scale.
            pixel_std: likewise.
            skip_features: see `builders.build_sam`; matters for `vit_tiny` only.

        Raises:
            ValueError: an argument is outside its range, or the weights don't fit the backbone.
            UserFault: the weights are neither here nor obtainable.
        """
        super().__init__()
        _check_arguments(encoder_training, in_channels)
        parts = build_sam(
            backbone=backbone,
            image_size=image_size,
            num_classes=SAM_MASKS if self.keeps_sam_masks else num_classes,
            decoder_layers=decoder_layers,
            skip_features=skip_features,
            from_scratch=weights is None and encoder_training == "full",
        )
        self.image_size = image_size
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.description = {
            "network": self.name, "backbone": backbone, "rank": rank if encoder_training == "lora" else 0,
            "num_classes": num_classes, "image_size": image_size, "in_channels": in_channels,
            "decoder_layers": decoder_layers, "skip_features": bool(parts.mask_decoder.skips),
        }  # fmt: skip
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean, dtype=torch.float32).reshape(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(pixel_std, dtype=torch.float32).reshape(3, 1, 1))
        self.channel_mixer = None if in_channels in (1, 3) else _averaging_convolution(in_channels)
        self.image_encoder, self.prompt_encoder, self.mask_decoder = parts
        self._load_weights(weights, weights_dir, backbone)
        self._choose_trained_parts(encoder_training, rank)

    def _load_weights(self, weights: str | None, weights_dir: str | None, backbone: str) -> None:
        if weights is None:
            logger.info("%s: %s starts from random weights (weights: null).", self.title, backbone)
            return
        file = resolve_weights(weights, weights_dir=weights_dir)
        load_sam_state(self, load_weights(file), source=file.name, keep_masks=self.keeps_sam_masks)
        logger.info("%s: %s starts from %s.", self.title, backbone, file)

    def _choose_trained_parts(self, encoder_training: str, rank: int) -> None:
        if encoder_training == "lora":
            add_lora(self.image_encoder, rank=rank, targets=self.image_encoder.lora_targets)
        else:
            self.image_encoder.requires_grad_(encoder_training == "full")

    def freeze_what_prompts_need(self) -> None:
        """SAM's quality head, and of its prompt encoder all but "no prompt", where nothing else is asked of them: they
        would get no gradient, and a training in several processes would have to look for such parameters each step."""
        self.mask_decoder.iou_prediction_head.requires_grad_(False)
        self.prompt_encoder.requires_grad_(False).no_mask_embed.requires_grad_(True)

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, H/4, W/4)."""
        raise NotImplementedError

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """As `SliceNetwork`: the masks of the decoder, at a quarter of the image's size."""
        return [self.segment(image)]

    def to_rgb(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W) → three channels (or one that stands for three equal ones), on the 0..1 scale."""
        if not torch.jit.is_tracing():
            check_size(image.shape[2], image.shape[3], who=f"{self.title}'s image")
        self.check_channels(image)
        return image if self.channel_mixer is None else self.channel_mixer(image)

    def normalise(self, image: Tensor) -> Tensor:
        """Any channel count → three channels in SAM's pixel statistics."""
        return (
            self.to_rgb(image) - self.pixel_mean
        ) / self.pixel_std  # one channel becomes three by broadcasting


def _check_arguments(encoder_training: str, in_channels: int) -> None:
    if encoder_training not in ENCODER_TRAINING:
        raise UserFault(f"encoder_training must be one of {ENCODER_TRAINING}, got '{encoder_training}'.")
    if in_channels < 1:
        raise UserFault(f"in_channels must be at least 1, got {in_channels}.")


def _averaging_convolution(in_channels: int) -> nn.Conv2d:
    mixer = nn.Conv2d(in_channels, 3, kernel_size=1)
    nn.init.constant_(mixer.weight, 1 / in_channels)
    nn.init.zeros_(mixer.bias)
    return mixer
