"""Room on the disk for what a training writes: asked for before it begins, and told where it ends."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pgsam_monai.base.errors import UserFault

MOMENTS = 2
"""tensors that AdamW keeps of each trained one"""
FULL = 1 << 20
"""Fewer free bytes than this are none."""


def require_room(folder: Path, network: nn.Module) -> None:
    """Raise UserFault unless the disk has room for model, checkpoint and the second copy of each while it is written.

    What lies there already and would be replaced is counted as free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = sum(value.nbytes for value in network.state_dict().values())
    trained = sum(value.nbytes for value in network.parameters() if value.requires_grad)
    checkpoint = model + MOMENTS * trained
    needed = model + checkpoint + max(model, checkpoint)
    there = sum(file.stat().st_size for file in folder.glob("*.pt"))
    free = shutil.disk_usage(folder).free
    if free + there < needed:
        raise UserFault(
            f"Training writes up to {needed / 1e9:.1f} GB of checkpoints, '{folder}' has {free / 1e9:.1f} GB free; "
            "make room, or train into another folder with --ckpt_dir."
        )


def save_tensors(content: Any, file: Path) -> None:
    """torch.save, which on a full disk complains of positions in its archive.

    Raises:
        OSError: there is no room left, or no right to write.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        if shutil.disk_usage(file.parent).free < max(
            FULL, file.stat().st_size // 100 if file.exists() else 0
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise
