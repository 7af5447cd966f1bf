"""Hands MONAI's meta data (affine, file name, applied transforms) on to a computed tensor."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor


def with_meta_of(result: torch.Tensor, source: Any) -> torch.Tensor:
    """`result` as a MetaTensor with a copy of the source's meta data, or as it is if the source is none."""
    return MetaTensor(result).copy_meta_from(source) if isinstance(source, MetaTensor) else result
