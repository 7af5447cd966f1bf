"""A network that takes prompts, and what belongs to it: how images enter it, and what its classes are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from monai.transforms import Compose
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.labels import Entry, restored_values
from pgsam_monai.bundle import Bundle
from pgsam_monai.networks.precision import autocast, choose_dtype
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.runtime.encoder import ExportedEncoder, exported_encoder
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.voxels.frame import LINEAR


@dataclass(frozen=True, kw_only=True)
class PromptModel:
    """All that interactive segmentation needs to know of a network."""

    network: nn.Module
    """with `embed`, `answer`, `everything` and `stack_depth` (see `networks.medsa.MedSA`)"""
    preprocessing: Compose
    """as in bundles: reads {"image", "label"} first, then only turns and flips volumes and scales intensities"""
    names: Sequence[str]
    """of the foreground classes 1..K"""
    values: Sequence[Entry]
    """of all classes in label files, the background first (`transforms.MapLabelsd`)"""
    image_size: int
    """side of the network's square input, pixels"""
    fit: str = "pad"
    """"pad" or "stretch" (`transforms.fit`)"""
    batch_size: int = 8
    """slices encoded, or prompts answered, at a time"""
    stack_overlap: int = 0
    """slices that stacks of a network with `stack_depth` above 1 share (`voxels.stacks`)"""
    precision: str = "auto"
    """what the network computes in, see `networks.precision.choose_dtype`"""
    device: torch.device = torch.device("cpu")
    source: str = "The network"
    """what messages call it"""
    knows_everything: bool = True
    """whether it was trained to find its classes without prompts"""
    trained_with_masks: bool = True
    """whether it was trained with masks, such as its own earlier answers, as prompts"""
    obeys_clicks: bool = True
    """whether it learnt clicks of both kinds well enough to say what a correction means"""
    encoder: ExportedEncoder | None = None
    """that answers in place of the network's own"""

    @torch.no_grad()
    def embed(self, image: Tensor) -> ImageFeatures:
        """What every prompt starts from: images (n * stack_depth, C, S, S), 0..1, of stacks one after the other."""
        if self.encoder is not None:
            found = self.encoder(image.float().cpu().numpy())
            # As the network's own are: every question would turn other types, and another order, into these.
            dtype, order = choose_dtype(self.device, self.precision) or torch.float32, torch.channels_last
            embedding, *skips = (
                torch.from_numpy(each).to(self.device, dtype, memory_format=order) for each in found
            )
            return ImageFeatures(embedding, tuple(skips))
        with autocast(self.device, self.precision):
            return self.network.embed(image, depth=self.network.stack_depth)

    def with_encoder(self, folder: Path, weights: Path, engine: str, source: str) -> PromptModel:
        """The same, whose images are encoded by what was exported to `folder`, if that can answer.

        Args:
            folder: where it would lie.
            weights: file of the network's weights.
            engine: see `runtime.encoder.exported_encoder`, which raises.
            source: what `pgsam export` would be called with.
        """
        shape = (self.network.stack_depth, self.network.in_channels, self.image_size, self.image_size)
        encoder = exported_encoder(
            folder, weights, shape, engine, source=source, threads=torch.get_num_threads()
        )
        return replace(self, encoder=encoder)

    @property
    def labels(self) -> dict[str, int]:
        """Foreground names -> the values that predictions hold, in the order of the classes 1..K."""
        return dict(zip(self.names, restored_values(self.values)[1:], strict=True))

    def index_of(self, label: str | int | None) -> int:
        """Class index 1..K of a name or a label value, typed or not; None stands for the only class.

        Raises:
            ValueError: unknown, with the nearest names; or None where there are several.
        """
        names, values = list(self.labels), list(self.labels.values())
        if label is None and len(names) == 1:
            return 1
        if isinstance(label, str) and label in names:
            return names.index(label) + 1
        value = int(label) if isinstance(label, str) and label.isascii() and label.isdigit() else label
        if not isinstance(value, str) and value in values:
            return values.index(value) + 1
        known = ", ".join(f"{name} ({value})" for name, value in self.labels.items())
        if label is None:
            raise UserFault(f"{self.source} has several labels, say which is meant: {known}.")
        hint = did_you_mean(label, names, cutoff=0.5)
        raise UserFault(f"{self.source} has no label {label!r}; it has {known}.{hint}")


def prompt_model(bundle: Bundle, engine: str = TORCH) -> PromptModel:
    """A trained bundle's network as it answers prompts; its weights are renewed with `bundle.network`.

    Args:
        bundle: trained.
        engine: what encodes images, see `runtime.encoder.exported_encoder`.

    Raises:
        UserFault: it takes none, its slices are sampled from corner to corner, or the engine can't.
        WeightsFault: see `Bundle.network`.
    """
    bundle.require_prompts()
    inferer = bundle.inferer
    if inferer.sampling != LINEAR:
        raise UserFault(
            f"{bundle}: prompts are placed by pixel centres, and its slices are sampled {inferer.sampling}; plan it "
            "with sampling=linear."
        )
    model = PromptModel(
        network=bundle.network,
        preprocessing=bundle.preprocessing,
        names=bundle.names[1:],
        values=bundle.decisions["labels"],
        image_size=inferer.image_size,
        fit=inferer.fit,
        batch_size=inferer.batch_size,
        stack_overlap=inferer.stack_overlap,
        precision=inferer.precision,
        device=bundle.device,
        source=str(bundle),
        obeys_clicks=bundle.network.prompt_maps,
    )
    if engine == TORCH:
        return model
    return model.with_encoder(bundle.folder / "models", bundle.model_file, engine, str(bundle.folder))
