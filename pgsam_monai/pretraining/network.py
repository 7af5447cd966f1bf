"""A network that is asked about anything: SAM's three parts, in conversation with a simulated user."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.medsa.network import MedSA
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.pretraining.clicking import next_clicks
from pgsam_monai.prompts.points import Prompts
from pgsam_monai.transforms.fit import enlarge

ROUNDS = (1, 2, 3, 4, 8)
SHARES = (0.1, 0.3, 0.35, 0.2, 0.05)
"""How many answers a training step has, and how often."""


class Answers(NamedTuple):
    """A conversation about P targets: R answers, each after what was said before it."""

    logits: tuple[Tensor, ...]
    """R times (P, S, S) float32, positive inside"""
    quality: tuple[Tensor, ...]
    """R times (P,), the network's estimate of the answer's IoU"""
    points: Tensor
    """(P, N, 2), all that was said, (x, y) pixels"""
    labels: Tensor
    """(P, N), see `prompts.points.Prompts`"""

    def said_before(self, number: int) -> tuple[Tensor, Tensor]:
        """The points and labels that answer `number`, from 0, was given to: one more of each with every answer."""
        count = self.labels.shape[1] - len(self.logits) + 1 + number
        return self.points[:, :count], self.labels[:, :count]


class PromptedSam(MedSA):
    """SAM with clicks and boxes drawn into its mask prompt, trained in full by conversations.

    It has one class, "what was asked for", and no adapters: its weights are SAM's, by other names.
    """

    name = "prompted_sam"
    title = "Prompted SAM"
    leaves_unused = False

    def __init__(self, *, image_size: int, backbone: str, answers: int = 5, **sam: Any) -> None:
        """
        Args:
            image_size: side in pixels that it is trained at.
            backbone: a name in `base.backbones.BACKBONES`.
            answers: of a conversation in evaluation: a first one, and one after each further click.
            sam: the further arguments of `SamNetwork`.

        Raises:
            ValueError: as `SamNetwork`.
        """
        super().__init__(
            num_classes=1, image_size=image_size, backbone=backbone, encoder_training="full", rank=1,
            decoder_adapters=False, adapter_positions=(), hyper_prompt="none", prompt_maps=True, **sam,
        )  # fmt: skip
        self.answers = answers
        self.requires_grad_(True)
        for unasked in (
            self.class_prompts, self.mask_decoder.class_tokens, self.mask_decoder.no_prompt,
            self.prompt_encoder.no_mask_embed.weight,
        ):  # fmt: skip
            unasked.requires_grad_(False)
        self.mask_decoder.class_mlps.requires_grad_(False)
        self.mask_decoder.sam.output_hypernetworks_mlps[1:].requires_grad_(False)

    def forward(  # type: ignore[override]  # answers are no logits of classes
        self, image: Tensor, label: Tensor, prompts: Prompts
    ) -> Answers:
        """Answer Q questions about each of B images; a simulated user goes on clicking where the answers are wrong.

        Args:
            image: (B, C, S, S) on the 0..1 scale.
            label: (B, Q, S, S), 1 where the targets are.
            prompts: how the user begins about each, targets in the place of classes, with masks.

        Returns:
            the conversations about P = B · Q targets; in training of a random length, the same for all.

        Raises:
            UserFault: label and image differ in size.
        """
        if label.shape[0] != image.shape[0] or label.shape[2:] != image.shape[2:]:
            raise UserFault(
                f"{self.title}: image and targets differ: {tuple(image.shape)} and {tuple(label.shape)}."
            )
        features = _repeated(self.embed(image), label.shape[1])
        points, labels, masks, has_mask = (each.to(image.device).flatten(0, 1) for each in prompts)
        targets, logits, quality = label.flatten(0, 1) > 0, [], []
        classes = torch.zeros(len(points), dtype=torch.int64, device=image.device)
        for number in range(self._rounds()):
            if number:
                point, kind = next_clicks(logits[-1].detach(), targets, chance=0.1 if self.training else 0.0)
                points, labels = torch.cat([points, point], dim=1), torch.cat([labels, kind], dim=1)
            masks, estimate = self.answer_pairs(features, points, labels, classes, masks, has_mask)
            logits.append(enlarge(masks.unsqueeze(1), tuple(targets.shape[1:]))[:, 0])
            quality.append(estimate)
            masks, has_mask = masks.detach(), torch.ones_like(has_mask)
        return Answers(tuple(logits), tuple(quality), points, labels)

    def _rounds(self) -> int:
        if not self.training:
            return self.answers
        return ROUNDS[int(torch.multinomial(torch.tensor(SHARES), 1))]


def _repeated(features: ImageFeatures, times: int) -> ImageFeatures:
    embedding, *skips = (
        each.repeat_interleave(times, dim=0) for each in (features.embedding, *features.skips)
    )
    return ImageFeatures(embedding, tuple(skips))
