"""What every network on slices here shares: how images and volumes enter it and how logits leave it."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.transforms.fit import enlarge, sides


class SliceNetwork(DescribedNetwork):
    """A 2-D network with `name`, `title`, `image_size`, `in_channels`, `num_classes` and `description`.

    A subclass says in `decode` what its outputs are, and in `combine` what they come to.
    """

    name: str
    """what bundles and its description call the network"""
    title: str
    """what messages call it"""
    image_size: int
    in_channels: int
    num_classes: int

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) on the 0..1 scale → float32 logits (B, K+1, h, w), the finest first, of any sizes.

        `label` (B, 1, H, W), class indices, is given in training only, and to networks that ask for it in their
        bundle; most leave it unread.
        """
        raise NotImplementedError

    def decode_slices(self, image: Tensor, label: Tensor | None, depth: int) -> list[Tensor]:
        """As `decode`, for networks whose slices see each other: `depth` consecutive images are one volume's."""
        return self.decode(image, label)

    def combine(self, outputs: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """What `decode` gave → the logits (B, K+1, *size) that evaluation returns: the first output, resized."""
        return enlarge(outputs[0], size)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor | list[Tensor]:
        """Segment images, or each slice of volumes.

        Args:
            image: (B, C, H, W), or (B, C, H, W, D) whose slices along D are segmented one by one; intensities
                on the 0..1 scale, H and W multiples of 16.
            label: class indices (B, 1, H, W) or (B, 1, H, W, D), for networks that train with their help.

        Returns:
            In evaluation mode float32 logits (B, K+1, H, W) or (B, K+1, H, W, D), background first; a
            MetaTensor with the image's meta data if the image is one. In training mode the list
            [logits at full size, further outputs of the decoder at their own sizes].

        Raises:
            ValueError: wrong number of axes or channels, or sides that are no multiples of 16.
        """
        pixels, classes = plain(image), plain(label)
        if pixels.ndim not in (4, 5):
            shape = tuple(pixels.shape)
            raise UserFault(f"{self.title}: image must be (B, C, H, W) or (B, C, H, W, D), got {shape}.")
        batch = pixels.shape[0]
        fold = fold_slices if pixels.ndim == 5 else _as_it_is
        flat = fold(pixels)
        depth = 1 if pixels.ndim == 4 else sides(pixels, 4)[0]
        outputs = self.decode_slices(flat, None if classes is None else fold(classes), depth)
        size = sides(flat, 2, 3)
        if self.training:
            outputs = self.training_outputs(outputs, size)
            return outputs if pixels.ndim == 4 else [unfold_slices(logits, batch) for logits in outputs]
        logits = self.combine(outputs, size)
        logits = logits if pixels.ndim == 4 else unfold_slices(logits, batch)
        return MetaTensor(logits).copy_meta_from(image) if isinstance(image, MetaTensor) else logits

    def training_outputs(self, outputs: list[Tensor], size: tuple[int, ...]) -> list[Tensor]:
        """What `decode` gave → what the loss supervises: the first at full size, then all of them as they are."""
        if sides(outputs[0], 2, 3) == size:
            return outputs
        return [enlarge(outputs[0], size), *outputs]

    def check_channels(self, image: Tensor) -> None:
        """Raise ValueError unless (B, C, H, W) has the channels that the network was built for."""
        if not torch.jit.is_tracing() and image.shape[1] != self.in_channels:
            raise UserFault(
                f"{self.title}: image must have {self.in_channels} channels, got {image.shape[1]}."
            )

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script`, and thus MONAI's `ckpt_export`, exports in this network's place."""
        from pgsam_monai.networks.traced import TracedNetwork

        return TracedNetwork(self)


def fold_slices(volume: Tensor) -> Tensor:
    """(B, C, H, W, D) → (B * D, C, H, W)."""
    return volume.permute(0, 4, 1, 2, 3).flatten(0, 1)


def unfold_slices(slices: Tensor, batch: int) -> Tensor:
    """The inverse of `fold_slices`: (B * D, C, H, W) → (B, C, H, W, D)."""
    return slices.unflatten(0, (batch, -1)).permute(0, 2, 3, 4, 1)


def plain(image: Tensor | None) -> Tensor | None:
    """The tensor without MONAI's meta data."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _as_it_is(image: Tensor) -> Tensor:
    return image
