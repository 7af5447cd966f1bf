"""RefSAM3D as a network: a volume in, K + 1 logit volumes out, or what a text asks for (Gao and Lu, 2025)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d.answering import AnsweringNetwork
from pgsam_monai.networks.refsam3d.backbones import build_volume_encoder, find_volume_backbone
from pgsam_monai.networks.refsam3d.checkpoint import load_volume_state
from pgsam_monai.networks.refsam3d.cross_attention import HierarchicalCrossAttention
from pgsam_monai.networks.refsam3d.decoder import WIDTHS, VolumeDecoder
from pgsam_monai.networks.refsam3d.encoder import ENCODER_TRAINING, choose_trained
from pgsam_monai.networks.refsam3d.projector import build_projector
from pgsam_monai.networks.refsam3d.prompt_encoder import VolumePromptEncoder
from pgsam_monai.networks.refsam3d.referring import ReferringTraining
from pgsam_monai.networks.refsam3d.texts import build_reader
from pgsam_monai.networks.refsam3d.whitening import TextContrast
from pgsam_monai.networks.refsam3d.windows import choose_window
from pgsam_monai.networks.sam.efficient_sam import use_efficient_blocks
from pgsam_monai.networks.sam.network import SAM_MEAN, SAM_STD
from pgsam_monai.networks.text.sentences import encoder_name
from pgsam_monai.networks.volumes import three
from pgsam_monai.weights.files import load_weights, resolve_weights

logger = logging.getLogger(__name__)

DIM = 256
ALL_STAGES = (1, 2, 3, 4)


class RefSAM3D(AnsweringNetwork):
    """SAM's encoder in 3-D, texts that meet its four stages, and a decoder up to the input's own resolution.

    Two ways to ask, of one network: all classes at once, each by its class's text, competing voxel by voxel; or one
    structure by one free text. Trained: the encoder as `encoder_training` says, CLIP's text tower as
    `clip_training` says, and all of projector, cross-attention, prompt encoder and decoder.
    """

    name = "refsam3d"
    title = "RefSAM3D"

    def __init__(
        self,
        *,
        num_classes: int,
        patch: Sequence[int],
        token_size: Sequence[int],
        in_channels: int = 1,
        backbone: str = "vit_b",
        weights: str | None = None,
        weights_dir: str | None = None,
        encoder_training: str = "adapters",
        pixel_mean: Sequence[float] = SAM_MEAN,
        pixel_std: Sequence[float] = SAM_STD,
        window: int = 8,
        referring: ReferringTraining | None = None,
        checkpointing: bool = False,
        fine_features: bool = False,
        supervised_scales: int = 1,
        mask_stride: int = 1,
        decoder_widths: Sequence[int] = WIDTHS,
        direct_masks: bool = False,
        competing_requests: bool = False,
        **text_side: Any,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K, at least 1.
            patch: rows, columns and slices that position tables are made for, voxels; any other size works too.
            token_size: voxels per token: 4, 8 or 16 for rows and columns alike, 1 to 16 for slices.
            in_channels: channels of the volume. 1 is repeated for SAM's three, 3 goes in as it is, any other count
                passes a trained 1×1×1 convolution that starts as the average of the channels.
            backbone: a name in `base.backbones.VOLUME_BACKBONES`.
            weights: a 2-D SAM checkpoint by name or file, see `checkpoint`; None for random numbers.
            weights_dir: where weights are kept; None for the default folder.
            encoder_training: "adapters" (with norms, everything that concerns depth, and necks), "full" or "frozen".
            pixel_mean: of three channels, on the 0..1 scale.
            pixel_std: likewise.
            window: largest side of the attention windows in tokens, see `windows.choose_window`.
            referring: how single structures are asked for while training; None for never.
            checkpointing: compute the encoder's blocks again in the backward pass instead of keeping what they made.
            fine_features: whether the decoder gets convolutional features of the volume itself; the paper has none.
            supervised_scales: at how many resolutions training compares masks with labels, 1 to 4; the paper has 1.
            mask_stride: voxels between the features that masks are made of, see `VolumeDecoder`; the paper has 1.
            decoder_widths: channels after each of the decoder's four steps, multiples of 8.
            direct_masks: make masks' weights straight from texts, too, see `decoder.DirectMasks`; not in the paper.
            competing_requests: a request competes with all classes that it doesn't mean, and is learnt beside them in
                one step; the paper's, as far as it says, stands alone against the background.
            text_side: the further arguments, those of `_build_text_side`.

        Raises:
            ValueError: an argument is outside its range, or the weights don't fit the backbone.
            UserFault: weights of SAM or CLIP are neither here nor obtainable.
        """
        super().__init__()
        _check_arguments(num_classes, encoder_training, in_channels)
        self.patch, self.multiples = three(patch, who="patch"), three(token_size, who="token_size")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.referring = referring
        self.description = {
            "network": self.name, "backbone": backbone, "num_classes": num_classes, "in_channels": in_channels,
            "patch": "x".join(map(str, self.patch)), "token_size": "x".join(map(str, self.multiples)),
        }  # fmt: skip
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean, dtype=torch.float32).reshape(3, 1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(pixel_std, dtype=torch.float32).reshape(3, 1, 1, 1))
        self.channel_mixer = None if in_channels in (1, 3) else _averaging_convolution(in_channels)
        self._build_sam(backbone, window, adapters=encoder_training != "frozen", checkpointing=checkpointing)
        self._build_decoder(
            backbone, fine_features=fine_features, scales=supervised_scales, mask_stride=mask_stride,
            widths=tuple(decoder_widths),
        )  # fmt: skip
        self._load_weights(weights, weights_dir, backbone)
        choose_trained(self.image_encoder, encoder_training)
        width = self._build_text_side(weights_dir=weights_dir, **text_side)
        if direct_masks:
            self.mask_decoder.make_direct(width)
        self.competing_requests = competing_requests
        self.description |= {"direct_masks": direct_masks, "competing_requests": competing_requests}

    def _build_sam(self, backbone: str, window: int, *, adapters: bool, checkpointing: bool) -> None:
        grid = [side // size for side, size in zip(self.patch, self.multiples, strict=True)]
        self.image_encoder = build_volume_encoder(
            backbone, patch=self.patch, token_size=self.multiples, window=choose_window(grid, window),
            adapters=adapters, checkpointing=checkpointing,
        )  # fmt: skip
        self.prompt_encoder = VolumePromptEncoder(dim=DIM)

    def _build_decoder(self, backbone: str, **form: Any) -> None:
        """`form`: fine_features, scales, mask_stride and widths, as `VolumeDecoder` has them."""
        self.description |= {
            "fine_features": form["fine_features"], "supervised_scales": form["scales"],
            "mask_stride": form["mask_stride"], "decoder_widths": " ".join(map(str, form["widths"])),
        }  # fmt: skip
        self.mask_decoder = VolumeDecoder(
            token_size=self.multiples, in_channels=self.in_channels, dim=DIM, **form
        )
        if find_volume_backbone(backbone).efficient_decoder:
            use_efficient_blocks(self.mask_decoder.transformer)

    def _build_text_side(
        self,
        *,
        texts: Sequence[Sequence[str]],
        names: Sequence[str],
        weights_dir: str | None,
        clip_model: str = "ViT-B-32-quickgelu",
        clip_weights: str | None = None,
        clip_training: str = "frozen",
        text_encoder: str | None = None,
        embeddings_file: str | None = None,
        whitened_texts: bool = False,
        text_prompt: bool = True,
        cross_modal_projector: bool = True,
        hierarchical_fusion: bool = True,
        stages: Sequence[int] = ALL_STAGES,
    ) -> int:
        """What texts pass on their way to the decoder; learnt queries where there are none.

        Args:
            texts: for each class, background first, one description or several.
            names: the classes' names, background first, which training requests are made of.
            weights_dir: where weights are kept; None for the default folder.
            clip_model: an open_clip model, see `ClipTowers`.
            clip_weights: its weights by tag or file; None for random ones.
            clip_training: of the text tower: "frozen", "lora" or "full".
            text_encoder: None for CLIP's text tower; else a frozen sentence encoder, see `sentences.embed_sentences`,
                and what is said of CLIP doesn't count.
            embeddings_file: where what that encoder said is kept; None for nowhere.
            whitened_texts: what tells texts apart counts alike in every direction, see `whitening`; not in the paper.
            text_prompt: False for learnt class queries and no text (Table 4, second row).
            cross_modal_projector: Eq. III; False for a fixed random map (Table 4, third row).
            hierarchical_fusion: Eq. VI to VIII; False for none (Table 4, fourth row).
            stages: those of 1 to 4 that meet the texts (Table 5).

        Returns:
            channels of what is asked: a sentence's, or a learnt query's.
        """
        _check_stages(stages)
        fused = tuple(stages) if text_prompt and hierarchical_fusion else ()
        self.description |= {
            "clip_model": clip_model if text_prompt and text_encoder is None else "none",
            "text_encoder": encoder_name(text_encoder) if text_prompt and text_encoder else None,
            "whitened_texts": whitened_texts and text_prompt,
            "cross_modal_projector": cross_modal_projector, "stages": "".join(map(str, fused)) or "none",
        }  # fmt: skip
        self.clip = self.texts = self.projector = self.cross_attention = self.class_queries = None
        if not text_prompt:
            self.class_queries = nn.Parameter(torch.randn(self.num_classes + 1, DIM))
            return DIM
        self.clip, self.texts, width = build_reader(
            texts, names, self.referring or ReferringTraining(), num_classes=self.num_classes,
            encoder=text_encoder, file=embeddings_file, model=clip_model, weights=clip_weights,
            weights_dir=weights_dir, training=clip_training,
        )  # fmt: skip
        self.contrast = TextContrast(whitened=whitened_texts)
        self.projector = build_projector(cross_modal_projector, width, DIM)
        if fused:
            self.cross_attention = HierarchicalCrossAttention(DIM, stages=fused)
            self.cross_attention.begin_without()
        return width

    def _load_weights(self, weights: str | None, weights_dir: str | None, backbone: str) -> None:
        if weights is None:
            logger.info("%s: %s starts from random weights (weights: null).", self.title, backbone)
            return
        file = resolve_weights(weights, weights_dir=weights_dir)
        load_volume_state(self, load_weights(file), source=file.name)
        logger.info("%s: %s starts from %s.", self.title, backbone, file)

    def train(self, mode: bool = True) -> RefSAM3D:
        """As usual; for evaluation the class texts are encoded now, so that no export traces their encoder."""
        super().train(mode)
        self._understood = None
        if not mode and self.texts is not None:
            with torch.no_grad():
                self.contrast.prepare(self.texts(self.clip))
        return self


def _check_arguments(num_classes: int, encoder_training: str, in_channels: int) -> None:
    if num_classes < 1:
        raise UserFault(f"num_classes must be at least 1 (background is not counted), got {num_classes}.")
    if encoder_training not in ENCODER_TRAINING:
        raise UserFault(f"encoder_training must be one of {ENCODER_TRAINING}, got '{encoder_training}'.")
    if in_channels < 1:
        raise UserFault(f"in_channels must be at least 1, got {in_channels}.")


def _check_stages(stages: Sequence[int]) -> None:
    if not stages or set(stages) - set(ALL_STAGES) or len(set(stages)) != len(stages):
        raise UserFault(f"stages must be some of {ALL_STAGES}, each once, got {list(stages)}.")


def _averaging_convolution(in_channels: int) -> nn.Conv3d:
    mixer = nn.Conv3d(in_channels, 3, kernel_size=1)
    nn.init.constant_(mixer.weight, 1 / in_channels)
    nn.init.zeros_(mixer.bias)
    return mixer
