"""How a 3-D network walks over a volume: at the planned spacing, in overlapping patches, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.inferers import Inferer

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.confidence import SoftDice, noted, wanted
from pgsam_monai.inference.slabs import Layout, thinnest_axis, walk
from pgsam_monai.inference.slices import OUTPUTS
from pgsam_monai.networks.precision import autocast
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.transforms.resample import resample_stretch, resample_volume
from pgsam_monai.voxels.grid import Size, grid_size
from pgsam_monai.voxels.resampling import Stretch, reach, resampled_classes

SLAB = 16
"""rows of a volume whose softmax is computed at once"""


class PatchInferer(Inferer):
    """Runs a 3-D network in overlapping patches and puts the result on the volume's own grid.

    `__call__(inputs, network)`: inputs (B, C, H, W, D), any float dtype; `network` is any callable from float32
    (n, C, *patch) to logits (n, K+1, *patch), alone or first of a list or tuple. The inferer gives
    "labels": class indices (B, 1, H, W, D), uint8 (int16 above 255 classes);
    "logits": float32 (B, K+1, H, W, D).
    A MetaTensor comes back as MetaTensor with the inputs' meta data, so that Invertd can restore it; that of labels
    tells how sure the network is, "soft_dice" (B, K+1), see `confidence`, by the logits at the planned spacing.

    Each volume is resampled once to the planned spacing (`transforms.resample`), as training patches are, and walked as
    MONAI's SlidingWindowInferer does it, with its Gaussian weights; a volume smaller than the patch lies in one between
    zeros. For labels the walk goes slab by slab (`inference.slabs`): planes that no window reaches any more are
    restored to the volume's own grid and compared, and only their labels are kept. Held are (K+1) x 4 bytes a voxel of
    a slab as thick as the patch, across the volume where that is least; x 2 where x 4 is above `slabs.LIMIT`. Logits of
    few voxels and classes (`slabs.WHOLE`), and those that are asked for, are held whole at the planned spacing.

    Args:
        patch: voxels of the network's input (rows, columns, slices), as in training.
        spacing: mm of the patch's voxels in the same order, as in training; None: the volume's own.
        overlap: of consecutive patches along each axis, as a share of the patch, 0 to below 1.
        batch_size: patches per forward pass.
        output: "labels" or "logits".
        progress: show a progress bar over the batches.
        precision: what the network computes in, see `networks.precision.choose_dtype`; logits are weighted and
            compared in float32.
        device: where the network runs. None: the inputs' device (MONAI's convention). Given, volume, logits and
            result stay where the inputs are, for example on the CPU, and only the batches travel.
    """

    def __init__(
        self,
        patch: Sequence[int],
        spacing: Sequence[float] | None = None,
        overlap: float = 0.5,
        batch_size: int = 1,
        output: str = "labels",
        progress: bool = False,
        precision: str = "fp32",
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        if len(patch) != 3 or min(patch) < 1:
            raise UserFault(
                f"PatchInferer: patch must be voxels (rows, columns, slices), at least 1 each, got {patch}."
            )
        if not 0 <= overlap < 1:
            raise UserFault(f"PatchInferer: overlap must be a share of the patch below 1, got {overlap}.")
        if batch_size < 1:
            raise UserFault(f"PatchInferer: batch_size must be at least 1, got {batch_size}.")
        if output not in OUTPUTS:
            raise UserFault(f"PatchInferer: output must be one of {OUTPUTS}, got {output!r}.")
        self.patch, self.spacing = tuple(patch), None if spacing is None else tuple(spacing)
        self.overlap, self.batch_size = overlap, batch_size
        self.output, self.progress, self.precision = output, progress, precision
        self.device = None if device is None else torch.device(device)

    @torch.no_grad()
    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if self.output == "logits":
            return with_meta_of(self._run(inputs, restore_logits, None, network, *args, **kwargs), inputs)
        told, heard = wanted.get() and isinstance(inputs, MetaTensor), []

        def planes(grid: Size, size: Size) -> LabelPlanes:
            if told:
                heard.append(SoftDice())
            return LabelPlanes(grid, size, thinnest_axis(grid, self.patch), heard[-1] if told else None)

        def take(logits: torch.Tensor, size: Size) -> torch.Tensor:
            if told:
                heard[-1].add(logits[None])
            return restore_labels(logits, size)

        labels = self._run(inputs, take, planes, network, *args, **kwargs)
        return noted(with_meta_of(labels, inputs), heard)

    @torch.no_grad()
    def probabilities(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Volumes (B, C, H, W, D) -> (B, K+1, h, w, d) softmax, float16, over the volumes' field from edge to edge.

        h, w and d are those of the planned spacing or of the volume, along each axis whichever are fewer:
        `inference.ensemble` brings them onto the grid.
        """
        return self._run(inputs, soft, None, network, *args, **kwargs)

    def _run(
        self,
        inputs: torch.Tensor,
        take: Callable[[torch.Tensor, Size], torch.Tensor],
        planes: Callable[[Size, Size], LabelPlanes] | None,
        network: Callable[..., torch.Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(B, C, H, W, D) -> (B, n, h, w, d), what `take` makes of a volume's logits and its size, or `planes` of them
        in pieces, made of the planned grid and the volume's size."""
        if inputs.ndim != 5 or not inputs.numel():
            raise UserFault(
                f"PatchInferer: inputs must be (B, C, H, W, D) with voxels, got shape {tuple(inputs.shape)}."
            )

        def predict(windows: torch.Tensor) -> torch.Tensor:
            with autocast(windows.device, self.precision):
                output = network(windows, *args, **kwargs)
            return self._logits(output, windows)

        def one(volume: torch.Tensor, grid: Size) -> torch.Tensor:
            size = tuple(volume.shape[1:])
            taker = planes(grid, size) if planes else None
            logits = self._walk(volume, grid, taker, predict)
            return taker.labels if logits is None else take(logits, size)

        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        results = [one(*pair) for pair in zip(volumes, self._grids(inputs), strict=True)]
        # no second copy of a single volume's logits
        return results[0][None] if len(results) == 1 else torch.stack(results)

    def _walk(
        self, volume: torch.Tensor, grid: Size, taker: LabelPlanes | None, predict: Callable
    ) -> torch.Tensor | None:
        """(C, H, W, D) -> logits (K+1, *grid) on the volume's device, or None if the taker got them."""
        layout = Layout(size=grid, patch=self.patch, overlap=self.overlap, axis=taker.axis if taker else 0)
        return walk(
            resample_volume(volume, grid), layout, predict, batch_size=self.batch_size,
            device=self.device or volume.device, taker=taker, progress=self.progress,
        )  # fmt: skip

    def _logits(self, output: Any, windows: torch.Tensor) -> torch.Tensor:
        """A network's output for windows (n, C, *patch) -> its logits (n, K+1, *patch)."""
        logits = output[0] if isinstance(output, list | tuple) else output
        if logits.shape[2:] != windows.shape[2:]:
            raise UserFault(
                f"PatchInferer: logits must be as large as the patch {self.patch}, got {tuple(logits.shape[2:])};"
                " give the inferer the network's patch."
            )
        return logits

    def _grids(self, inputs: torch.Tensor) -> list[Size]:
        """Size of each volume at the planned spacing."""
        shape = tuple(inputs.shape[2:])
        if self.spacing is None:
            return [shape] * len(inputs)
        if not isinstance(inputs, MetaTensor):
            raise UserFault(
                f"PatchInferer: resampling to {list(self.spacing)} mm needs the volume's own spacing, got a tensor"
                " without affine; keep MONAI's meta data on the inputs, or use an inferer with spacing None."
            )
        affines = inputs.affine.cpu()
        affines = affines if affines.ndim == 3 else affines.expand(len(inputs), 4, 4)
        return [grid_size(shape, affine_to_spacing(affine).tolist(), self.spacing) for affine in affines]


class LabelPlanes:
    """Label map of a volume (1, *size), made from planes of its logits as the walk hands them on.

    Args:
        grid: of the logits, at the planned spacing.
        size: the volume's own.
        axis: of the three, across which the planes lie.
        sure: hears every plane once; None: nobody does.
    """

    def __init__(self, grid: Size, size: Size, axis: int, sure: SoftDice | None) -> None:
        self.grid, self.size, self.axis, self.sure = grid, size, axis, sure
        self.firsts, self.lasts = reach(grid[axis], size[axis])
        self.labels: torch.Tensor | None = None
        self.placed = 0
        """planes of the label map that are made"""

    def kept(self, final: int) -> int:
        """First plane of the grid that later planes of the label map are made of, if those below `final` are there."""
        waiting = self._made_of(final)
        return min(final, int(self.firsts[waiting])) if waiting < len(self.firsts) else final

    def take(self, logits: torch.Tensor, first: int, new: int) -> None:
        """Planes of the grid from `first` on, float32 (K+1, h, w, d); those from `new` on weren't here before."""
        count = logits.shape[self.axis + 1]
        if self.sure is not None:
            self.sure.add(logits.narrow(self.axis + 1, new - first, first + count - new)[None])
        start, stop = self.placed, self._made_of(first + count)
        if start == stop:
            return
        stretch = Stretch(
            axis=self.axis, source=self.grid[self.axis], target=self.size[self.axis], first=first, start=start,
            stop=stop,
        )  # fmt: skip
        size = tuple(stop - start if axis == self.axis else own for axis, own in enumerate(self.size))
        made = restore_labels(logits, size, stretch)
        if self.labels is None:
            self.labels = torch.empty((1, *self.size), dtype=made.dtype, device=made.device)
        self.labels.narrow(self.axis + 1, start, stop - start).copy_(made)
        self.placed = stop

    def _made_of(self, final: int) -> int:
        """How many planes of the label map need no others than those below `final`."""
        return int(np.searchsorted(self.lasts, final))


def restore_logits(logits: torch.Tensor, size: Size) -> torch.Tensor:
    """(K+1, h, w, d) -> (K+1, *size), float32."""
    if tuple(logits.shape[1:]) == size:
        return logits
    restored = torch.empty((len(logits), *size), device=logits.device)
    for index in range(len(logits)):
        restored[index] = resample_volume(logits[index : index + 1], size)[0]
    return restored


def restore_labels(logits: torch.Tensor, size: Size, stretch: Stretch | None = None) -> torch.Tensor:
    """(K+1, h, w, d) -> (1, *size) class of the highest restored logit, the lower index on a tie.

    `stretch`: both are parts of larger ones, cut across its axis.
    """
    shape, whole = list(logits.shape[1:]), list(size)
    if stretch is not None:
        shape[stretch.axis], whole[stretch.axis] = stretch.source, stretch.target
    if logits.device.type == "cpu" and all(own <= target for own, target in zip(shape, whole, strict=True)):
        # what shrinks is brought to its size first, all classes at once
        return torch.from_numpy(resampled_classes(logits.numpy(), size, stretch=stretch))[None]
    moves = stretch is not None and stretch.source != stretch.target

    def restored(index: int) -> torch.Tensor:
        one = logits[index : index + 1]
        return resample_volume(resample_stretch(one, stretch) if moves else one, size)

    dtype = torch.uint8 if len(logits) <= 256 else torch.int16
    labels = torch.zeros((1, *size), dtype=dtype, device=logits.device)
    best = restored(0).clone()  # its own: at equal size it is the logits' memory
    for index in range(1, len(logits)):
        rival = restored(index)
        labels.masked_fill_(rival > best, index)
        torch.maximum(best, rival, out=best)
    return labels


def soft(logits: torch.Tensor, size: Size) -> torch.Tensor:
    """(K+1, h, w, d) logits, which are lost -> float16 softmax (K+1, *the fewer voxels of h, w, d and of `size`)."""
    for rows in logits.split(SLAB, dim=1):  # in place: another copy of all would be the largest thing here
        rows.copy_(rows.softmax(dim=0))
    kept = tuple(min(own, other) for own, other in zip(logits.shape[1:], size, strict=True))
    found = torch.empty((len(logits), *kept), dtype=torch.float16, device=logits.device)
    for index in range(len(logits)):
        found[index] = resample_volume(logits[index : index + 1], kept)[0]
    return found
