"""Trained networks in other forms: adapters alone, adapters merged, TorchScript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import whole
from pgsam_monai.networks.description import DescribedNetwork

FORMAT = "pgsam-adapters-1"


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's trainable parameters by name: adapters, decoder, input mixer, and what else it trains."""
    return {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}


def save_adapters(
    network: DescribedNetwork, file: str | Path, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write what was trained, and nothing else, as safetensors; the frozen rest comes from SAM's and CLIP's weights.

    Args:
        network: what is written says what it was trained for, too.
        file: where to write; replaced whole or not at all.
        metadata: more text to keep in the file's header, such as the names of the classes or of the weights.
    """
    from safetensors.torch import save_file

    file = Path(file)
    state = {name: value.contiguous() for name, value in trained_state(network).items()}
    state.update({name: value.contiguous() for name, value in _statistics(network).items()})
    description = json.dumps(network.full_description(), sort_keys=True)
    header = {**(metadata or {}), "format": FORMAT, "description": description}
    with whole(file) as partial:
        save_file(state, partial, metadata=header)
    return file


def load_adapters(network: DescribedNetwork, file: str | Path) -> dict[str, str]:
    """Load what `save_adapters` wrote into a network built alike, and return the file's header.

    Raises:
        ValueError: not such a file, or one of another network, or trained for another plan.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as reader:
        header = reader.metadata() or {}
        if header.get("format") != FORMAT:
            raise UserFault(
                f"'{file}' holds no adapters: its header gives the format '{header.get('format')}', "
                f"not '{FORMAT}'; give a file that save_adapters wrote."
            )
        network.check_source(json.loads(header["description"]), source=f"'{file}'")
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
