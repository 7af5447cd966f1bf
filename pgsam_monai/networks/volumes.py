"""What every network on volumes here shares: how patches enter it and how logits leave it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.slices import plain


class VolumeNetwork(DescribedNetwork):
    """A 3-D network with `name`, `title`, `patch`, `multiples`, `in_channels` and `num_classes`.

    A subclass says in `segment` what its logits are, and in `learn` what its loss is given.
    """

    name: str
    """what bundles and its description call the network"""
    title: str
    """what messages call it"""
    patch: tuple[int, int, int]
    """rows, columns and slices that it is built for, voxels; it accepts any other"""
    multiples: tuple[int, int, int]
    """what the sides of its input are multiples of, voxels"""
    in_channels: int
    num_classes: int

    def segment(self, image: Tensor) -> Tensor:
        """Image (B, C, H, W, D) on the 0..1 scale → float32 logits (B, K+1, H, W, D), background first."""
        raise NotImplementedError

    def learn(self, image: Tensor, label: Tensor | None, known: Tensor | None = None) -> object:
        """What the loss gets in training: the logits, unless a subclass has more to say.

        `label` (B, 1, H, W, D), class indices, is for networks that train with its help; `known` (B, K+1) bool are the
        classes that were looked for, None if all were.
        """
        return self.segment(image)

    def forward(self, image: Tensor, label: Tensor | None = None, known: Tensor | None = None) -> object:
        """Segment volumes.

        Args:
            image: (B, C, H, W, D), rows, columns and slices, intensities on the 0..1 scale.
            label: class indices (B, 1, H, W, D), in training.
            known: (B, K+1) bool, the classes that were looked for, in training; None for all.

        Returns:
            In evaluation mode float32 logits (B, K+1, H, W, D), a MetaTensor with the image's meta data if the image
            is one. In training mode what `learn` gives.

        Raises:
            ValueError: wrong number of axes or channels, or sides that are no multiples of `multiples`.
        """
        volume = plain(image)
        self._check(volume)
        if self.training:
            return self.learn(volume, plain(label), known)
        logits = self.segment(volume)
        return MetaTensor(logits).copy_meta_from(image) if isinstance(image, MetaTensor) else logits

    def _check(self, volume: Tensor) -> None:
        if torch.jit.is_tracing():
            return
        shape = tuple(volume.shape)
        if volume.ndim != 5 or shape[1] != self.in_channels:
            raise UserFault(
                f"{self.title}: image must be (B, {self.in_channels}, H, W, D), got {shape}; it takes volumes, not "
                "slices."
            )
        if any(side % multiple for side, multiple in zip(shape[2:], self.multiples, strict=True)):
            raise UserFault(
                f"{self.title}: sides must be multiples of {self.multiples} voxels, got {shape[2:]}; cut patches such "
                f"as {self.patch}."
            )

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script`, and thus MONAI's `ckpt_export`, exports in this network's place."""
        from pgsam_monai.networks.traced import TracedVolumeNetwork

        return TracedVolumeNetwork(self)


def three(sides: Sequence[int], *, who: str) -> tuple[int, int, int]:
    """Rows, columns and slices as a tuple; ValueError unless they are three numbers of at least 1."""
    if len(sides) != 3 or min(sides) < 1:
        raise UserFault(
            f"{who} must be three numbers of at least 1 (rows, columns, slices), got {list(sides)}."
        )
    return tuple(int(side) for side in sides)
