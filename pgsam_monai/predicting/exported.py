"""An exported network in the place of the trained one, where tensors go in and out: MONAI's evaluator, the server."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pgsam_monai.base.files import time_and_size
from pgsam_monai.runtime.choosing import exported_network
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import FILE


class ExportedModule(nn.Module):
    """Images (n, C, …), of the size that was exported -> logits (n, K+1, …), float32, on the images' device."""

    def __init__(self, bundle: str | Path, engine: str) -> None:
        """The arguments, and what is raised, are those of `runtime.choosing.exported_network`, which must find one."""
        super().__init__()
        self.exported = _found(bundle, engine)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        pixels = image.detach().cpu().float().contiguous()
        return torch.from_numpy(self.exported.answer(pixels.numpy())).to(image.device)


def _found(bundle: str | Path, engine: str) -> ExportedNetwork:
    exported = exported_network(bundle, engine)
    assert exported is not None
    return exported


def kept_network(folder: Path, engine: str) -> ExportedNetwork | None:
    """What answers in the place of a bundle's network; None where torch does. Kept while its files stay the same.

    Raises:
        UserFault: as `runtime.choosing.exported_network`.
    """
    files = [folder / "models" / FILE, folder / "models/model.pt", folder / "configs/inference.json"]
    return _kept(folder, engine, *(time_and_size(file) if file.is_file() else None for file in files))


@lru_cache(maxsize=8)
def _kept(folder: Path, engine: str, *stamps: object) -> ExportedNetwork | None:
    return exported_network(folder, engine)
