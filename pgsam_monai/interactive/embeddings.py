"""Embeddings of a volume's slices: each slice is encoded once, however many prompts follow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from pgsam_monai.inference.precision import autocast
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.volume import Volume
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.transforms.fit import fit_image
from pgsam_monai.transforms.stacks import Stack, stacks_over


class SliceEmbeddings:
    """Makes embeddings when they are first asked for and keeps the latest asked within `memory_gb`.

    A network whose slices see each other encodes a slice's whole stack, and all that the stack is kept for; which
    stack that is doesn't depend on the order of questions and is the same as in `inference.slices.SliceInferer`.
    """

    def __init__(self, model: PromptModel, volume: Volume, *, memory_gb: float = 0.5) -> None:
        """
        Args:
            model: whose network encodes.
            volume: whose slices.
            memory_gb: at most so many bytes, 1e9 each, stay between calls of ``of``, on the network's device. One
                slice of SAM's encoders takes 4 MB in float32 at 1024 pixels.
        """
        self.model, self.volume = model, volume
        self.encoded = 0
        """slices that went through the encoder so far"""
        self._limit = memory_gb * 1e9
        self._stacks = stacks_over(
            volume.image.shape[-1], stack_depth=model.network.stack_depth, overlap=model.stack_overlap
        )
        self._stack_of = {
            stack.slices[position]: number
            for number, stack in enumerate(self._stacks)
            for position in stack.kept
        }
        self._kept: OrderedDict[int, ImageFeatures] = OrderedDict()

    def of(self, slices: Sequence[int]) -> ImageFeatures:
        """Features of n slices, in their order: embedding (n, 256, h, w)."""
        missing = sorted({self._stack_of[index] for index in slices if index not in self._kept})
        found = {index: self._kept[index] for index in slices if index in self._kept}
        count = max(1, self.model.batch_size // self.model.network.stack_depth)
        for start in range(0, len(missing), count):
            made = self._encode([self._stacks[number] for number in missing[start : start + count]])
            found |= {index: features for index, features in made.items() if index in slices}
            self._kept |= made
        for index in slices:
            self._kept.move_to_end(index)
        self._forget(keep=len(set(slices)))
        return _join([found[index] for index in slices])

    def forget_before(self, index: int) -> None:
        """Drop what is kept of the slices below `index`, for who goes through a volume and doesn't come back."""
        for known in [known for known in self._kept if known < index]:
            del self._kept[known]

    @torch.no_grad()
    def _encode(self, stacks: Sequence[Stack]) -> dict[int, ImageFeatures]:
        """Features (1, …) of every slice that these stacks are kept for."""
        model, depth = self.model, self.model.network.stack_depth
        order = [index for stack in stacks for index in stack.slices]
        batch = self.volume.image[..., order].movedim(-1, 0).to(model.device)  # (n * depth, C, H, W)
        with autocast(model.device, model.precision):
            features = model.network.embed(fit_image(batch, self.volume.frame), depth=depth)
        self.encoded += len(order)
        # copies: a view of one slice would keep the whole batch in memory
        return {
            stack.slices[position]: _row(features, number * depth + position)
            for number, stack in enumerate(stacks)
            for position in stack.kept
        }

    def _forget(self, *, keep: int) -> None:
        sizes = [_bytes(features) for features in self._kept.values()]
        total = sum(sizes)
        for size in sizes[: max(0, len(sizes) - keep)]:
            if total <= self._limit:
                return
            self._kept.popitem(last=False)
            total -= size


def _row(features: ImageFeatures, row: int) -> ImageFeatures:
    def cut(tensor: Tensor) -> Tensor:
        return tensor[row : row + 1].clone()

    return ImageFeatures(cut(features.embedding), tuple(cut(skip) for skip in features.skips))


def _join(rows: Sequence[ImageFeatures]) -> ImageFeatures:
    if len(rows) == 1:
        return rows[0]
    skips = zip(*(row.skips for row in rows), strict=True)
    return ImageFeatures(torch.cat([row.embedding for row in rows]), tuple(torch.cat(skip) for skip in skips))


def _bytes(features: ImageFeatures) -> int:
    return sum(tensor.nbytes for tensor in (features.embedding, *features.skips))
