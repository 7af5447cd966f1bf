"""An image patch by patch, in the space that CLIP's towers write to."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault


def split_patches(tower: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, H, W) as the tower wants them → its pooled vectors (B, d), and its patches' (B, d, rows, columns).

    Raises:
        UserFault: the tower, open_clip's own or timm's, has no patches.
    """
    if hasattr(tower, "trunk"):
        return _of_timm(tower, pixels)
    if not hasattr(tower, "grid_size"):
        raise _without_patches(tower)
    tower.output_tokens = True
    pooled, tokens = tower(pixels)
    if tokens.shape[1] != math.prod(tower.grid_size):  # attention pooling leaves its queries
        raise _without_patches(tower)
    if tower.final_ln_after_pool:
        tokens = tower.ln_post(tokens)
    if tower.proj is not None:
        tokens = tokens @ tower.proj
    return pooled, tokens.transpose(1, 2).unflatten(-1, tower.grid_size)


def _of_timm(tower: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """As BiomedCLIP's: timm's trunk and open_clip's head."""
    trunk = tower.trunk
    tokens = trunk.forward_features(pixels)
    grid = getattr(getattr(trunk, "patch_embed", None), "grid_size", None)
    if tokens.ndim != 3 or grid is None:
        raise _without_patches(trunk)
    pooled = tower.head(trunk.forward_head(tokens))
    patches = tower.head(trunk.fc_norm(tokens[:, trunk.num_prefix_tokens :]))
    return pooled, patches.transpose(1, 2).unflatten(-1, grid)


def _without_patches(tower: nn.Module) -> UserFault:
    return UserFault(
        f"CLIP's image tower {type(tower).__name__} has no patches; choose a model with a vision transformer, or "
        "image_prior 'global'."
    )
