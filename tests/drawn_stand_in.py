"""A file of random numbers in the place of drawn_tiny's, of the same layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from pgsam_monai.base.files import sha256_of
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.network import SAM_MASKS
from pgsam_monai.weights import files

NAME = "drawn_tiny"


def random_state(seed: int = 7) -> dict[str, torch.Tensor]:
    """SAM's three parts around vit_tiny with SAM's own masks, in float16."""
    torch.manual_seed(seed)
    record = KNOWN_WEIGHTS[NAME]
    parts = build_sam(backbone=record.backbone, image_size=record.image_size, num_classes=SAM_MASKS)
    named = zip(parts._fields, parts, strict=True)
    return {
        f"{part}.{key}": torch.randn(value.shape).mul(0.05).half()
        for part, module in named
        for key, value in module.state_dict().items()
    }


def put_stand_in(monkeypatch, folder: Path) -> Path:
    """Writes such a file to `folder`, which from now on is what ships with this package."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{NAME}.safetensors"
    save_file(random_state(), file)
    record = replace(KNOWN_WEIGHTS[NAME], sha256=sha256_of(file), size_bytes=file.stat().st_size)
    monkeypatch.setitem(KNOWN_WEIGHTS, NAME, record)
    monkeypatch.setattr(files, "SHIPPED", folder)
    return file
