"""H-SAM as a network: two decoding stages, their probabilities averaged (Cheng et al., CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.hsam.class_attention import GRID
from pgsam_monai.networks.hsam.class_noise import ClassNoise
from pgsam_monai.networks.hsam.masked_attention import MASK_ATTENTIONS
from pgsam_monai.networks.hsam.second_stage import SecondStage
from pgsam_monai.networks.precision import full_precision
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.sam.network import SamNetwork
from pgsam_monai.transforms.fit import enlarge

ENSEMBLES = ("mean", "second")
GRIDS = ("fixed", "native")
STARTS = ("sam", "rescaled", "random")


class HSAM(SamNetwork):
    """SAM's encoder and decoder give a prior mask per class, which guides a second decoder to full resolution.

    Trained: the image encoder as `encoder_training` says, the "no prompt" embedding, both decoders. SAM's quality
    head and the rest of the prompt encoder have no part in it and are frozen: every trained parameter gets a gradient.
    With SAM's weights the second stage's transformer and first two upscaling steps may start from SAM's decoder too.
    """

    name = "hsam"
    title = "H-SAM"

    def __init__(
        self,
        *,
        class_frequencies: Sequence[float] | None = None,
        noise_std: float = 0.35,
        mask_attention: str = "learnable",
        class_attention: bool = True,
        class_attention_grid: str = "fixed",
        pixel_decoder: bool = True,
        second_stage_start: str = "sam",
        dropout: float = 0.2,
        ensemble: str = "mean",
        **sam: object,
    ) -> None:
        """
        Args:
            class_frequencies: share of each of the K + 1 classes among all voxels, for the class-balanced noise; None
                counts them while training.
            noise_std: standard deviation of that noise at the rarest class's positions; 0 for none.
            mask_attention: "learnable" (Eq. 3), "binary" (Eq. 2) or "none".
            class_attention: class-balanced mask-guided self-attention (Section 3.2).
            class_attention_grid: its maps' positions: "fixed" at 14 × 14, so that weights fit any `image_size`, or
                "native", those of the embedding at `image_size`, as in the paper.
            pixel_decoder: the hierarchical pixel decoder (Section 3.4).
            second_stage_start: where the second stage starts if there are `weights`: "sam", from SAM's decoder;
                "rescaled", likewise, but what Eq. 3 scales at a prior of 1 / (K + 1) everywhere is scaled back;
                "random", as in the released code.
            dropout: of what the second stage's tokens gather from the image.
            ensemble: what evaluation returns: "mean" of both stages' probabilities, as in the paper, or "second".
            sam: the arguments of `SamNetwork`.

        Raises:
            ValueError: as `SamNetwork` and `ClassNoise`; or an unknown `mask_attention`, `class_attention_grid`,
                `second_stage_start` or `ensemble`.
            UserFault: SAM's weights are neither here nor obtainable.
        """
        _check_word("mask_attention", mask_attention, MASK_ATTENTIONS)
        _check_word("class_attention_grid", class_attention_grid, GRIDS)
        _check_word("second_stage_start", second_stage_start, STARTS)
        _check_word("ensemble", ensemble, ENSEMBLES)
        super().__init__(**sam)
        self.ensemble = ensemble
        grid = GRID if class_attention_grid == "fixed" else self.image_size // self.image_encoder.stride
        noise = ClassNoise(num_classes=self.num_classes, frequencies=class_frequencies, std=noise_std)
        self.second_stage = SecondStage(
            num_classes=self.num_classes,
            mlp_dim=self.mask_decoder.transformer.mlp_dim,
            layers=self.mask_decoder.transformer.depth,
            mask_attention=mask_attention,
            noise=noise if class_attention else None,
            class_grid=grid,
            pixel_decoder=pixel_decoder,
            skip_channels=self.image_encoder.skip_channels if self.description["skip_features"] else (),
            stride=self.image_encoder.stride,
            dropout=dropout,
        )
        if sam.get("weights") is not None and second_stage_start != "random":
            self._start_second_stage_from_sam(rescaled=second_stage_start == "rescaled")
        self.freeze_what_prompts_need()
        self.description |= {
            "mask_attention": mask_attention,
            "class_attention": class_attention,
            "pixel_decoder": pixel_decoder,
        }
        if class_attention:
            self.description |= {"class_attention_grid": grid}

    def _start_second_stage_from_sam(self, *, rescaled: bool) -> None:
        first, second = self.mask_decoder, self.second_stage
        second.transformer.load_state_dict(first.transformer.state_dict())
        if rescaled:
            second.transformer.rescale(self.num_classes + 1)
        second.pixel_decoder.output_upscaling.load_state_dict(first.output_upscaling.state_dict())

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) on the 0..1 scale, label (B, 1, H, W) in training → both stages' float32 logits.

        The second's (B, K+1, H, W) come first, then the first's, 4 times the embedding's size: (B, K+1, H/4, W/4)
        with SAM's encoders.

        Raises:
            ValueError: training with class-balanced noise, but no label was given.
        """
        self._check_label(label)
        features = self.image_encoder.encode(self.normalise(image))
        with full_precision(image.device, wanted=not self.training):
            if not self.training:
                features = ImageFeatures(
                    features.embedding.float(), tuple(skip.float() for skip in features.skips)
                )
            return self._decode_twice(features, label if self.training else None)

    def _decode_twice(self, features: ImageFeatures, label: Tensor | None) -> list[Tensor]:
        """The encoder's features → both stages' logits, the second's first.

        Evaluation does this in float32: a few hundredths of the encoder's time, and half the rounding error.
        """
        grid_encoding = self.prompt_encoder.grid_encoding(features.embedding)
        dense = self.prompt_encoder.no_prompt()
        first = self.mask_decoder.decode(
            features.embedding, grid_encoding=grid_encoding, dense=dense, skips=features.skips
        )
        prompted = features._replace(embedding=features.embedding + dense)
        masks = self.second_stage(prompted, first, grid_encoding=grid_encoding, label=label)
        return [masks.float(), first.masks.float()]

    def training_outputs(self, outputs: list[Tensor], size: tuple[int, ...]) -> list[Tensor]:
        """The second stage's logits at full size, the first's as they are."""
        return [enlarge(outputs[0], size), outputs[1]]

    def combine(self, outputs: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Logits whose softmax is the mean of both stages' probabilities, or the second stage's."""
        if self.ensemble == "second":
            return enlarge(outputs[0], size)
        second, first = (enlarge(logits, size).log_softmax(dim=1) for logits in outputs)
        # not logaddexp, which no ONNX operator is
        return torch.stack([second, first]).logsumexp(dim=0) - math.log(2)

    def _check_label(self, label: Tensor | None) -> None:
        attention = self.second_stage.class_attention
        if self.training and label is None and attention is not None and attention.noise.std > 0:
            raise UserFault(
                "H-SAM: training with class-balanced noise needs the labels, network(image, label=label); bundles "
                "pass them by PrepareBatchExtraInput. For training without that noise give noise_std=0."
            )


def _check_word(name: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise UserFault(f"{name} must be one of {', '.join(known)}, got '{word}'.")
