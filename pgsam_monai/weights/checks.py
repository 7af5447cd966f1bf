"""Whether a weights file is what was once written, and whether its numbers can be computed with."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.errors import UserFault

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = "put a whole copy of it there, or make it anew"
MASK = "mask"
"""Ends the names of entries that may be infinite: masks of attention."""


def check_archive(file: Path) -> None:
    """Compare the checksums that a PyTorch file keeps of its entries, which torch itself doesn't (1.7 GB/s).

    Files of older PyTorch versions are no archives and keep none.

    Raises:
        UserFault: other bytes than were written, or entries that unpack to more than the file holds.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            changed = archive.testzip() if unpacked <= file.stat().st_size else None
    except Exception as error:  # zipfile raises whatever damaged fields lead to
        unpacked, changed = 0, f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    if unpacked > file.stat().st_size:
        raise UserFault(f"Weights file '{file}' promises more than it holds; {REMEDY}.")
    if changed:
        raise UserFault(f"Weights file '{file}' isn't as it was written ({changed}); {REMEDY}.")


def check_tensors(content: Mapping[str, Any], file: Path) -> None:
    """Raise UserFault unless all tensors, however deep, are plain ones of finite numbers.

    Masks may be infinite, but nothing may be NaN.
    """
    import torch

    most_bytes = file.stat().st_size
    for name, tensor in tensors_of(content):
        odd = tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex()
        if odd or tensor.numel() * tensor.element_size() > most_bytes:
            raise UserFault(f"Weights file '{file}': '{name}' is no plain tensor; {REMEDY}.")
        if not is_finite(tensor, infinite=name.endswith(MASK)):
            raise UserFault(
                f"Weights file '{file}' holds values that are no finite numbers (in '{name}'), so it answers nothing: "
                "the training diverged, or the file is damaged; train again, with a lower learning_rate if it diverged."
            )


def tensors_of(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested dictionaries and lists, with its path."""
    import torch

    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, Mapping | list | tuple):
        entries = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in entries:
            yield from tensors_of(value, f"{name}.{key}" if name else str(key))


def is_finite(tensor: Tensor, *, infinite: bool = False) -> bool:
    """Whether all values are finite numbers; with `infinite` whether they are numbers at all."""
    import torch

    if not tensor.numel() or not tensor.is_floating_point():
        return True
    # A tenth of the time of isfinite().all(): no mask is made, and NaN reaches both ends.
    ends = [float(end) for end in torch.aminmax(tensor.detach())]
    return not any(map(math.isnan, ends)) if infinite else all(map(math.isfinite, ends))
