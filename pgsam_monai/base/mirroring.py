"""Mirroring: what the axes of a volume are called, and where left and right must stay apart.

Planning mirrors training samples with it, inference the volume that a network answers; both refuse the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.structures.library import UnknownStructure, find_structure
from pgsam_monai.base.structures.spelling import spelling_keys

LEFT_RIGHT = "left-right"
AXES = {LEFT_RIGHT: "LR", "front-back": "AP", "up-down": "SI"}
"""Name -> the letters of an orientation code (nibabel's) that stand for it."""
AUTO = "auto"
"""In place of axes: those that training mirrored."""
SIDES = {"left", "right"}


def sided_names(names: Iterable[str], *, context: str = "") -> list[str]:
    """Those of the names that say left or right, or mean a structure of one side such as "LV"; in their order.

    Args:
        names: of classes.
        context: as of `find_structure`.
    """
    return [name for name in names if _is_sided(name, context)]


def mirrored_axes(names: Sequence[str], orientation: str, *, sided: bool) -> tuple[int, ...]:
    """Axes of a volume in its planned orientation (rows, columns, slices), 0 to 2, that are called so.

    Args:
        names: of `AXES`.
        orientation: the planned code, such as "PLS"; "" where the files state none.
        sided: classes are told by their side.

    Raises:
        UserFault: another name, or one twice; no orientation by which axes are known; left and right, of sided classes.
    """
    for name in names:
        if name not in AXES:
            raise UserFault(
                f"mirror: '{name}' is no axis; there are {', '.join(AXES)}.{did_you_mean(name, AXES)}"
            )
    if len(set(names)) < len(names):
        raise UserFault(f"mirror: an axis is named twice in {', '.join(names)}; name it once.")
    if names and not orientation:
        raise UserFault(
            f"mirror {', '.join(names)}: the files state no orientation, so nobody knows which axis that is; leave it "
            "out."
        )
    if sided and LEFT_RIGHT in names:
        raise UserFault(
            f"mirror {LEFT_RIGHT}: classes are told by their side, and a mirrored left one is a right one; leave "
            f"{LEFT_RIGHT} out."
        )
    return tuple(axis for axis, letter in enumerate(orientation) for name in names if letter in AXES[name])


def _is_sided(name: str, context: str) -> bool:
    if any(SIDES & set(key.split()) for key in spelling_keys(name)):
        return True
    try:
        return bool(SIDES & set(find_structure(name, context=context).id.split("_")))
    except UnknownStructure:
        return False
