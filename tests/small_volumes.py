"""Small oblique, anisotropic cases on disk, and the preprocessing that bundles name."""

from pathlib import Path

import nibabel as nib
import numpy as np
from monai.transforms import CastToTyped, Compose, Orientationd, ScaleIntensityRanged

from pgsam_monai.transforms import MapLabelsd, ReadCased

KEYS = ["image", "label"]
LABELS = [0, 5, 205, 420]


def oblique_affine(spacing=(0.7, 0.9, 2.5), axes=(0, 1, 2), signs=(-1, 1, 1)) -> np.ndarray:
    """Voxel -> mm: axis n of the array runs along world axis axes[n], all turned by about 12 degrees."""
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.eye(3)[:, list(axes)] @ np.diag(np.array(signs) * spacing)
    affine[:3, 3] = (-31.5, 12.25, 7.125)
    return affine


def make_arrays(shape=(9, 7, 5), seed=0, values=LABELS) -> tuple[np.ndarray, np.ndarray]:
    """CT-like int16 noise and a random label map of all values: no mirror image or rotation equals it."""
    random = np.random.default_rng(seed)
    image = random.integers(-200, 400, shape).astype(np.int16)
    label = random.choice(values, shape).astype(np.int32)
    return image, label


def write_case(folder: Path, name="img0001", *, shape=(9, 7, 5), seed=0, affine=None, values=LABELS) -> dict:
    """An image and a label as .nii.gz; the item that datasets take."""
    image, label = make_arrays(shape, seed, values)
    affine = oblique_affine() if affine is None else affine
    item = {"image": str(folder / f"{name}.nii.gz"), "label": str(folder / f"{name}_label.nii.gz")}
    nib.save(nib.Nifti1Image(image, affine), item["image"])
    nib.save(nib.Nifti1Image(label, affine), item["label"])
    return item


def bundle_preprocessing(axcodes="PLS", labels=LABELS, a_max=275) -> Compose:
    """The list as bundles have it; without axcodes, as for pictures."""
    both = {"keys": KEYS, "allow_missing_keys": True}
    orientation = [Orientationd(axcodes=axcodes, labels=None, **both)] if axcodes else []
    return Compose(
        [
            ReadCased(**both),
            *orientation,
            ScaleIntensityRanged("image", a_min=-125, a_max=a_max, b_min=0.0, b_max=1.0, clip=True),
            MapLabelsd("label", labels, allow_missing_keys=True),
            CastToTyped("image", dtype="float16"),
        ]
    )
