"""The part of a network that training leaves as it is: written once, and named in each checkpoint by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.weights.files import load_weights

PREFIX = "checkpoint_frozen_"
KEY = "frozen"
"""In a checkpoint: the digest of what it leaves to the other file."""
NAMED = 16
"""Digits of the digest in the file's name."""
REMEDY = "put the file there that was written beside it"

State = dict[str, Tensor]


def frozen_names(network: nn.Module) -> set[str]:
    """Entries of the state dict that no step changes: parameters without gradient. Buffers may change, and aren't."""
    names = network.named_parameters(remove_duplicate=False)
    return {name for name, value in names if not value.requires_grad}


def split_state(network: nn.Module) -> tuple[State, State]:
    """The state dict in two: what training may change, and what is frozen."""
    state, names = network.state_dict(), frozen_names(network)
    changing = {name: value for name, value in state.items() if name not in names}
    return changing, {name: state[name] for name in names if name in state}


def digest_of(state: Mapping[str, Tensor]) -> str | None:
    """SHA-256 over names, number types, shapes and bytes, in the order of names; None of nothing."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest() if state else None


def frozen_file(folder: Path, digest: str) -> Path:
    """Named by its content: that of another training never takes its place."""
    return folder / f"{PREFIX}{digest[:NAMED]}.pt"


def remove_other_frozen(folder: Path, digest: str | None) -> None:
    """Of earlier trainings: what lies there for no checkpoint any more, once the last one is written."""
    kept = frozen_file(folder, digest) if digest else None
    for file in folder.glob(f"{PREFIX}*.pt"):
        if file != kept:
            file.unlink()


def is_kept(file: Path, digest: str) -> bool:
    """Whether the frozen part of that digest lies there, undamaged."""
    try:
        return digest_of(load_weights(file)) == digest
    except UserFault:
        return False


def with_frozen(checkpoint: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The content of a checkpoint with its network's whole state dict, the frozen part being read from beside it.

    Args:
        checkpoint: the content of `file`; what names no frozen part, such as a checkpoint of an earlier version, which
            holds everything, or a model.pt, is returned as it is.
        file: the checkpoint.

    Raises:
        UserFault: there is no such part, or another one, or it can't be read.
    """
    digest, model = checkpoint.get(KEY), checkpoint.get("model")
    if not isinstance(digest, str) or not isinstance(model, Mapping):
        return dict(checkpoint)
    beside = frozen_file(file.parent, digest)
    try:
        frozen = load_weights(beside)
    except MissingFile:
        raise UserFault(f"'{beside}', the frozen part of {file.name}, isn't there; {REMEDY}.") from None
    if (found := digest_of(frozen)) != digest:
        raise UserFault(
            f"'{beside}' holds other frozen weights ({found}) than {file.name} was trained with ({digest}); {REMEDY}."
        )
    return {**checkpoint, "model": {**frozen, **model}}
