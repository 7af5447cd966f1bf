"""Asks the network about classes on slices: each is encoded once, however many prompts follow; and what it answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.volume import Place, SlicedVolume
from pgsam_monai.networks.precision import autocast
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.prompts.points import PointList, Prompts, point_list, stack_points
from pgsam_monai.transforms.fit import enlarge, fit_image, on_slices, resize, unfit_labels
from pgsam_monai.voxels.frame import SliceFrame
from pgsam_monai.voxels.stacks import Stack, stacks_over


class SliceEmbeddings:
    """Makes embeddings when they are first asked for and keeps the latest asked within `memory_gb`.

    A network whose slices see each other encodes a slice's whole stack, and all that the stack is kept for; which
    stack that is doesn't depend on the order of questions and is the same as in `inference.slices.SliceInferer`.
    """

    def __init__(self, model: PromptModel, volume: SlicedVolume, *, memory_gb: float = 0.5) -> None:
        """
        Args:
            model: whose network encodes.
            volume: whose slices.
            memory_gb: at most so many bytes, 1e9 each, stay between calls of `of`, on the network's device. One
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
        features = model.embed(fit_image(batch, self.volume.frame))
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


@dataclass(frozen=True, kw_only=True)
class SlicePrompt:
    """All prompts about one class on one slice."""

    points: PointList = point_list()
    """in the network's square"""
    mask: Tensor | None = None
    """(h, w) logits, 4 x the embedding's side"""


def answer(embeddings: SliceEmbeddings, questions: Mapping[Place, SlicePrompt]) -> dict[Place, Tensor]:
    """The network's logits (h, w), float32 on its device, for each question; positive inside.

    Questions about one slice share its embedding, and are asked in batches of the model's size.
    """
    answers: dict[Place, Tensor] = {}
    places = iter(sorted(questions))
    while part := list(islice(places, max(1, embeddings.model.batch_size))):
        answers |= _answer_batch(embeddings, {place: questions[place] for place in part})
    return answers


@torch.no_grad()
def _answer_batch(embeddings: SliceEmbeddings, questions: Mapping[Place, SlicePrompt]) -> dict[Place, Tensor]:
    model = embeddings.model
    slices = sorted({place.slice for place in questions})
    rows = {index: row for row, index in enumerate(slices)}
    features = embeddings.of(slices)
    lists = [[point_list() for _ in model.names] for _ in slices]
    for place, question in questions.items():
        lists[rows[place.slice]][place.index - 1] = question.points
    prompts = stack_points(lists, model.device)
    masked = {place: question.mask for place, question in questions.items() if question.mask is not None}
    if masked:
        size = [4 * side for side in features.embedding.shape[2:]]
        prompts = _with_masks(
            prompts, {(rows[at.slice], at.index): mask for at, mask in masked.items()}, size
        )
    with autocast(model.device, model.precision):
        logits = model.network.answer(features, prompts)
    return {place: logits[rows[place.slice], place.index - 1].float() for place in questions}


def _with_masks(prompts: Prompts, masks: Mapping[tuple[int, int], Tensor], size: Sequence[int]) -> Prompts:
    B, K = prompts.labels.shape[:2]
    given = prompts.points.new_zeros(B, K, *size)
    has_mask = prompts.labels.new_zeros(B, K, dtype=torch.bool)
    for (row, index), mask in masks.items():
        # a mask that was corrected is as large as the square
        given[row, index - 1] = resize(mask[None, None], tuple(size))[0, 0]
        has_mask[row, index - 1] = True
    return prompts._replace(masks=given, has_mask=has_mask)


@torch.no_grad()
def ask_everything(embeddings: SliceEmbeddings, slices: Sequence[int]) -> Tensor:
    """The network's logits (n, K+1, h, w) of n slices without any prompt, background first, on its device."""
    model = embeddings.model
    features = embeddings.of(slices)
    with autocast(model.device, model.precision):
        return model.network.everything(features).float()


def shown_without_prompts(embeddings: SliceEmbeddings, slices: Sequence[int]) -> np.ndarray:
    """What the network finds on n slices without any prompt: class indices (n, H, W)."""
    frame = embeddings.volume.frame
    square = enlarge(ask_everything(embeddings, slices), (frame.image_size, frame.image_size))
    return unfit_labels(square, frame)[:, 0].cpu().numpy()


def compete(answers: Mapping[int, Tensor], frame: SliceFrame, under: np.ndarray | None = None) -> np.ndarray:
    """Class indices (H, W) of a slice.

    Where classes that were asked about overlap, the highest logit wins, the lower index on a tie. Where none of them
    is above 0, `under` shows the other classes; what it says of those asked about counts no more.

    Args:
        answers: logits (h, w) by class index 1..K.
        frame: of the slice.
        under: class indices (H, W) without prompts; None for background.
    """
    indices = np.zeros((frame.height, frame.width), dtype=np.int16)
    if under is not None:
        indices[:] = under
        indices[np.isin(indices, list(answers))] = 0
    best = np.zeros((frame.height, frame.width), dtype=np.float32)
    for index in sorted(answers):
        rival = _on_slice(answers[index], frame)
        won = rival > best
        indices[won] = index
        best[won] = rival[won]
    return indices


def _on_slice(logits: Tensor, frame: SliceFrame) -> np.ndarray:
    """(h, w) of the square -> (H, W) of the slice."""
    return on_slices(logits[None, None], frame)[0, 0].cpu().numpy()


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
