"""How sure a network is of each structure that it found: Soft Dice Confidence (Borges et al., 2024).

The Dice that a label map would have in the mean if its network's probabilities were true, but for the mean being taken
of numerator and denominator each. Networks are mostly too sure, hence no Dice to expect before it is calibrated
(`evaluation.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from monai.data import MetaTensor

wanted: ContextVar[bool] = ContextVar("wanted", default=True)
"""Whether inferers tell it: on a CPU it takes as long as a small network."""
KEY = "soft_dice"
"""of a label map's meta data: (B, K+1), of a decollated one (K+1,)"""
VALUES = 1 << 22
"""logits that are looked at together: beside them about as many floats are held, however many classes there are"""
CACHED = 1 << 18
"""numbers whose float64 stays in a processor's cache: a whole volume's took seven times as long to add up"""
SIDE = 256
"""pixels of a network's square that are looked at along each side: of twice as wide a one every second, for SAM's own
masks are a quarter as wide as its square"""


class SoftDice:
    """Gathers one image's Soft Dice Confidence from logits as they come, slices or sub-volumes of it.

    Of class c it is 2 Σ p_c over the voxels whose highest probability is p_c, over their number plus Σ p_c over all
    voxels (Borges et al., 2024, "Soft Dice Confidence: a near-optimal confidence estimator for selective prediction in
    semantic segmentation"). A voxel counts as often as it is added.
    """

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None

    def add(self, logits: torch.Tensor) -> None:
        """Logits (n, K+1, *spatial) of any float dtype, or log-probabilities; the lower index wins a tie."""
        rows = max(1, VALUES // logits[0].numel())
        for part in logits.split(rows):
            for piece in _pieces(part.flatten(2)):
                self._hear(_sums_of(piece.float()))

    def add_compared(self, labels: torch.Tensor, best: torch.Tensor, totals: torch.Tensor) -> None:
        """Probabilities that were compared one class at a time, as those never lie side by side.

        Of each voxel they may add up to any one number, such as that of networks whose probabilities were added up.

        Args:
            labels: (…) index of the most probable class.
            best: (…) its probability, float32.
            totals: (K+1,) `total_of` each class's.
        """
        pieces = zip(labels.flatten().split(CACHED), best.flatten().split(CACHED), strict=True)
        found = [_winners(index, highest, len(totals)) for index, highest in pieces]
        hits, voxels = torch.stack(found).sum(dim=0)
        whole = totals.sum() / labels.numel()
        self._hear(torch.stack([hits / whole, voxels, totals / whole]))

    def _hear(self, sums: torch.Tensor) -> None:
        """(3, K+1) as of `_sums_of`."""
        self._sums = sums.cpu() if self._sums is None else self._sums + sums.cpu()

    def per_class(self) -> torch.Tensor:
        """(K+1,) float32 on the CPU, 0 to 1; NaN of a class that is nowhere the most probable.

        Raises:
            ValueError: nothing was added.
        """
        if self._sums is None:
            raise ValueError("SoftDice: no logits were added.")
        hits, voxels, total = self._sums
        found = (2 * hits / (voxels + total)).clamp(max=1)  # rounded probabilities may add up to more
        return found.masked_fill(voxels == 0, float("nan")).float()


def soft_dice(probabilities: torch.Tensor) -> torch.Tensor:
    """Soft Dice Confidence of a whole image: probabilities (K+1, *spatial) of any float dtype -> (K+1,)."""
    gathered = SoftDice()
    for piece in _pieces(probabilities.flatten(1)[None]):
        gathered.add(piece.float().log())
    return gathered.per_class()


def total_of(probabilities: torch.Tensor) -> torch.Tensor:
    """Σ of one class's probabilities (…), float64 (), without a copy of them in float64."""
    return torch.stack([piece.double().sum() for piece in probabilities.flatten().split(CACHED)]).sum()


@contextmanager
def told(wish: bool) -> Iterator[None]:
    """Within it, inferers tell how sure networks are, or don't."""
    token = wanted.set(wish)
    try:
        yield
    finally:
        wanted.reset(token)


def noted(label_map: torch.Tensor, gathered: Sequence[SoftDice]) -> torch.Tensor:
    """A label map (B, 1, …) with the confidence of each of its B images in its meta data, where it has any."""
    if gathered and isinstance(label_map, MetaTensor):
        label_map.meta[KEY] = torch.stack([each.per_class() for each in gathered])
    return label_map


def confidence_of(label_map: torch.Tensor) -> list[float]:
    """What was noted of one decollated label map (1, …): of each class, the background first; [] where nothing was."""
    return label_map.meta[KEY].tolist() if isinstance(label_map, MetaTensor) and KEY in label_map.meta else []


def by_name(confidence: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Foreground names -> confidence, of those that have one.

    Args:
        confidence: of each class, the background first; or nothing.
        names: likewise.
    """
    known = zip(names, confidence, strict=True) if confidence else ()
    return {name: float(f"{value:.6g}") for name, value in list(known)[1:] if math.isfinite(value)}


def _pieces(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(n, K+1, N) cut along the voxels."""
    return values.split(max(1, VALUES // values[..., 0].numel()), dim=2)


def _sums_of(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, K+1, N) -> (3, K+1): Σ p_c where c is the most probable, the number of these voxels, Σ p_c of all."""
    number = logits.shape[1]
    best = logits[:, 0].clone()
    index = torch.zeros(best.shape, dtype=torch.uint8 if number <= 256 else torch.int16, device=best.device)
    for place in range(1, number):
        index.masked_fill_(logits[:, place] > best, place)
        torch.maximum(best, logits[:, place], out=best)
    shares = (logits - best[:, None]).exp_()
    highest = shares.sum(dim=1).reciprocal_()  # probability of the most probable class, whose share is 1
    total = shares.mul_(highest[:, None]).sum(dim=(0, 2)).double()
    return torch.cat([_winners(index.flatten(), highest.flatten(), number), total[None]])


def _winners(index: torch.Tensor, highest: torch.Tensor, number: int) -> torch.Tensor:
    """(N,) most probable classes, and their probabilities -> (2, K+1): Σ p_c where c is the most probable, the number
    of these voxels. In float64 the order of the sums doesn't show."""
    places = index.long()
    hits = torch.bincount(places, highest.double(), number)
    return torch.stack([hits, torch.bincount(places, minlength=number).double()])
