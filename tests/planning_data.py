"""A tiny data set on disk for the planning tests: Synapse's raw layout, oblique and anisotropic, a gap
in the labels."""

import json

import nibabel as nib
import numpy as np


def write_scans(folder, *, count=6, shape=(24, 20, 10), spacing=(1.0, 1.2, 4.0), seed=0):
    """`count` volumes with a box of value 1 and a small one of value 5; returns the folder."""
    rng = np.random.default_rng(seed)
    (folder / "img").mkdir(parents=True)
    (folder / "label").mkdir()
    affine = oblique_affine(spacing)
    for number in range(1, count + 1):
        label = np.zeros(shape, dtype=np.uint8)
        label[4:16, 4:14, 2:8] = 1
        label[18:22, 14:18, 3:5] = 5
        image = rng.normal(40, 20, shape) + 60 * (label == 1) + 90 * (label == 5)
        image[:2] = -1000
        image[2, :3, 0] = 1200
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), folder / "img" / f"img{number:04d}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "label" / f"label{number:04d}.nii.gz")
    (folder / "labels.json").write_text(json.dumps({"background": 0, "liver": 1, "aorta": 5}))
    return folder


def oblique_affine(spacing, angle=0.1):
    """Voxel -> mm, turned by `angle` about the last axis, stored as LPS."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-spacing[0], -spacing[1], spacing[2]])
    affine[:3, 3] = (10, -20, 30)
    return affine
