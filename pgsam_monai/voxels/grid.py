"""The grid of a volume's field at another spacing."""

from __future__ import annotations

from collections.abc import Sequence

from pgsam_monai.base.errors import UserFault

Size = tuple[int, int, int]


def grid_size(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float] | None) -> Size:
    """Voxels (rows, columns, slices) of a volume's field at another spacing, at least one along each axis.

    Args:
        shape: voxels of the volume (H, W, D).
        spacing: their size in mm along the same axes, the lengths of the affine's columns.
        target: mm; None leaves the volume as it is.
    Raises:
        ValueError: a spacing that is not positive.
    """
    if target is None:
        return tuple(int(count) for count in shape)
    if not (min(spacing) > 0 and min(target) > 0):
        raise UserFault(
            f"grid_size: spacings must be positive, got {[float(mm) for mm in spacing]} of the volume and"
            f" {list(target)} planned; correct the file's header, or plan spacing None."
        )
    return tuple(
        max(1, round(count * float(own) / wanted))
        for count, own, wanted in zip(shape, spacing, target, strict=True)
    )
