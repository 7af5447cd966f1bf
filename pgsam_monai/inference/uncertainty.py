"""How unsure a network is of a volume: Monte-Carlo dropout (Gal and Ghahramani, ICML 2016)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.precision import full_precision
from pgsam_monai.networks.sam.image_encoder import ImageFeatures

UPSAMPLING = (nn.ConvTranspose2d, nn.ConvTranspose3d)
"""What brings features back to the image's resolution in every network here; dropout acts on what enters it."""

Drop = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Means over all voxels of a volume, in nats."""

    entropy: float
    """predictive entropy: of the class probabilities' mean over the simulations, 0 (certain) to ln(K+1) (uniform)"""
    mutual_information: float
    """what of it comes from the simulations' disagreement, 0 to the entropy (BALD, Houlsby et al., 2011): the epistemic
    part. The rest is doubt that every simulation shares, such as where a boundary is blurred."""


@torch.no_grad()
def measure_uncertainty(
    network: nn.Module,
    inferer: Inferer,
    image: Tensor,
    *,
    simulations: int = 5,
    dropout: float = 0.2,
    seed: int = 0,
) -> Uncertainty:
    """How unsure a network is of one volume: `simulations` passes, each without other channels of its features.

    Dropped are channels of the image embedding, if the network has one, and of what each of its transposed
    convolutions upsamples; the image encoder runs once. The networks were trained without that dropout, so the numbers
    rank volumes, they are no calibrated probabilities.

    The passes are made batch by batch (of slices or patches), and what is kept of a volume are two numbers a voxel,
    however many classes and simulations there are. The network is as before afterwards, and the global random state
    is untouched. While this runs, nobody else may use the network: it would drop channels for them as well.

    Args:
        network: in evaluation mode, on the image's device.
        inferer: the bundle's, which says how the network walks over a volume.
        image: preprocessed, (1, C, H, W, D); with its affine if the inferer resamples.
        simulations: passes T, at least 2.
        dropout: share of the channels that a pass goes without, 0 to below 1.
        seed: of what is dropped; equal seeds give equal numbers on one kind of device.

    Raises:
        ValueError: an argument is outside its range, an unknown inferer, or a network with nothing to drop or in
            training mode.
    """
    _check(network, simulations, dropout)
    maps = walk_of(inferer)(image, Simulations(network, simulations=simulations, dropout=dropout, seed=seed))
    means = [float(maps[:, index].mean(dtype=torch.float64)) for index in range(2)]
    return Uncertainty(entropy=means[0], mutual_information=means[1])


class Simulations:
    """A network's stand-in for an inferer: a batch in, its entropy and mutual information (n, 2, …) out, in nats."""

    def __init__(self, network: nn.Module, *, simulations: int, dropout: float, seed: int) -> None:
        self.network = network
        self.simulations = simulations
        self.dropout = dropout
        self.seed = seed
        self._random: torch.Generator | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """Batch (n, C, …) → (n, 2, …) of the logits' size."""
        mean, own = 0.0, 0.0
        with simulating(self.network, self._drop):
            for _ in range(self.simulations):
                logits = self.network(batch)
                with full_precision(batch.device):
                    found = logits.float().softmax(dim=1)
                    mean, own = mean + found, own + entropy_of(found)
        entropy, shared = entropy_of(mean / self.simulations), own / self.simulations
        return torch.stack([entropy, (entropy - shared).clamp_(min=0)], dim=1)

    def _drop(self, features: Tensor) -> Tensor:
        """Features (n, channels, …) without some of the channels of each, the others the larger for it."""
        if self._random is None:
            self._random = torch.Generator(features.device).manual_seed(self.seed)
        shape = (*features.shape[:2], *(1,) * (features.ndim - 2))
        drawn = torch.rand(shape, generator=self._random, device=features.device)
        return features * ((drawn >= self.dropout) / (1 - self.dropout)).to(features.dtype)


def entropy_of(probabilities: Tensor) -> Tensor:
    """Probabilities (n, K+1, …) → -Σ p ln p over the classes (n, …), in nats; 0 ln 0 is 0."""
    return torch.special.entr(probabilities).sum(dim=1).clamp_(min=0)


def walk_of(inferer: Inferer) -> Inferer:
    """The inferer, but giving back what it is given, on the volume's own grid, instead of a label map.

    Raises:
        ValueError: it is none of this package.
    """
    if not isinstance(inferer, SliceInferer | PatchInferer):
        raise UserFault(
            f"Uncertainty is measured with a SliceInferer or PatchInferer of pgsam_monai, got "
            f"{type(inferer).__name__}; name one as the bundle's 'inferer'."
        )
    walk = copy.copy(inferer)
    walk.output = "logits"
    return walk


@contextmanager
def simulating(network: nn.Module, drop: Drop) -> Iterator[None]:
    """A network that drops channels by `drop` and encodes the one batch that it is given over and over only once."""
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: (drop(inputs[0]), *inputs[1:]))
        for layer in network.modules()
        if isinstance(layer, UPSAMPLING)
    ]
    encoder = getattr(network, "image_encoder", None)
    if encoder is not None:
        encoder.encode = _encode_once(encoder.encode, drop)  # hides the class's method until it is deleted
    try:
        yield
    finally:
        if encoder is not None:
            del encoder.encode
        for hook in hooks:
            hook.remove()


def _encode_once(encode: Callable[..., Any], drop: Drop) -> Callable[..., Any]:
    """An image encoder's `encode` that remembers its first answer and drops channels of it anew each time."""
    kept: list[Any] = []

    def remembered(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(encode(*args, **kwargs))
        features = kept[0]
        if isinstance(features, ImageFeatures):
            return features._replace(embedding=drop(features.embedding))
        return [drop(stage) for stage in features]

    return remembered


def _check(network: nn.Module, simulations: int, dropout: float) -> None:
    if simulations < 2 or not 0 <= dropout < 1:
        raise UserFault(
            f"measure_uncertainty: needs at least 2 simulations and a dropout of 0 to below 1, got {simulations} and "
            f"{dropout}."
        )
    if network.training:
        raise UserFault("measure_uncertainty: the network is in training mode; call its eval() before.")
    if not any(isinstance(layer, UPSAMPLING) for layer in network.modules()):
        raise UserFault(
            f"measure_uncertainty: {type(network).__name__} has no transposed convolutions, whose inputs channels are "
            "dropped of; its uncertainty can't be simulated."
        )
