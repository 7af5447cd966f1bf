"""Room on the disk for what a training saves: asked for before it begins, told where it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pgsam_monai.base.room import LEAST, is_full, require_room
from pgsam_monai.training.frozen import split_state

MOMENTS = 2
"""tensors that AdamW keeps of each trained one"""


def require_checkpoint_room(folder: Path, network: nn.Module) -> None:
    """Raise UserFault unless the disk has room for model, checkpoint, its frozen part and a second copy of the largest,
    while it is written.

    What lies there already and would be replaced is counted as free.
    """
    changing, frozen = (sum(value.nbytes for value in part.values()) for part in split_state(network))
    trained = sum(value.nbytes for value in network.parameters() if value.requires_grad)
    model, checkpoint = changing + frozen, changing + MOMENTS * trained
    there = sum(file.stat().st_size for file in folder.glob("*.pt"))
    needed = model + frozen + checkpoint + max(model, checkpoint) - there
    require_room(folder, needed, what="Checkpoints take", remedy="train into another folder with --ckpt_dir")


def save_tensors(content: Any, file: Path) -> None:
    """torch.save, which on a full disk complains of positions in its archive.

    Raises:
        OSError: there is no room left, or no right to write.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        tried = file.stat().st_size if file.exists() else 0
        if is_full(file.parent, least=max(LEAST, tried // 100)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise
