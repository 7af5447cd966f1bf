"""Training that starts from a trained network: fine-tuning on another data set, on few cases."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from monai.networks.utils import copy_model_state
from torch import Tensor, nn

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.networks.description import DescribedNetwork, unpack_description
from pgsam_monai.networks.position import fit_table
from pgsam_monai.training.checkpoints import BEST_MODEL, bare
from pgsam_monai.training.frozen import with_frozen
from pgsam_monai.weights.files import load_weights

logger = logging.getLogger(__name__)

DESCRIPTION = "_extra_state"
SAME = ("network", "backbone")
"""What both networks' descriptions must agree in: many share SAM's decoder, and its weights would fit."""
LEAST_SHARE = 0.5
"""Of a network's parameters that a file must fit; below it is another network's."""
NAMED = 8
"""Entries that the log names; further ones are counted."""


def start_from(network: nn.Module, file: str | Path | None) -> None:
    """Load what fits of a trained network, in place; the rest, such as what is sized by the classes, stays as it is.

    An entry fits whose name and shape are the same; other classes, if equally many, thus fit as well. Position tables
    of another image size are resized, so that a network can learn on small images first. Of the file's description the
    kind of network and the backbone must be the same; image size and classes may differ. The cases that it was trained
    on are remembered.

    Args:
        network: the network to be trained, also in a data-parallel wrapper.
        file: the folder of a trained bundle, its model.pt, or a training's checkpoint_last.pt; None does nothing.

    Raises:
        FileNotFoundError: no such file, or no model in the folder.
        UserFault: it can't be read as plain tensors, or a checkpoint's frozen part isn't beside it.
        ValueError: another network's file, by its description or because less than half of the parameters fit.
    """
    if file is None:
        return
    network, file = bare(network), _model_file(Path(file))
    content = with_frozen(load_weights(file), file)
    nested = content.get("model")
    content = nested if isinstance(nested, Mapping) else content
    _check_kind(network, content.get(DESCRIPTION), file)
    given = {
        name: value
        for name, value in content.items()
        if isinstance(value, Tensor) and not name.endswith(DESCRIPTION)
    }
    wanted = network.state_dict()
    state = {name: fit_table(name, value, wanted.get(name)) for name, value in given.items()}
    filled, taken, _ = copy_model_state(network, state, inplace=False)
    share = _share(network, set(taken))
    if share < LEAST_SHARE:
        raise UserFault(
            f"'{file}' is another network's: {share:.0%} of this network's parameters fit, at least "
            f"{LEAST_SHARE:.0%} must; name a bundle of the same network and backbone."
        )
    network.load_state_dict(filled)
    if DESCRIPTION in content and isinstance(network, DescribedNetwork):
        network.remember_cases(unpack_description(content[DESCRIPTION]))
    own = [name for name in filled if not name.endswith(DESCRIPTION)]
    resized = [name for name in taken if state[name] is not given[name]]
    others = [name for name in own if name in state and name not in taken]
    lacking = [name for name in own if name not in state]
    logger.info(
        "Training starts from %s: %d of %d entries taken, %.1f %% of the parameters; position tables resized: %s; "
        "other shapes, start anew: %s; not in the file, start anew: %s; %d entries of the file left unread.",
        file, len(taken), len(own), 100 * share, _listed(resized), _listed(others), _listed(lacking),
        len(state.keys() - set(own)),
    )  # fmt: skip


def _model_file(path: Path) -> Path:
    file = path / "models" / BEST_MODEL if path.is_dir() else path
    if not file.is_file():
        raise MissingFile(
            f"No trained network to start from: '{file}' does not exist; train that bundle first, or correct its path."
        )
    return file


def _check_kind(network: nn.Module, packed: Tensor | None, file: Path) -> None:
    own = getattr(network, "description", {})
    other = own if packed is None else unpack_description(packed)
    differing = [name for name in SAME if name in own and own[name] != other.get(name)]
    if differing:
        told = ", ".join(f"{name} {other.get(name, 'unknown')} (here: {own[name]})" for name in differing)
        raise UserFault(
            f"'{file}' is another network's: {told}; name a bundle of the same network and backbone."
        )


def _share(network: nn.Module, taken: Collection[str]) -> float:
    """Of the network's parameters, by their numbers, those that `taken` names."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    return sum(size for name, size in sizes.items() if name in taken) / max(1, sum(sizes.values()))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} ({', '.join(names[:NAMED])}{more})" if names else "0"
