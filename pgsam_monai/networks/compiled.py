"""Networks compiled by `torch.compile`, in place: what `compile` in a bundle's configs asks for."""

from __future__ import annotations

import os
import shlex
import shutil

import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.description import DescribedNetwork

MOST_VARIANTS = 64
"""Compiled forms of one kind of block before torch gives up on it: attention in windows or over the grid, with
gradients or without, whole batches and the smaller last one. Blocks of a kind share them. Torch's own limit is 8."""


def compile_blocks(network: DescribedNetwork, *, backend: str = "inductor") -> None:
    """Compile the blocks in which a network's time goes, when first called; same outputs, same names in its state dict.

    What is compiled is a block and not the network, so twelve blocks take the time of one. Shapes are static. Where a
    second batch size comes, as at the end of a volume, blocks of one width, which see maps of one size, are compiled
    once more for any number of slices; those of several widths (TinyViT, DynUNet) once for each number, since torch
    would take their maps' sides to be variable, too, and needs minutes for windows of such. Copies of the network
    (exports, merged adapters) aren't compiled.

    Args:
        network: on its device; it says what its blocks are in `compiled_parts`.
        backend: torch's name of what makes code of the graphs; "eager" makes none, for tests.

    Raises:
        UserFault: see `require_compiler`.
    """
    if backend == "inductor":
        require_compiler(next(network.parameters()).device)
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, MOST_VARIANTS)
    parts = network.compiled_parts()
    alike = len({next(part.parameters()).shape for part in parts}) == 1
    for part in parts:
        part.compile(backend=backend, dynamic=None if alike else False)


def require_compiler(device: torch.device) -> None:
    """Raise UserFault unless what torch.compile calls is here: a C++ compiler, on a GPU Triton as well."""
    compiler = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(compiler[0]) is None:
        raise UserFault(
            f"compile true needs a C++ compiler, and there is no '{compiler[0]}' here; install one (Debian: apt "
            "install g++), name yours in the environment variable CXX, or leave compile false."
        )
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        raise UserFault(
            "compile true needs Triton on a GPU (pip install triton; compute capability 7.0 or above), and torch finds "
            "none that works; install it, or leave compile false."
        )
