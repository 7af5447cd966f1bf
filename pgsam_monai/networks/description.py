"""A network's description of itself, kept inside its checkpoint and compared when one is loaded."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.trained_for import KEY, TrainedFor, check_trained_for
from pgsam_monai.base.trained_on import KEY as CASES
from pgsam_monai.base.trained_on import digests_in

Description = Mapping[str, Any]
BEFORE = {
    "decoder_layers": 2, "class_attention_grid": 14,
    "image_prior": "global", "text_match": "learnt", "text_encoder": None, "fusion": "additive",
    "base_rates": False, "prompt_maps": False, "fine_features": False, "supervised_scales": 1,
    "mask_stride": 1, "decoder_widths": "64 32 16 16", "direct_masks": False, "whitened_texts": False,
}  # fmt: skip
"""What every network had that was trained before descriptions told it."""


def pack_description(description: Description) -> Tensor:
    """The description as JSON in a uint8 tensor, which loads with `weights_only=True`.

    Blanks pad it to a length drawn from its checksum. MONAI's `copy_model_state` takes over every entry of
    equal shape; thus it takes over an equal description, and leaves another network's behind.
    """
    text = json.dumps(dict(description), sort_keys=True).encode()
    size = 1024 + zlib.crc32(text) % 4096
    return torch.tensor(list(text.ljust(max(size, len(text)))), dtype=torch.uint8)


def unpack_description(packed: Tensor) -> dict[str, Any]:
    """The inverse of `pack_description`. Raises UserFault if the bytes are no description."""
    try:
        content = json.loads(bytes(packed.cpu().tolist()))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserFault(
            "The checkpoint's description of its network is damaged; train the bundle again, or put "
            "another copy of the file there."
        ) from error
    return content if isinstance(content, dict) else {}


def check_description(own: Description, other: Description, *, source: str) -> None:
    """Raise ValueError naming each differing field, unless both describe the same network."""
    other = {**BEFORE, **other}
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
    trained_for: TrainedFor | None = None
    """what its bundle is planned for, where it is used as that bundle's: then it loads weights of the same plan only,
    and those that it saves say so"""
    trained_on: frozenset[str] | None = None
    """`base.trained_on.digests_of` all cases that its weights have learnt from; None where that isn't known"""

    leaves_unused: bool = False
    """whether a training step may leave trained parameters without gradient, as where what is asked is drawn: several
    processes then have to look for them in each step"""

    def compiled_parts(self) -> list[nn.Module]:
        """The modules in which its time goes, each called as a whole, which `compiled.compile_blocks` compiles.

        They are its image encoder's blocks; a network without such an encoder says otherwise.
        """
        return list(self.image_encoder.blocks)

    def full_description(self) -> dict[str, Any]:
        """`description`, what the network is trained for, and on."""
        stamp = {} if self.trained_for is None else {KEY: self.trained_for.to_json()}
        cases = {} if self.trained_on is None else {CASES: sorted(self.trained_on)}
        return {**self.description, **stamp, **cases}

    def check_source(self, told: Mapping[str, Any], *, source: str) -> None:
        """Raise UserFault unless `told`, another's `full_description`, is of this network and the same plan."""
        if self.trained_for is not None:
            check_trained_for(self.trained_for, _stamp(told), source=source)
        check_description(self.description, told, source=source)

    def get_extra_state(self) -> Tensor:
        """The full description."""
        return pack_description(self.full_description())

    def set_extra_state(self, state: Tensor) -> None:
        """Raise UserFault with a sentence if the checkpoint is another network's, or was trained for another plan.

        The cases that it was trained on are remembered with those that the network knows of already.
        """
        told = unpack_description(state)
        self.check_source(told, source="The checkpoint")
        self.remember_cases(told)

    def remember_cases(self, told: Mapping[str, Any]) -> None:
        """Weights of another's `full_description` have come in: it was trained on these cases, too."""
        if (cases := digests_in(told)) is not None:
            self.trained_on = cases | (self.trained_on or frozenset())


def _stamp(description: Mapping[str, Any]) -> TrainedFor | None:
    try:
        return TrainedFor.from_json(description[KEY])
    except (KeyError, TypeError):
        return None
