"""A network's description of itself, kept inside its checkpoint and compared when one is loaded."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault

Description = Mapping[str, str | int | bool]


def pack_description(description: Description) -> Tensor:
    """The description as JSON in a uint8 tensor, which loads with `weights_only=True`.

    Blanks pad it to a length drawn from its checksum. MONAI's `copy_model_state` takes over every entry of
    equal shape; thus it takes over an equal description, and leaves another network's behind.
    """
    text = json.dumps(dict(description), sort_keys=True).encode()
    size = 1024 + zlib.crc32(text) % 4096
    return torch.tensor(list(text.ljust(max(size, len(text)))), dtype=torch.uint8)


def unpack_description(packed: Tensor) -> dict[str, str | int | bool]:
    """The inverse of `pack_description`."""
    return json.loads(bytes(packed.cpu().tolist()))


def check_description(own: Description, other: Description, *, source: str) -> None:
    """Raise ValueError naming each differing field, unless both describe the same network."""
    fields = [key for key in own if key in other and own[key] != other[key]]
    fields += [key for key in own if key not in other]
    if not fields:
        return
    differences = ", ".join(f"{key} {other.get(key, 'unknown')} (this network: {own[key]})" for key in fields)
    raise UserFault(
        f"{source} belongs to another network: {differences}. Build the network with the "
        "checkpoint's values; monai.networks.utils.copy_model_state takes over only the weights that fit."
    )


class DescribedNetwork(nn.Module):
    """A network that knows its `description`, which travels in its state dict and guards what is loaded."""

    description: Description

    def get_extra_state(self) -> Tensor:
        """The network's description."""
        return pack_description(self.description)

    def set_extra_state(self, state: Tensor) -> None:
        """Raise ValueError with a sentence if the checkpoint is another network's."""
        check_description(self.description, unpack_description(state), source="The checkpoint")
