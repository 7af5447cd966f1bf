"""Med-SA as a network: prompted by clicks, boxes and masks, or asked for everything (Wu et al., MedIA 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.medsa.decoder import PromptedDecoder
from pgsam_monai.networks.medsa.encoder import POSITIONS, adapt_encoder
from pgsam_monai.networks.medsa.prompt_maps import draw_prompts, obey
from pgsam_monai.networks.medsa.simulation import PromptTraining, simulate_prompts
from pgsam_monai.networks.medsa.space_depth import DEPTH_FUSIONS
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.sam.network import SamNetwork
from pgsam_monai.networks.slices import fold_slices, plain, unfold_slices
from pgsam_monai.prompts.points import ABSENT, BOX_FIRST, PADDING, Prompts, asked
from pgsam_monai.transforms.fit import enlarge, sides

ENCODER_TRAINING = ("adapters", "full", "frozen")
UNASKED = -100.0
"""Logit of a class that nobody asked for."""


class MedSA(SamNetwork):
    """SAM with adapters in its encoder and decoder, slices that see each other, and adapters made from the prompt.

    Trained: with `encoder_training` "adapters" the adapters, what tells classes apart (a token, a mask head and a
    prompt embedding per class) and nothing of SAM, but for its prompt encoder if that is asked for; with "full"
    everything but SAM's quality head and the mask heads that are never asked; with "frozen" only what tells classes
    apart.
    """

    name = "medsa"
    title = "Med-SA"
    leaves_unused = True  # nobody asks about a slice without structures, nor always with a mask
    keeps_sam_masks = True

    def __init__(
        self,
        *,
        num_classes: int,
        encoder_training: str = "adapters",
        rank: int = 64,
        scale: float = 0.05,
        adapted_layers: Sequence[int] | None = None,
        adapter_positions: Sequence[str] = POSITIONS,
        decoder_adapters: bool = True,
        hyper_prompt: str = "hyper",
        stack_depth: int = 1,
        depth_fusion: str = "add",
        prompt_encoder_training: bool = False,
        prompt_maps: bool = False,
        prompt_training: PromptTraining | None = None,
        **sam: object,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            encoder_training: "adapters", "full" or "frozen"; the last has no adapters at all: SAM as it is.
            rank: width of the adapters (Table 7a).
            scale: s, the factor of those beside an MLP (Table 7c).
            adapted_layers: encoder blocks, from 0, that get adapters (Table 7b); None for all.
            adapter_positions: "attention", "mlp" or both (Table 6).
            decoder_adapters: whether the decoder has its three per block.
            hyper_prompt: what its first adapter makes of the prompt: "hyper", "add", "concat" or "none" (Table 5).
            stack_depth: slices that see each other; 1 for every slice on its own.
            depth_fusion: how (Table 8): "add", "concat", "cross", or ours, "gated"; "none" for not at all.
            prompt_encoder_training: train SAM's prompt encoder (6220 weights) beside adapters: for weights that never
                saw clicks or masks, such as LiteMedSAM's.
            prompt_maps: also draw clicks and boxes into the mask prompt (`prompt_maps`), as `drawn_tiny` learnt them.
            prompt_training: how prompts are simulated while training; None for the defaults.
            sam: the further arguments of `SamNetwork`.

        Raises:
            ValueError: as `SamNetwork`; or one of these arguments is outside its range.
            UserFault: SAM's weights are neither here nor obtainable.
        """
        _check(num_classes, encoder_training, stack_depth, depth_fusion)
        adapted = encoder_training != "frozen"
        sam_training = "full" if encoder_training == "full" else "frozen"
        super().__init__(num_classes=num_classes, encoder_training=sam_training, **sam)
        self.stack_depth, self.prompt_maps = stack_depth, prompt_maps
        self.prompt_training = prompt_training or PromptTraining()
        self._choose_sam_training(full=encoder_training == "full", prompts=prompt_encoder_training)
        adapt_encoder(
            self.image_encoder, rank=rank, scale=scale, layers=adapted_layers,
            positions=adapter_positions if adapted else (), depth_fusion=depth_fusion if stack_depth > 1 else "none",
        )  # fmt: skip
        self.mask_decoder = PromptedDecoder(
            self.mask_decoder, num_classes=num_classes, rank=rank if adapted and decoder_adapters else 0,
            scale=scale, hyper_prompt=hyper_prompt,
        )  # fmt: skip
        self.mask_decoder.class_mlps.requires_grad_(True)
        self.class_prompts = nn.Parameter(torch.zeros(num_classes, self.mask_decoder.class_tokens.shape[1]))
        self.description |= {
            "encoder_training": encoder_training, "rank": rank if adapted else 0, "hyper_prompt": hyper_prompt,
            "stack_depth": stack_depth, "depth_fusion": depth_fusion if stack_depth > 1 else "none",
            "prompt_maps": prompt_maps,
        }  # fmt: skip

    def _choose_sam_training(self, *, full: bool, prompts: bool) -> None:
        self.prompt_encoder.requires_grad_(full or prompts)
        self.mask_decoder.requires_grad_(full)
        self.mask_decoder.iou_prediction_head.requires_grad_(False)
        self.mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)

    def embed(self, image: Tensor, depth: int = 1) -> ImageFeatures:
        """What every prompt on an image starts from, to be kept between them.

        Args:
            image: (B * depth, C, H, W) on the 0..1 scale.
            depth: that many consecutive images are slices of one volume.
        """
        return self.image_encoder.encode(self.normalise(image), depth=depth)

    def everything(self, features: ImageFeatures) -> Tensor:
        """Features of B images → float32 logits (B, K+1, h, w), background first, without any prompt."""
        logits = self.mask_decoder.everything(
            features,
            grid_encoding=self.prompt_encoder.grid_encoding(features.embedding),
            dense=self.prompt_encoder.no_prompt(),
        )
        return logits.float()

    def answer(self, features: ImageFeatures, prompts: Prompts) -> Tensor:
        """What was asked about B images, each class for itself.

        Returns:
            float32 logits (B, K, h, w), positive inside, h and w four times the embedding's sides; `UNASKED` for
            classes that were not asked.
        """
        return self.answer_with_quality(features, prompts)[0]

    def answer_with_quality(self, features: ImageFeatures, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """As `answer`, and SAM's estimates of the masks' IoU (B, K), 0 where nothing was asked."""
        images, classes = asked(prompts).nonzero(as_tuple=True)
        height, width = sides(features.embedding, 2, 3)
        batch, kinds = prompts.labels.shape[:2]
        logits = features.embedding.new_full(
            (batch, kinds, 4 * height, 4 * width), UNASKED, dtype=torch.float32
        )
        quality = logits.new_zeros(batch, kinds)
        if len(images) == 0:
            return logits, quality
        own = ImageFeatures(features.embedding[images], tuple(skip[images] for skip in features.skips))
        masks, estimates = self.answer_pairs(
            own, prompts.points[images, classes], prompts.labels[images, classes], classes,
            *_given_masks(prompts, images, classes),
        )  # fmt: skip
        return (
            logits.index_put((images, classes), masks),
            quality.index_put((images, classes), estimates),
        )

    def answer_pairs(
        self,
        features: ImageFeatures,
        points: Tensor,
        labels: Tensor,
        classes: Tensor,
        masks: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """P prompts, each with the features of its own image.

        Args:
            features: embedding (P, 256, H, W).
            points: (P, N, 2), see `Prompts`.
            labels: (P, N).
            classes: (P,), 0 for the first foreground class.
            masks: (P, 4H, 4W) logits, or None.
            has_mask: (P,) bool, which of them count.

        Returns:
            float32 logits (P, 4H, 4W) and estimates of their IoU (P,).
        """
        points, labels = _with_padding(points, labels)
        stride, (height, width) = self.image_encoder.stride, sides(features.embedding, 2, 3)
        sparse = self.prompt_encoder.point_tokens(points, labels, size=(stride * height, stride * width))
        absent = labels == ABSENT
        sparse = sparse + self.class_prompts[classes].unsqueeze(1) * (~absent).unsqueeze(-1)
        dense = self.prompt_encoder.no_prompt()
        if self.prompt_maps:
            drawn = draw_prompts(
                points,
                labels,
                stride=stride / 4,
                size=(4 * height, 4 * width),
                masks=masks,
                has_mask=has_mask,
            )
            dense = self.prompt_encoder.mask_embedding(drawn.unsqueeze(1))
        elif masks is not None:
            given = self.prompt_encoder.mask_embedding(masks.unsqueeze(1))
            dense = torch.where(has_mask[:, None, None, None], given, dense)
        logits, quality = self.mask_decoder.answer(
            features,
            sparse,
            absent,
            grid_encoding=self.prompt_encoder.grid_encoding(features.embedding),
            dense=dense,
        )
        if self.prompt_maps and not self.training:
            logits = obey(logits.float(), points, labels, stride=stride / 4)
        return logits.float(), quality.float()

    def forward(
        self, image: Tensor, label: Tensor | None = None, prompts: Prompts | None = None
    ) -> Tensor | list[Tensor]:
        """As `SliceNetwork`; in evaluation `prompts` may be given, in training they are made from `label`.

        Args:
            image: (B, C, H, W), or (B, C, H, W, D) whose D slices see each other if `stack_depth` is above 1.
            label: class indices (B, 1, H, W) or (B, 1, H, W, D); in training.
            prompts: for B images, or B * D slices with a volume's slices one after the other.

        Returns:
            Without prompts logits (B, K+1, H, W[, D]). With them the same shape: 0 for background, the asked classes'
            answers, `UNASKED` for the others. In training [without prompts, with simulated prompts].

        Raises:
            ValueError: as `SliceNetwork`; or prompts of another number of images or classes.
        """
        if prompts is None:
            return super().forward(image, label)
        pixels = plain(image)
        batch, depth = pixels.shape[0], pixels.shape[4] if pixels.ndim == 5 else 1
        flat = fold_slices(pixels) if pixels.ndim == 5 else pixels
        self._check_prompts(prompts, len(flat))
        answers = self.answer(self.embed(flat, self.seen_depth(depth)), prompts)
        logits = enlarge(nn.functional.pad(answers, (0, 0, 0, 0, 1, 0)), sides(flat, 2, 3))
        logits = logits if pixels.ndim == 4 else unfold_slices(logits, batch)
        return MetaTensor(logits).copy_meta_from(image) if isinstance(image, MetaTensor) else logits

    def seen_depth(self, depth: int) -> int:
        """How many of a stack's `depth` slices see each other: all of them, or each itself only."""
        return depth if self.stack_depth > 1 else 1

    def decode_slices(self, image: Tensor, label: Tensor | None, depth: int) -> list[Tensor]:
        """As `SliceNetwork`: [everything] or, in training with labels, [everything, answers to simulated prompts]."""
        features = self.embed(image, self.seen_depth(depth))
        everything = self.everything(features)
        if not self.training or label is None:
            return [everything]
        return [
            everything,
            simulate_prompts(partial(self.answer, features), self.prompt_training, label, everything),
        ]

    def training_outputs(self, outputs: list[Tensor], size: tuple[int, ...]) -> list[Tensor]:
        """Both kinds of answer at full size."""
        return [enlarge(logits, size) for logits in outputs]

    def _check_prompts(self, prompts: Prompts, images: int) -> None:
        if tuple(prompts.labels.shape[:2]) != (images, self.num_classes):
            raise UserFault(
                f"Med-SA: prompts must be for {images} images and {self.num_classes} classes, got "
                f"{tuple(prompts.labels.shape[:2])}; fold a volume's slices into the batch."
            )


def _check(num_classes: int, encoder_training: str, stack_depth: int, depth_fusion: str) -> None:
    if num_classes < 1:
        raise UserFault(f"num_classes must be at least 1 (background is not counted), got {num_classes}.")
    if encoder_training not in ENCODER_TRAINING:
        raise UserFault(f"encoder_training must be one of {ENCODER_TRAINING}, got '{encoder_training}'.")
    if stack_depth < 1:
        raise UserFault(f"stack_depth must be at least 1, got {stack_depth}.")
    if depth_fusion not in DEPTH_FUSIONS:
        raise UserFault(f"depth_fusion must be one of {', '.join(DEPTH_FUSIONS)}, got '{depth_fusion}'.")


def _with_padding(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """SAM gives clicks without a box one more token, "not a point"; here an entry, unless there is one already."""
    clicked = ((labels >= 0) & (labels < BOX_FIRST)).any(dim=1)
    settled = ((labels >= BOX_FIRST) | (labels == PADDING)).any(dim=1)
    last = torch.where(clicked & ~settled, PADDING, ABSENT).to(labels.dtype)
    return nn.functional.pad(points, (0, 0, 0, 1)), torch.cat([labels, last.unsqueeze(1)], dim=1)


def _given_masks(prompts: Prompts, images: Tensor, classes: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if prompts.masks is None or prompts.has_mask is None:
        return None, None
    return prompts.masks[images, classes], prompts.has_mask[images, classes]
