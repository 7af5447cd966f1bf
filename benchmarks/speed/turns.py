"""What each contender is asked to do in a turn, and the turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speed.reference import evaluate_plainly, plain_attention
from speed.timing import evaluate, make_step, measure, time_parts

STEP = "per training step of {}"
EVALUATION = "per slice, evaluation, "
TRAINED, MERGED = EVALUATION + "as trained, {} at a time", EVALUATION + "merged, {} at a time"
SINGLE = EVALUATION + "adapters unmerged, 1 at a time"

Seconds = dict[str, dict[str, list[float]]]
"""By row of a table and contender: a value per turn."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The pictures that everyone gets."""

    image: Tensor
    """(B, 1, H, W)"""
    label: Tensor
    """class indices, likewise"""
    evaluated: Sequence[int]
    """How many slices an evaluation takes at a time."""
    trained: int
    """How many a training step takes."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is timed of one network."""

    title: str
    works: Mapping[str, tuple[Callable[[], object], int]]
    """By row: what is timed, and how many slices share its seconds."""
    parted: tuple[nn.Module, Callable[[], object], int]
    """The network whose parts are timed, an evaluation by it, and how many slices share the seconds."""


def make_contender(title: str, network: nn.Module, merged: nn.Module, batch: Batch) -> Contender:
    """A network as bundles run it: evaluated as trained and merged, at each batch size, and trained."""

    def evaluation(which: nn.Module, size: int) -> tuple[Callable[[], object], int]:
        return lambda: evaluate(which.eval(), batch.image[:size]), size

    step = make_step(network, batch.image[: batch.trained], batch.label[: batch.trained])
    works = {TRAINED.format(size): evaluation(network, size) for size in batch.evaluated}
    works |= {MERGED.format(size): evaluation(merged, size) for size in batch.evaluated}
    works[STEP.format(batch.trained)] = (step, 1)
    return Contender(title=title, works=works, parted=(merged, *evaluation(merged, max(batch.evaluated))))


def make_plain_contender(title: str, reference: nn.Module, batch: Batch) -> Contender:
    """The reference: slices one at a time whatever the batch, training steps of whole batches, float32."""
    image, most = batch.image, max(batch.evaluated)
    step = make_step(reference, image[: batch.trained], batch.label[: batch.trained], precision="fp32")

    def evaluation() -> Tensor:
        return evaluate_plainly(reference.eval(), image[:most])

    def train() -> None:
        with plain_attention():
            step()

    works = {SINGLE: (evaluation, most), STEP.format(batch.trained): (train, 1)}
    return Contender(title=title, works=works, parted=(reference, evaluation, most))


def take_turns(contenders: Sequence[Contender], turns: int, device: torch.device) -> tuple[Seconds, Seconds]:
    """Seconds by row and contender, and of the parts of an evaluation by part and contender; a value per turn."""
    rows: Seconds = {}
    parts: Seconds = {}
    for turn in range(turns + 1):
        for contender in contenders:
            seconds = {row: measure(work, device) / share for row, (work, share) in contender.works.items()}
            network, evaluation, share = contender.parted
            network.eval()
            spent = time_parts(network, evaluation, device, slices=share)
            if turn:  # the first warms up
                _append(rows, contender.title, seconds)
                _append(parts, contender.title, spent)
    return rows, parts


def _append(table: Seconds, title: str, seconds: Mapping[str, float]) -> None:
    for row, value in seconds.items():
        table.setdefault(row, {}).setdefault(title, []).append(value)
