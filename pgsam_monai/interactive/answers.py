"""Asks the network about classes on slices, many at a time, and makes label maps of what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pgsam_monai.inference.precision import autocast
from pgsam_monai.inference.slices import unfit_labels
from pgsam_monai.interactive.embeddings import SliceEmbeddings
from pgsam_monai.networks.slices import enlarge
from pgsam_monai.prompts.points import PointList, Prompts, point_list, stack_points
from pgsam_monai.transforms.fit import SliceFrame, unfit_logits


class Place(NamedTuple):
    """A class on a slice: what one prompt is about."""

    slice: int
    """along the last axis of the preprocessed volume"""
    index: int
    """of the class, 1..K"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """All prompts about one class on one slice."""

    points: PointList = point_list()
    """in the network's square"""
    mask: Tensor | None = None
    """(h, w) logits, 4 x the embedding's side"""


def answer(embeddings: SliceEmbeddings, questions: Mapping[Place, Question]) -> dict[Place, Tensor]:
    """The network's logits (h, w), float32 on its device, for each question; positive inside.

    Questions about one slice share its embedding, and are asked in batches of the model's size.
    """
    answers: dict[Place, Tensor] = {}
    places = iter(sorted(questions))
    while part := list(islice(places, max(1, embeddings.model.batch_size))):
        answers |= _answer_batch(embeddings, {place: questions[place] for place in part})
    return answers


@torch.no_grad()
def _answer_batch(embeddings: SliceEmbeddings, questions: Mapping[Place, Question]) -> dict[Place, Tensor]:
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
        given[row, index - 1], has_mask[row, index - 1] = _resized(mask, size), True
    return prompts._replace(masks=given, has_mask=has_mask)


def _resized(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A mask that was corrected is as large as the square."""
    if list(mask.shape) == list(size):
        return mask
    return F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False, antialias=True)[
        0, 0
    ]


@torch.no_grad()
def ask_everything(embeddings: SliceEmbeddings, slices: Sequence[int]) -> Tensor:
    """The network's logits (n, K+1, h, w) of n slices without any prompt, background first, on its device."""
    model = embeddings.model
    features = embeddings.of(slices)
    with autocast(model.device, model.precision):
        return model.network.everything(features).float()


def against_others(everything: Tensor) -> Tensor:
    """An answer without prompts (K+1, h, w) -> logits (K, h, w) of each class against the best of all others."""
    best, second = everything.topk(2, dim=0).values
    own = everything[1:]
    return own - torch.where(own == best, second, best)


def on_slices(logits: Tensor, frame: SliceFrame) -> Tensor:
    """(n, K, h, w) of the square -> (n, K, H, W) of the slices, as evaluation of a whole volume gives them."""
    return unfit_logits(enlarge(logits, (frame.image_size, frame.image_size)), frame)


def compete(
    answers: Mapping[int, Tensor],
    frame: SliceFrame,
    everything: Tensor | None = None,
    shown: Mapping[int, Tensor] | None = None,
) -> np.ndarray:
    """Class indices (H, W) of a slice.

    Where classes that were asked about overlap, the highest logit wins, the lower index on a tie. Where none of them
    is above 0, `everything` shows the other classes, and what it says of those asked about counts no more. Classes
    whose clicks correct what `everything` shows keep it wherever the clicks changed nothing.

    Args:
        answers: logits (h, w) by class index 1..K.
        frame: of the slice.
        everything: logits (K+1, h, w) without prompts, background first; None for background.
        shown: of those classes that clicks correct, the logits before them.
    """
    indices, shown = np.zeros((frame.height, frame.width), dtype=np.int16), shown or {}
    if everything is not None:
        square = enlarge(everything[None], (frame.image_size, frame.image_size))
        indices[:] = unfit_labels(square, frame)[0, 0].cpu().numpy()
        indices[np.isin(indices, [index for index in answers if index not in shown])] = 0
    best = np.zeros((frame.height, frame.width), dtype=np.float32)
    for index in sorted(answers):
        rival = _on_slice(answers[index], frame)
        won = rival > best
        if index in shown:
            before = _on_slice(shown[index], frame) > 0
            indices[before & (rival <= 0) & (indices == index)] = 0
            won &= ~before
        indices[won] = index
        best[won] = rival[won]
    return indices


def _on_slice(logits: Tensor, frame: SliceFrame) -> np.ndarray:
    """(h, w) of the square -> (H, W) of the slice."""
    return on_slices(logits[None, None], frame)[0, 0].cpu().numpy()
