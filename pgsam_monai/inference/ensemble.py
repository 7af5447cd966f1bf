"""How several networks answer together: by the mean of their class probabilities, 2-D and 3-D ones alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn
from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.confidence import SoftDice, noted, total_of, wanted
from pgsam_monai.inference.slices import OUTPUTS
from pgsam_monai.networks.ensemble import Ensemble
from pgsam_monai.transforms.meta import with_meta_of
from pgsam_monai.transforms.resample import resample_volume
from pgsam_monai.voxels.grid import Size


class EnsembleInferer(Inferer):
    """Runs all members of an ensemble over a volume and gives the class of the highest mean probability.

    `__call__(inputs, network)`: inputs (B, C, H, W, D) or (B, C, H, W) as of the members' inferers; `network` is an
    `networks.ensemble.Ensemble`. The mean is taken of a network's members (folds, seeds) first, then of the networks,
    so that each network counts alike, as nnU-Net has it (Isensee et al., Nature Methods 2021). The inferer gives
    "labels": class indices (B, 1, H, W, D), uint8 (int16 above 255 classes), the lower index on a tie;
    "logits": the mean probability's logarithm, float32 (B, K+1, H, W, D).
    A MetaTensor comes back as MetaTensor with the inputs' meta data, so that Invertd can restore it; that of labels
    tells how sure the networks are together, "soft_dice" (B, K+1), see `confidence`, by the mean on the volume's grid.

    Probabilities are kept in float16 and at the resolution at which a network gives them, or the volume's where that is
    lower; members of equal resolution share one map, so that the folds of a network take no more room than one of them.
    These maps are then brought onto the volume's grid and compared one class at a time: what is held on the grid itself
    is the best probability so far, one class's, and the result.

    Args:
        members: for each network of the ensemble, how it walks over a volume, its precision and device included: a
            SliceInferer or PatchInferer, or such a one mirrored (`inference.mirroring`).
        output: "labels" or "logits".
        progress: show a progress bar over the members.
        confidence: tell how sure the networks are.
    """

    def __init__(
        self, members: Sequence[Any], output: str = "labels", progress: bool = False, confidence: bool = True
    ) -> None:
        super().__init__()
        if not members or not all(hasattr(inferer, "probabilities") for inferer in members):
            raise UserFault(
                "EnsembleInferer: members are a SliceInferer or PatchInferer for each network, got "
                f"{', '.join(type(inferer).__name__ for inferer in members) or 'none'}."
            )
        if output not in OUTPUTS:
            raise UserFault(f"EnsembleInferer: output must be one of {OUTPUTS}, got {output!r}.")
        self.members, self.output, self.progress = list(members), output, progress
        self.confidence = confidence

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if inputs.ndim not in (4, 5) or not inputs.numel():
            raise UserFault(
                f"EnsembleInferer: inputs must be (B, C, H, W[, D]) with voxels, got shape {tuple(inputs.shape)}."
            )
        groups = self._networks(network)
        volumes = inputs if inputs.ndim == 5 else inputs[..., None]
        told = wanted.get() and self.confidence and self.output == "labels" and isinstance(inputs, MetaTensor)
        sure = [SoftDice() for _ in volumes] if told else []
        single = len(volumes) == 1
        results = [
            self._one(
                volumes if single else volumes[place : place + 1], groups, sure[place] if told else None
            )
            for place in range(len(volumes))
        ]
        result = results[0][None] if single else torch.stack(results)
        return noted(with_meta_of(result if inputs.ndim == 5 else result[..., 0], inputs), sure)

    def _one(self, volume: Tensor, groups: Sequence[Sequence[nn.Module]], sure: SoftDice | None) -> Tensor:
        """(1, C, H, W, D) -> (1 or K+1, H, W, D); `sure` hears the mean probabilities."""
        walks = [
            (inferer, member, 1 / (len(groups) * len(members)))
            for inferer, members in zip(self.members, groups, strict=True)
            for member in members
        ]
        shown = tqdm(walks, unit="network", leave=False) if self.progress else walks
        maps = add_up((inferer.probabilities(volume, member)[0], share) for inferer, member, share in shown)
        size = tuple(volume.shape[2:])
        return most_probable(maps, size, sure) if self.output == "labels" else log_mean(maps, size)

    def _networks(self, network: Callable[..., Tensor]) -> list[list[nn.Module]]:
        if not isinstance(network, Ensemble) or len(network.networks) != len(self.members):
            given = len(network.networks) if isinstance(network, Ensemble) else "none"
            raise UserFault(
                f"EnsembleInferer: it walks an Ensemble of {len(self.members)} networks, got {given}; give inferer and "
                "network the same members."
            )
        return [list(members) for members in network.networks]


@torch.no_grad()
def add_up(found: Iterable[tuple[Tensor, float]]) -> list[Tensor]:
    """Probability maps (K+1, h, w, d) with their weights -> their weighted sums, one for each size that there is.

    The maps are lost: they hold other numbers afterwards.
    """
    sums: dict[tuple[int, ...], Tensor] = {}
    for maps, weight in found:
        shape = tuple(maps.shape)
        maps = maps.mul_(weight)
        sums[shape] = sums[shape].add_(maps) if shape in sums else maps
    return list(sums.values())


@torch.no_grad()
def most_probable(maps: Sequence[Tensor], size: Size, sure: SoftDice | None = None) -> Tensor:
    """Maps (K+1, h, w, d) that are added up on a grid -> (1, *size) index of the highest sum, the lower on a tie.

    `sure` hears the sums.
    """
    count = len(maps[0])
    labels = torch.zeros(
        (1, *size), dtype=torch.uint8 if count <= 256 else torch.int16, device=maps[0].device
    )
    best = _on_grid(maps, 0, size)
    totals = [] if sure is None else [total_of(best)]
    for index in range(1, count):
        rival = _on_grid(maps, index, size)
        labels.masked_fill_(rival > best, index)
        torch.maximum(best, rival, out=best)
        if sure is not None:
            totals.append(total_of(rival))
    if sure is not None:
        sure.add_compared(labels, best, torch.stack(totals))
    return labels


@torch.no_grad()
def log_mean(maps: Sequence[Tensor], size: Size) -> Tensor:
    """Maps (K+1, h, w, d) that are added up on a grid -> (K+1, *size) logarithm of the sum, float32 and finite."""
    logits = torch.empty((len(maps[0]), *size), device=maps[0].device)
    for index in range(len(logits)):
        logits[index] = _on_grid(maps, index, size)[0].clamp_(min=torch.finfo(torch.float32).tiny).log_()
    return logits


def _on_grid(maps: Sequence[Tensor], index: int, size: Size) -> Tensor:
    """One class's sum (1, *size), float32, in memory of its own."""
    total = torch.zeros((1, *size), device=maps[0].device)
    for each in maps:
        total += resample_volume(each[index : index + 1], size)
    return total
