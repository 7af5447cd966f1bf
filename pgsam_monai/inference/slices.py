"""Inferers: how a network walks over a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.confidence import SIDE, SoftDice, noted, wanted
from pgsam_monai.networks.precision import autocast
from pgsam_monai.networks.slices import fold_slices, unfold_slices
from pgsam_monai.transforms.fit import (
    both_labels,
    crop_logits,
    fit_image,
    papers_labels,
    resize,
    unfit_labels,
    unfit_logits,
)
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.voxels.frame import LINEAR, SliceFrame, slice_frame
from pgsam_monai.voxels.stacks import Stack, stacks_over

OUTPUTS = ("labels", "logits")
TAKES = {"labels": unfit_labels, "logits": unfit_logits, "papers": papers_labels, "both": both_labels}


class PrecisionInferer(Inferer):
    """Calls the network on the whole input under autocast, as training does; see `networks.precision.choose_dtype`."""

    def __init__(self, precision: str = "auto") -> None:
        super().__init__()
        self.precision = precision

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        with autocast(inputs.device, self.precision):
            return network(inputs, *args, **kwargs)


class SliceInferer(Inferer):
    """Runs a 2-D network slice by slice along the last axis and puts the result on the volume's own grid.

    `__call__(inputs, network)`: inputs (B, C, H, W, D), any float dtype, or (B, C, H, W) for one slice each;
    `network` is any callable from float32 (n, C, S, S) to logits (n, K+1, S, S). With a stack_depth d > 1 it is given
    stacks of neighbouring slices (n, C, S, S, d) and gives logits (n, K+1, S, S, d); each slice counts once
    (`voxels.stacks.stacks_over`). The inferer gives
    "labels": class indices (B, 1, H, W, D), uint8 (int16 above 255 classes);
    "logits": float32 (B, K+1, H, W, D), which needs (K+1) x 4 bytes a voxel;
    "papers": labels as the papers' code gives them (`transforms.fit.papers_labels`), "both": ours and these, as two
    channels (B, 2, H, W, D).
    A MetaTensor comes back as MetaTensor with the inputs' meta data, so that Invertd can restore it; that of labels
    tells how sure the network is, "soft_dice" (B, K+1), see `confidence`, of its own square without the padding.

    For labels, logits are resized and compared one class at a time: memory grows neither with the number of
    classes nor, beyond the result itself, with the volume, and it is faster than resizing all and arg-max.

    Args:
        image_size: side S of the network's input, pixels.
        fit: "pad" or "stretch", as in training (`transforms.fit`).
        batch_size: slices per forward pass, those of all its stacks together; at least one stack is run.
        output: "labels", "logits", "papers" or "both".
        progress: show a progress bar over the batches.
        precision: what the network computes in, see `networks.precision.choose_dtype`; logits are compared in float32.
        device: where the network runs. None: the inputs' device (MONAI's convention). Given, volume and
            result stay where the inputs are, for example on the CPU, and only the batches travel.
        stack_depth: slices that the network sees together.
        stack_overlap: slices that consecutive stacks share, 0 to stack_depth - 1; more cost time, and let slices at a
            stack's end see both of their neighbours.
        sampling: how slices come to the network's size, as in training (`voxels.frame.VIA`).
    """

    def __init__(
        self,
        image_size: int,
        fit: str = "pad",
        batch_size: int = 16,
        output: str = "labels",
        progress: bool = False,
        precision: str = "fp32",
        device: str | torch.device | None = None,
        stack_depth: int = 1,
        stack_overlap: int = 0,
        sampling: str = LINEAR,
    ) -> None:
        super().__init__()
        if output not in TAKES:
            raise UserFault(f"SliceInferer: output must be one of {tuple(TAKES)}, got {output!r}.")
        if batch_size < 1:
            raise UserFault(f"SliceInferer: batch_size must be at least 1, got {batch_size}.")
        if not 0 <= stack_overlap < stack_depth:
            raise UserFault(
                f"SliceInferer: needs a stack_depth of at least 1 and a smaller stack_overlap of at least 0, got"
                f" {stack_depth} and {stack_overlap}."
            )
        slice_frame(1, 1, image_size, fit, sampling)
        self.image_size, self.fit, self.sampling = image_size, fit, sampling
        self.batch_size, self.output, self.progress = batch_size, output, progress
        self.precision = precision
        self.device = None if device is None else torch.device(device)
        self.stack_depth, self.stack_overlap = stack_depth, stack_overlap

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if inputs.ndim not in (4, 5):
            raise UserFault(
                f"SliceInferer: inputs must be (B, C, H, W[, D]), got shape {tuple(inputs.shape)}."
            )
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        volume = volume if volume.ndim == 5 else volume[..., None]
        B, C, H, W, D = volume.shape
        slices = volume.permute(0, 4, 1, 2, 3)  # (B, D, C, H, W), a view
        told = wanted.get() and self.output in ("labels", "both") and isinstance(inputs, MetaTensor)
        sure = [SoftDice() for _ in range(B)] if told else []
        result = self._run(slices, self._frame(H, W), sure, network, *args, **kwargs)
        result = result.permute(0, 2, 3, 4, 1)  # (B, n, H, W, D)
        return noted(with_meta_of(result if inputs.ndim == 5 else result[..., 0], inputs), sure)

    def probabilities(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Volumes (B, C, H, W, D) -> (B, K+1, h, w, D) softmax, float16, over the volumes' field from edge to edge.

        h and w are the network's or the volume's, whichever are fewer, and the volume's where slices were sampled from
        corner to corner: `inference.ensemble` brings them onto the grid, by pixel centres.
        """
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        slices = volume.permute(0, 4, 1, 2, 3)
        frame = self._frame(*slices.shape[3:])
        return self._run(slices, frame, (), network, *args, take=_soft, **kwargs).permute(0, 2, 3, 4, 1)

    def _frame(self, height: int, width: int) -> SliceFrame:
        return slice_frame(height, width, self.image_size, self.fit, self.sampling)

    @torch.no_grad()
    def _run(
        self,
        slices: torch.Tensor,
        frame: SliceFrame,
        sure: Sequence[SoftDice],
        network: Callable[..., torch.Tensor],
        *args: Any,
        take: Callable[[torch.Tensor, SliceFrame], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(B, D, C, H, W) -> (B, D, 1, 2 or K+1, H, W) on the slices' device.

        `sure`, none or B, hear the logits; `take` is what is made of a batch's.
        """
        take = take or TAKES[self.output]
        B, D = slices.shape[:2]
        if B * D == 0:
            raise UserFault(f"SliceInferer: no slices in inputs of batch and depth {(B, D)}.")
        stacks = stacks_over(D, stack_depth=self.stack_depth, overlap=self.stack_overlap)
        walk = [(b, stack) for b in range(B) for stack in stacks]
        count, result = max(1, self.batch_size // self.stack_depth), None
        steps = range(0, len(walk), count)
        for start in tqdm(steps, unit="batch", leave=False) if self.progress else steps:
            part = walk[start : start + count]
            batch = torch.stack([slices[b, d] for b, stack in part for d in stack.slices])
            logits = self._predict(batch.to(self.device or slices.device), frame, network, *args, **kwargs)
            where = [(b, stack.slices[n]) for b, stack in part for n in stack.kept]
            logits = _kept(logits, [stack for _, stack in part], self.stack_depth)
            pieces = take(logits, frame)
            if result is None:
                result = torch.empty((B, D, *pieces.shape[1:]), dtype=pieces.dtype, device=slices.device)
            result[tuple(zip(*where, strict=True))] = pieces.to(slices.device)
            step = max(1, frame.image_size // SIDE)
            items = [b for b, _ in where]
            for b in sorted(set(items)) if sure else ():
                first = items.index(b)  # the walk goes volume by volume
                rows = slice(first, first + items.count(b))
                sure[b].add(logits[rows, :, : frame.fitted_height : step, : frame.fitted_width : step])
        return result

    def _predict(
        self,
        batch: torch.Tensor,
        frame: SliceFrame,
        network: Callable[..., torch.Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Slices (n * d, C, H, W), stack after stack -> logits (n * d, K+1, S, S)."""
        image = fit_image(batch, frame)
        if self.stack_depth > 1:
            image = unfold_slices(image, len(batch) // self.stack_depth)
        with autocast(batch.device, self.precision):
            logits = _first(network(image, *args, **kwargs))
        return logits if self.stack_depth == 1 else fold_slices(logits)


def _kept(logits: torch.Tensor, stacks: Sequence[Stack], stack_depth: int) -> torch.Tensor:
    """(n * d, K+1, S, S) -> the rows whose results are used."""
    rows = [n * stack_depth + position for n, stack in enumerate(stacks) for position in stack.kept]
    return logits if len(rows) == len(logits) else logits[rows]


def _soft(logits: torch.Tensor, frame: SliceFrame) -> torch.Tensor:
    """(n, K+1, S, S) -> float16 (n, K+1, h, w), no finer than the slice."""
    found = crop_logits(logits, frame).softmax(dim=1)
    if frame.corners:
        return unfit_logits(found, frame).half()
    return resize(found, (min(found.shape[2], frame.height), min(found.shape[3], frame.width))).half()


def _first(output: Any) -> torch.Tensor:
    """Deep supervision puts the final logits first."""
    return output[0] if isinstance(output, list | tuple) else output
