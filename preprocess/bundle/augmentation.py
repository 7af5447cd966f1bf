"""The augmentation of training patches (C, H, W, D) as config data, for networks that see sub-volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BOTH = ["image", "label"]
SAMPLING = {"mode": ["bilinear", "nearest"], "padding_mode": "zeros"}
DEGREE = 0.0174533
"""in radians"""


def patch_augmentation(name: str, patch: Sequence[int], *, sided: bool = False) -> dict[str, Any]:
    """Random transforms of one patch; labels are never interpolated, and what comes from outside is 0.

    `papers` is the list that RefSAM3D names (section 4.1.2), in MA-SAM's order and ranges: quarter turns and flips,
    rotation, gamma (of the patch's own range, as MONAI has it), an erased box, then two of ten operations. All of it is
    in plane and alike on every slice; 31 ms per patch of 64 x 64 x 64 on one core. Where classes are told by their side
    nothing is flipped: in a mirrored patch the left kidney's label would lie on what looks like the right one.
    `default` keeps left and right apart (no flips): one rotation, scaling and shift in three dimensions, brightness,
    contrast, gamma, noise; 15 ms.
    `none` leaves patches as they are.

    Args:
        name: one of these.
        patch: voxels (rows, columns, slices), of which lengths are shares.
        sided: whether classes are told by their side.

    Raises:
        KeyError: another name.
    """
    lists = {"papers": _papers, "default": _default, "none": lambda patch, sided: []}
    return {"_target_": "Compose", "transforms": lists[name](patch, sided)}


def _papers(patch: Sequence[int], sided: bool) -> list[dict[str, Any]]:
    turn = {"_target_": "RandRotate90d", "keys": BOTH, "prob": 0.5, "max_k": 3}
    flips = [{"_target_": "RandFlipd", "keys": BOTH, "prob": 0.5, "spatial_axis": axis} for axis in (0, 1)]
    return [
        *([turn] if patch[0] == patch[1] else []),  # a patch that is not square would get another shape
        *([] if sided else flips),
        _affine(prob=0.5, rotate_range=[0.0, 0.0, 15 * DEGREE]),
        {"_target_": "RandAdjustContrastd", "keys": "image", "prob": 0.5, "gamma": [0.5, 3.5]},
        {
            "_target_": "RandCoarseDropoutd", "keys": "image", "prob": 0.5, "holes": 1, "fill_value": 0.0,
            "spatial_size": _box_in_plane(0.02, patch), "max_spatial_size": _box_in_plane(0.05, patch),
        },
        {"_target_": "SomeOf", "transforms": _ten_operations(patch), "num_transforms": 2},
    ]  # fmt: skip


def _ten_operations(patch: Sequence[int]) -> list[dict[str, Any]]:
    """MA-SAM's, shears and shifts counted per axis."""
    image = {"keys": "image", "prob": 1.0}
    return [
        _affine(shear_range=[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]),
        _affine(shear_range=[0.0, 0.0, 0.3, 0.0, 0.0, 0.0]),
        {
            "_target_": "RandZoomd", "keys": BOTH, "prob": 1.0, "min_zoom": [0.8, 1.0], "max_zoom": [1.2, 1.0],
            "mode": ["trilinear", "nearest-exact"], "padding_mode": "constant",
        },
        _affine(translate_range=[0.2 * patch[0], 0.0, 0.0]),
        _affine(translate_range=[0.0, 0.2 * patch[1], 0.0]),
        {"_target_": "pgsam_monai.transforms.RandPosterized", **image, "bits": [4, 8]},
        {"_target_": "RandScaleIntensityFixedMeand", **image, "factors": 0.3},
        {"_target_": "RandScaleIntensityd", **image, "factors": 0.3},
        {"_target_": "pgsam_monai.transforms.RandSharpnessd", **image, "factor": [0.1, 1.9]},
        {"_target_": "Identityd", "keys": BOTH},
    ]  # fmt: skip


def _default(patch: Sequence[int], sided: bool) -> list[dict[str, Any]]:
    return [
        _affine(
            prob=0.8,
            rotate_range=[5 * DEGREE, 5 * DEGREE, 15 * DEGREE],
            scale_range=[[-0.2, 0.25]] * 3,
            translate_range=[0.08 * side for side in patch],
        ),
        {"_target_": "pgsam_monai.transforms.RandIntensitySliced", "keys": "image", "prob": 0.3},
    ]


def _affine(prob: float = 1.0, **ranges: Sequence[Any]) -> dict[str, Any]:
    return {"_target_": "RandAffined", "keys": BOTH, "prob": prob, **ranges, **SAMPLING}


def _box_in_plane(share: float, patch: Sequence[int]) -> list[int]:
    """Sides of a box through all slices that covers about this share of each."""
    side = round(share**0.5, 4)
    return [*(max(1, round(side * length)) for length in patch[:2]), -1]
