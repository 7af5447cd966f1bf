"""How a 3-D network's windows are put together: along one axis, and what no window reaches any more is handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor
from tqdm import tqdm

from pgsam_monai.voxels.grid import Size

WHOLE = 1 << 29
"""bytes: logits of a volume that take no more are held until its end, whatever is made of them"""
LIMIT = 4e9
"""bytes of the planes that are held at once; where float32 takes more they are held in float16, whose rounding is finer
than that of a network in bfloat16"""
PIECE = 1 << 28
"""bytes of logits that are handed on at once, one plane at least"""
VALUES = 1 << 20
"""of a window that are weighted at once: they stay in a processor's cache"""
LARGEST = torch.finfo(torch.float16).max

Place = tuple[slice, ...]


class Taker(Protocol):
    """Makes something of the planes of a volume's logits, in their order along one axis."""

    def kept(self, final: int) -> int:
        """First plane that will be asked for again once all planes below `final` have been taken."""
        ...

    def take(self, logits: Tensor, first: int, new: int) -> None:
        """Planes from `first` on, float32 (K+1, h, w, d), lost afterwards; those from `new` on for the first time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where windows lie over a volume: where MONAI's SlidingWindowInferer places them, row after row along an axis."""

    size: Size
    """voxels of the volume"""
    patch: Size
    overlap: float
    axis: int
    """of the three, along which the walk goes"""

    @property
    def padded(self) -> Size:
        """A volume smaller than the patch lies in the middle of zeros."""
        return tuple(max(own, side) for own, side in zip(self.size, self.patch, strict=True))

    @property
    def before(self) -> Size:
        """Zeros before the volume."""
        return tuple((wide - own) // 2 for wide, own in zip(self.padded, self.size, strict=True))

    @cached_property
    def places(self) -> list[Place]:
        """Of all windows within the padded volume."""
        steps = [
            side if side == wide else max(1, int(side * (1 - self.overlap)))
            for side, wide in zip(self.patch, self.padded, strict=True)
        ]
        places = dense_patch_slices(self.padded, self.patch, steps)
        return sorted(places, key=lambda place: place[self.axis].start)

    def pad(self, volume: Tensor) -> Tensor:
        """(C, *size) -> (C, *padded)."""
        after = [
            wide - own - first for wide, own, first in zip(self.padded, self.size, self.before, strict=True)
        ]
        pairs = list(zip(self.before, after, strict=True))
        return F.pad(volume, [count for pair in reversed(pairs) for count in pair]) if any(after) else volume

    def planes(self, kept: Callable[[int], int]) -> int:
        """Most planes that are held at once, of which `Taker.kept` tells."""
        side = self.patch[self.axis]
        starts = {int(place[self.axis].start) for place in self.places}
        return max(start + side - kept(start) for start in starts)


def thinnest_axis(size: Size, patch: Sequence[int]) -> int:
    """The axis along which the walk holds least: a window's planes across the whole volume."""
    held = [prod(size) // own * min(own, side) for own, side in zip(size, patch, strict=True)]
    return held.index(min(held))


class Slabs:
    """Sums of weighted logits in the planes that windows still reach; the others are handed on, or all are kept.

    Args:
        layout: of the windows.
        number: K+1.
        device: of the sums.
        taker: None: every plane is kept.
    """

    def __init__(self, layout: Layout, number: int, device: torch.device, taker: Taker | None) -> None:
        self.layout, self.axis = layout, layout.axis
        if prod(layout.size) * number * 4 <= WHOLE:
            taker = None
        self.taker = taker
        self.planes = layout.padded[self.axis] if taker is None else layout.planes(taker.kept)
        shape = list(layout.padded)
        shape[self.axis] = self.planes
        half = taker is not None and number * prod(shape) * 4 > LIMIT
        dtype = torch.float16 if half else torch.float32
        self.values = torch.zeros((number, *shape), dtype=dtype, device=device)
        self.weights = torch.zeros((1, *shape), device=device)
        self.pieces: Tensor | None = None
        self.first = 0
        """plane of the padded volume that is held first"""
        self.done = 0
        """planes of the volume that were handed on"""

    def add(self, place: Place, logits: Tensor, weight: Tensor) -> None:
        """A window's logits (K+1, *patch) of any float type, at its place, which comes after those before."""
        start = int(place[self.axis].start)
        if self.taker is not None and start > self.done:
            self._hand_on(start)
            self._drop(self.taker.kept(start))
        moved = slice(start - self.first, start - self.first + self.layout.patch[self.axis])
        where = tuple(moved if axis == self.axis else side for axis, side in enumerate(place))
        rows = max(1, VALUES // weight.numel())
        for row in range(0, len(logits), rows):
            part = (logits[row : row + rows].float() * weight).to(self.values.device)
            held = self.values[(slice(row, row + rows), *where)]
            if held.dtype == torch.float16:
                held.copy_(part.add_(held).clamp_(-LARGEST, LARGEST))
            else:
                held += part
        self.weights[(slice(None), *where)] += weight.to(self.weights.device)

    def finish(self) -> Tensor | None:
        """(K+1, *size) logits, float32, if all planes were kept; else the taker gets what is left."""
        if self.taker is not None:
            self._hand_on(self.layout.size[self.axis])
            return None
        self.values /= self.weights
        return self._inside(self.values)

    def _hand_on(self, final: int) -> None:
        one = self.values[0].numel() // self.planes * len(self.values) * 4
        while self.done < final:
            first, stop = self.taker.kept(self.done), min(final, self.done + max(1, PIECE // one))
            start = first + self.layout.before[self.axis] - self.first
            values, weights = (
                self._inside(sums.narrow(self.axis + 1, start, stop - first))
                for sums in (self.values, self.weights)
            )
            self.taker.take(torch.div(values, weights, out=self._piece(values.shape)), first, self.done)
            self.done = stop

    def _piece(self, shape: Sequence[int]) -> Tensor:
        """Memory for planes that are handed on, each time the same: new one costs as much as filling it."""
        if self.pieces is None or self.pieces.numel() < prod(shape):
            self.pieces = torch.empty(prod(shape), device=self.values.device)
        return self.pieces[: prod(shape)].view(shape)

    def _inside(self, sums: Tensor) -> Tensor:
        """Without the zeros around the volume, those along the walk apart from where all planes are kept."""
        for axis, (first, own) in enumerate(zip(self.layout.before, self.layout.size, strict=True)):
            if axis != self.axis or self.taker is None:
                sums = sums.narrow(axis + 1, first, own)
        return sums

    def _drop(self, first: int) -> None:
        """Planes below `first`, which make room for as many at the other end."""
        gone = first - self.first
        for sums in (*self.values, self.weights[0]):  # class by class, so that hardly anything is held twice
            sums.narrow(self.axis, 0, self.planes - gone).copy_(
                sums.narrow(self.axis, gone, self.planes - gone).clone()
            )
            sums.narrow(self.axis, self.planes - gone, gone).zero_()
        self.first = first


def walk(
    volume: Tensor,
    layout: Layout,
    predict: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    device: torch.device,
    taker: Taker | None = None,
    progress: bool = False,
) -> Tensor | None:
    """Run a network over a volume in windows, and put the answers together with MONAI's Gaussian weights.

    Args:
        volume: (C, *layout.size), float32; sums are held on its device.
        layout: of the windows.
        predict: windows (n, C, *patch) on `device` -> logits (n, K+1, *patch), which are left as they are.
        batch_size: windows at a time.
        device: where the network runs.
        taker: gets the planes of the logits, and None is returned, unless all together take `WHOLE` bytes at most.
        progress: show a bar over the batches.

    Returns:
        (K+1, *layout.size) logits, float32, on the volume's device.
    """
    padded, weight = layout.pad(volume), gaussian(layout.patch, device)
    slabs: Slabs | None = None

    def add(places: Sequence[Place]) -> None:
        nonlocal slabs
        batch = torch.stack([padded[(slice(None), *place)] for place in places]).to(device)
        for place, logits in zip(places, predict(batch), strict=True):
            slabs = slabs or Slabs(layout, len(logits), volume.device, taker)
            slabs.add(place, logits, weight)

    steps = range(0, len(layout.places), batch_size)
    for start in tqdm(steps, unit="batch", leave=False) if progress else steps:
        add(layout.places[start : start + batch_size])  # its logits are gone before the next ones are made
    return slabs.finish()


def gaussian(patch: Size, device: torch.device) -> Tensor:
    """Weights of a window's voxels, float32, those of MONAI's SlidingWindowInferer; small ones are raised, so that they
    are no product of three axes'."""
    return compute_importance_map(patch, mode="gaussian", sigma_scale=0.125, device=device)
