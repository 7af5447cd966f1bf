"""Trained networks in other forms: adapters alone, adapters merged, TorchScript."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.lora import merge_lora
from pgsam_monai.networks.description import check_description

FORMAT = "pgsam-adapters-1"


def merge_for_inference(network: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode whose adapters are folded into the weights; same outputs, faster.

    The copy's state dict loads into a network built with ``encoder_training``, and PG-SAM's ``clip_training``,
    "frozen" or "full".
    """
    merged = copy.deepcopy(network)
    merge_lora(merged)
    if "rank" in getattr(merged, "description", {}):
        merged.description = {**merged.description, "rank": 0}
    return merged.requires_grad_(False).eval()  # last: PG-SAM encodes its texts now, with the merged weights


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's trainable parameters by name: adapters, decoder, input mixer, and what else it trains."""
    return {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}


def save_adapters(network: nn.Module, file: str | Path, *, metadata: Mapping[str, str] | None = None) -> Path:
    """Write what was trained, and nothing else, as safetensors; the frozen rest comes from SAM's and CLIP's weights.

    Args:
        network: a network with a ``description``.
        file: where to write; replaced whole or not at all.
        metadata: more text to keep in the file's header, such as the names of the classes or of the weights.
    """
    from safetensors.torch import save_file

    file = Path(file)
    state = {name: value.contiguous() for name, value in trained_state(network).items()}
    state.update({name: value.contiguous() for name, value in _statistics(network).items()})
    description = json.dumps(network.description, sort_keys=True)
    header = {**(metadata or {}), "format": FORMAT, "description": description}
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, unfinished, metadata=header)
    unfinished.replace(file)
    return file


def load_adapters(network: nn.Module, file: str | Path) -> dict[str, str]:
    """Load what ``save_adapters`` wrote into a network built alike, and return the file's header.

    Raises:
        ValueError: not such a file, or one of another network.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as reader:
        header = reader.metadata() or {}
        if header.get("format") != FORMAT:
            raise UserFault(
                f"'{file}' holds no adapters: its header gives the format '{header.get('format')}', "
                f"not '{FORMAT}'; give a file that save_adapters wrote."
            )
        check_description(network.description, json.loads(header["description"]), source=f"'{file}'")
        state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118, not a dict
    wanted = trained_state(network).keys() | _statistics(network).keys()
    if wanted != state.keys():
        differing = sorted(wanted ^ state.keys())
        raise UserFault(
            f"'{file}' was saved with another encoder_training: {len(differing)} entries differ, "
            f"such as '{differing[0]}'. Build the network as it was trained."
        )
    network.load_state_dict(state, strict=False)
    return header


def _statistics(network: nn.Module) -> dict[str, Tensor]:
    """Pixel statistics, and those of every batch norm that is trained: they belong to its weights."""
    norms = [
        name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d) and part.affine
    ]
    trained = {f"{name}.running_" for name in norms if network.get_parameter(f"{name}.weight").requires_grad}
    return {
        name: value
        for name, value in network.named_buffers()
        if name in ("pixel_mean", "pixel_std") or name.startswith(tuple(trained))
    }


class FixedTexts(nn.Module):
    """Stands in for ``ClassTexts`` where the text tower is no longer there: embeddings (K+1, d) that stay."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)

    def forward(self, clip: nn.Module) -> Tensor:
        """As ``ClassTexts``."""
        return self.embeddings


@torch.no_grad()
def fix_texts(network: nn.Module) -> nn.Module:
    """Replace the texts of a network that reads any by their embeddings, in place, and drop the text tower.

    Exported files then hold neither the tower, which in CLIP is more than half of SAM's ViT-B, nor its work.
    """
    if getattr(network, "texts", None) is not None:
        network.texts = FixedTexts(network.texts(network.clip).clone())
        network.clip.text_tower = nn.Module()
    return network


class TracedNetwork(nn.Module):
    """A scriptable stand-in for a network: a trace of it, adapters merged, at its own image size.

    Scripting the network itself fails on Python that TorchScript does not know. Any batch size and any number
    of slices work; where slices see each other, they do so in stacks of the planned depth, one after the other.
    """

    def __init__(self, network: nn.Module) -> None:
        """``network`` has ``image_size``, ``in_channels`` and maps (B, C, S, S) to logits (B, K+1, S, S)."""
        super().__init__()
        self.image_size = int(network.image_size)
        self.stack_depth = int(getattr(network, "stack_depth", 1))
        device = next(network.parameters()).device
        example = torch.zeros(2, network.in_channels, self.image_size, self.image_size, device=device)
        if self.stack_depth > 1:
            example = example.unsqueeze(-1).expand(-1, -1, -1, -1, self.stack_depth)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's, about sizes that are constant here
            merged = fix_texts(merge_for_inference(network))
            self.traced = torch.jit.trace(merged, example, check_trace=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, S, S) or (B, C, S, S, D), 0..1 → logits (B, K+1, S, S) or (B, K+1, S, S, D)."""
        if image.shape[2] != self.image_size or image.shape[3] != self.image_size:
            raise UserFault(
                "An exported network takes images of its own size only: got "
                + str(image.shape)
                + ", wanted sides of "
                + str(self.image_size)
            )
        if self.stack_depth > 1:
            return self._stacks(image)
        if image.dim() == 4:
            return self.traced(image)
        batch = image.shape[0]
        logits = self.traced(image.permute(0, 4, 1, 2, 3).flatten(0, 1))
        return logits.unflatten(0, [batch, -1]).permute(0, 2, 3, 4, 1)

    def _stacks(self, image: Tensor) -> Tensor:
        """(B, C, S, S, D), D a multiple of the stack's depth → (B, K+1, S, S, D)."""
        if image.dim() != 5 or image.shape[4] % self.stack_depth != 0:
            raise UserFault(
                "This exported network takes stacks (B, C, H, W, D), D a multiple of "
                + str(self.stack_depth)
                + ", got "
                + str(image.shape)
            )
        batch = image.shape[0]
        stacks = image.unflatten(4, [-1, self.stack_depth]).permute(0, 4, 1, 2, 3, 5).flatten(0, 1)
        logits = self.traced(stacks).unflatten(0, [batch, -1])  # (B, stacks, K+1, S, S, depth)
        return logits.permute(0, 2, 3, 4, 1, 5).flatten(4)


class TracedVolumeNetwork(nn.Module):
    """A scriptable stand-in for a 3-D network: a trace of it at its own patch; any batch size works."""

    def __init__(self, network: nn.Module) -> None:
        """``network`` has ``patch``, ``in_channels`` and maps (B, C, *patch) to logits (B, K+1, *patch)."""
        super().__init__()
        self.patch: list[int] = [int(side) for side in network.patch]
        device = next(network.parameters()).device
        example = torch.zeros(2, network.in_channels, *self.patch, device=device)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's, about sizes that are constant here
            merged = fix_texts(merge_for_inference(network))
            self.traced = torch.jit.trace(merged, example, check_trace=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, *patch), 0..1 → logits (B, K+1, *patch)."""
        if list(image.shape[2:]) != self.patch:
            raise UserFault(
                "An exported network takes patches of its own size only: got "
                + str(image.shape)
                + ", wanted sides of "
                + str(self.patch)
            )
        return self.traced(image)
