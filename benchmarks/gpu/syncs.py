"""How often a call makes the host wait for its device: each time a GPU idles until the host has given it work again."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READ = "aten::_local_scalar_dense"
"""A number of a tensor for Python: `.item()`, `float(tensor)`, `if tensor:`."""
SIZED_BY_VALUES = (
    "aten::nonzero",
    "aten::masked_select",
    "aten::bincount",
    "aten::_unique2",
    "aten::unique_dim",
)
"""What only the device can say the size of."""
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Which call `nonzero` where an index is a mask."""
WAITED = "called a synchronizing CUDA operation"


class HostReads(TorchDispatchMode):
    """Counts, on any device, operations for which the host would wait for a GPU, by name.

    Copies to a GPU are not seen, and what a host draws at random for itself is counted too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        masked = name in INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name == READ or name in SIZED_BY_VALUES or masked:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def host_reads(call: Callable[[], object]) -> Counter[str]:
    """What `call` asks of its device, by name; see `HostReads`."""
    with HostReads() as reads:
        call()
    return reads.found


def cuda_syncs(call: Callable[[], object]) -> int:
    """How often `call` waits for the GPU, as torch itself says."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(WAITED in str(warning.message) for warning in told)
