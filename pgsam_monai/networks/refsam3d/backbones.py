"""The ViTs that can be RefSAM3D's image encoder."""

from __future__ import annotations

from collections.abc import Sequence

from pgsam_monai.base.backbones import BACKBONES, VOLUME_BACKBONES, Vit
from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.networks.refsam3d.encoder import VolumeEncoder


def find_volume_backbone(name: str) -> Vit:
    """The backbone of that name.

    Raises:
        ValueError: unknown, or one whose patch embedding or blocks are 2-D convolutions.
    """
    if name in VOLUME_BACKBONES:
        return VOLUME_BACKBONES[name]
    known = f"RefSAM3D's backbone must be one of {', '.join(VOLUME_BACKBONES)}, got '{name}'"
    if name in BACKBONES:
        raise UserFault(f"{known}, which is made of 2-D convolutions; choose a plain ViT, such as vit_mini.")
    raise UserFault(f"{known}.{did_you_mean(name, VOLUME_BACKBONES)}")


def build_volume_encoder(
    backbone: str,
    *,
    patch: Sequence[int],
    token_size: Sequence[int],
    window: int | Sequence[int] = (8, 8, 8),
    adapters: bool = True,
    checkpointing: bool = False,
) -> VolumeEncoder:
    """The image encoder with random weights.

    Args:
        backbone: a name in `VOLUME_BACKBONES`.
        patch: see `VolumeEncoder`, as are the others.
        token_size: likewise.
        window: likewise.
        adapters: likewise.
        checkpointing: likewise.

    Raises:
        ValueError: unknown backbone, or an argument outside its range.
    """
    sizes = find_volume_backbone(backbone)
    return VolumeEncoder(
        patch=patch,
        token_size=token_size,
        embed_dim=sizes.embed_dim,
        depth=sizes.depth,
        heads=sizes.heads,
        mlp_ratio=sizes.mlp_ratio,
        relative_positions=sizes.relative_positions,
        window=window,
        adapters=adapters,
        checkpointing=checkpointing,
        neck_convolution=sizes.neck_convolution,
    )
