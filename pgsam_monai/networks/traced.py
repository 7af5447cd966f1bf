"""Scriptable stand-ins of networks: what `torch.jit.script`, and thus MONAI's `ckpt_export`, exports in their place."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.adaptation.lora import merge_lora


def merge_for_inference(network: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode whose adapters are folded into the weights; same outputs, faster.

    The copy's state dict loads into a network built with `encoder_training`, and PG-SAM's `clip_training`,
    "frozen" or "full".
    """
    merged = copy.deepcopy(network)
    merge_lora(merged)
    if "rank" in getattr(merged, "description", {}):
        merged.description = {**merged.description, "rank": 0}
    return merged.requires_grad_(False).eval()  # last: PG-SAM encodes its texts now, with the merged weights


class FixedTexts(nn.Module):
    """Stands in for `ClassTexts` where the text tower is no longer there: embeddings (K+1, d) that stay."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)

    def forward(self, clip: nn.Module) -> Tensor:
        """As `ClassTexts`."""
        return self.embeddings


@torch.no_grad()
def fix_texts(network: nn.Module) -> nn.Module:
    """Replace the texts of a network that reads any by their embeddings, in place, and drop the text tower.

    Exported files then hold neither the tower, which in CLIP is more than half of SAM's ViT-B, nor its work.
    """
    if getattr(network, "texts", None) is not None:
        network.texts = FixedTexts(network.texts(network.clip).clone())
        if network.clip is not None:
            network.clip.text_tower = nn.Module()
    return network


class TracedNetwork(nn.Module):
    """A scriptable stand-in for a network: a trace of it, adapters merged, at its own image size.

    Scripting the network itself fails on Python that TorchScript does not know. Any batch size and any number
    of slices work; where slices see each other, they do so in stacks of the planned depth, one after the other.
    """

    def __init__(self, network: nn.Module) -> None:
        """`network` has `image_size`, `in_channels` and maps (B, C, S, S) to logits (B, K+1, S, S)."""
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
        """`network` has `patch`, `in_channels` and maps (B, C, *patch) to logits (B, K+1, *patch)."""
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


class TracedMean(nn.Module):
    """A scriptable stand-in for an ensemble of one network: the traces of its members."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """`members`: stand-ins that take the same input."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """As the members' → the logarithm of their mean probability."""
        found: list[Tensor] = []
        for member in self.members:
            found.append(member(image))  # TorchScript knows no comprehension over modules
        return log_of_mean(found)


def log_of_mean(logits: list[Tensor]) -> Tensor:
    """Logits (B, K+1, …) of several networks → the logarithm of their mean softmax, float32."""
    each = torch.stack([one.float().log_softmax(dim=1) for one in logits])
    return each.logsumexp(dim=0) - math.log(len(logits))
