"""The plane that a volume's slices lie in."""

from __future__ import annotations

import nibabel as nib
import numpy as np

PLANES = ("axial", "coronal", "sagittal", "none")


def choose_plane(shape: tuple[int, ...], affine: np.ndarray) -> str:
    """The plane across the axis of the largest spacing, axial among equals; "none" for pictures."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if shape[2] == 1 and np.allclose(affine, np.eye(4)):
        return "none"
    codes = nib.aff2axcodes(affine)
    by_plane = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}
    length = {p: spacing[next(i for i in range(3) if codes[i] in pair)] for p, pair in by_plane.items()}
    return max(length, key=lambda p: (round(length[p], 3), -list(by_plane).index(p)))
