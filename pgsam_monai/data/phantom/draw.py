"""Draws one phantom: geometry, body wall, organs, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.phantom.anatomy import ORGANS, Anatomy, Paint
from pgsam_monai.data.phantom.shapes import rotation
from pgsam_monai.data.phantom.trunk import Trunk, draw_trunk

__all__ = ["ORGANS", "Phantom", "make_phantom"]

SYNAPSE_PIXELS = 512  # in-plane size at which Synapse's 0.7-0.9 mm pixels hold
WARP_MARGIN_MM = 14.0  # a little more than the largest displacement of `_warp`


class Phantom(NamedTuple):
    """A drawn abdomen; unpacks as `image, label, affine`."""

    image: np.ndarray
    """(i, j, k) int16, Hounsfield units"""
    label: np.ndarray
    """(i, j, k) uint8, values of `ORGANS`, 0 elsewhere"""
    affine: np.ndarray
    """(4, 4) float64, voxel index -> mm, RAS+"""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What the paints are drawn on; all arrays share the axes (i, j, k)."""

    image: np.ndarray
    label: np.ndarray
    points: np.ndarray  # (3, i, j, k) position in the undeformed patient, mm
    outside_cavity: np.ndarray  # signed distance to the peritoneal cavity, mm; organs end at it
    texture: np.ndarray  # unit variance, slow
    to_index: np.ndarray  # (4, 4) patient mm -> voxel index, before the deformation


def make_phantom(
    seed: int, shape: tuple[int, int, int] | None = None, *, in_plane: tuple[int, int] = (160, 160)
) -> Phantom:
    """Draw the phantom of one seed.

    `shape` (i, j, k) in voxels; the field of view stays that of an abdomen, so a small shape gives large
    voxels. None: `in_plane` (i, j) pixels and 24 to 40 slices of 3 to 5 mm. The voxel axes run towards one of
    LPS, RAS, LAS, then are turned by a few degrees, so the affine is oblique. The same seed and
    shape give the same voxels. Raises ValueError when an axis is shorter than 2.
    """
    if shape is not None and (len(shape) != 3 or min(shape) < 2):
        raise UserFault(
            f"make_phantom: shape must be three axes of at least 2 voxels, got {shape}; try (48, 40, 12)."
        )
    random = np.random.default_rng(seed)
    shape, affine = _geometry(random, shape, in_plane)
    trunk = Trunk.at_random(random)
    points, to_index = _patient_points(random, shape, affine)
    points += _warp(random, shape, affine)
    depth, texture = trunk.depth(points), _texture(random, shape, affine)
    canvas = Canvas(
        image=draw_trunk(points, depth, texture, trunk, pixel_mm=float(np.linalg.norm(affine[:3, 0]))),
        label=np.zeros(shape, np.uint8),
        points=points,
        outside_cavity=trunk.cavity_depth - depth,
        texture=texture,
        to_index=to_index,
    )
    for paint in Anatomy(random).paints():
        _draw(canvas, paint)
    canvas.image[...] += _noise(random, shape)
    image = np.clip(np.rint(canvas.image), -1024, 3071).astype(np.int16)
    return Phantom(image=image, label=canvas.label, affine=affine)


def _geometry(
    random, shape: tuple[int, int, int] | None, in_plane: tuple[int, int]
) -> tuple[tuple[int, ...], np.ndarray]:
    pixel_512_mm, coverage_mm = random.uniform(0.70, 0.82), random.uniform(150, 185)
    slice_mm = random.uniform(3.6, 5.0)
    if shape is None:
        shape = (*in_plane, int(np.clip(round(coverage_mm / slice_mm), 24, 40)))
    else:
        slice_mm = coverage_mm / shape[2]
    field_mm = pixel_512_mm * SYNAPSE_PIXELS
    spacing = (field_mm / shape[0], field_mm / shape[0], slice_mm)
    codes = ("LPS", "RAS", "LAS")[random.integers(3)]
    signs = [1 if code in "RAS" else -1 for code in codes]
    turn = rotation(random.uniform(-1, 1, 3) * (6, 3, 4))  # gantry-like tilt, and a patient lying askew
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(signs) @ np.diag(spacing)
    middle = (np.asarray(shape) - 1) / 2
    affine[:3, 3] = random.uniform(-1, 1, 3) * (6, 6, 8) + (0, 0, 4) - affine[:3, :3] @ middle
    return shape, affine


def _patient_points(random, shape, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of every voxel in the undeformed patient (3, i, j, k), and the way back to indices (4, 4)."""
    pose = np.eye(4)
    size = (1 + random.normal(0, 0.03)) * (1 + random.normal(0, 0.025, 3))
    pose[:3, :3] = rotation(random.normal(0, 2.5, 3)) @ np.diag(np.clip(size, 0.88, 1.1))
    to_patient = (np.linalg.inv(pose) @ affine).astype(np.float32)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    points = np.empty((3, *shape), np.float32)
    for axis, (row_i, row_j, row_k, shift) in enumerate(to_patient[:3]):
        points[axis] = (row_i * i + shift) + row_j * j + row_k * k
    return points, np.linalg.inv(to_patient.astype(np.float64))


def _warp(random, shape, affine: np.ndarray) -> np.ndarray:
    """Smooth displacement in mm (3, i, j, k): a few plane waves, each a product of three 1-D factors."""
    displacement = np.zeros((3, *shape), np.float32)
    for _ in range(5):
        direction = random.normal(0, 1, 3)
        wave = 2 * np.pi / random.uniform(110, 220) * direction / np.linalg.norm(direction)
        steps = wave @ affine[:3, :3]
        i, j, k = (
            np.exp(1j * step * np.arange(n)).astype(np.complex64)
            for step, n in zip(steps, shape, strict=True)
        )
        phase = np.exp(1j * random.uniform(0, 2 * np.pi))
        field = ((i * phase)[:, None] * j[None]).astype(np.complex64)[:, :, None] * k
        displacement += (
            np.clip(random.normal(0, 2.0, 3), -2.8, 2.8).astype(np.float32).reshape(3, 1, 1, 1) * field.real
        )
    return displacement


def _texture(random, shape, affine: np.ndarray) -> np.ndarray:
    sigma = 4.0 / np.linalg.norm(affine[:3, :3], axis=0)  # voxels; 4 mm
    field = ndimage.gaussian_filter(random.standard_normal(shape, np.float32), sigma, mode="wrap", truncate=3)
    return field / max(float(field.std()), 1e-6)


def _noise(random, shape) -> np.ndarray:
    """Scanner noise, correlated within a slice by the reconstruction kernel."""
    field = ndimage.gaussian_filter(
        random.standard_normal(shape, np.float32), (0.6, 0.6, 0), mode="wrap", truncate=3
    )
    return field * np.float32(random.uniform(10, 16) / field.std())


def _draw(canvas: Canvas, paint: Paint) -> None:
    """Blend one paint in; at its edge a voxel holds the share of it that the shape covers."""
    box = _box(canvas, paint)
    if box is None:
        return
    distance = np.maximum(paint.shape(canvas.points[(slice(None), *box)]), canvas.outside_cavity[box])
    width = sum(np.abs(np.gradient(distance, axis=axis)) for axis in range(3))
    cover = np.clip(0.5 - distance / np.maximum(width, 1e-3), 0, 1)
    image = canvas.image[box]
    image += cover * (paint.hounsfield + paint.texture * canvas.texture[box] - image)
    if paint.label is not None:
        canvas.label[box][cover > 0.5] = paint.label


def _box(canvas: Canvas, paint: Paint) -> tuple[slice, ...] | None:
    """Index box that surely holds the paint; None when it lies outside the field of view."""
    centre = nib.affines.apply_affine(canvas.to_index, paint.centre)
    reach = np.abs(canvas.to_index[:3, :3]) @ (np.asarray(paint.reach) + WARP_MARGIN_MM)
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, canvas.label.shape).astype(int)
    low = np.minimum(low, high - 2)  # np.gradient needs two voxels along every axis
    if (high < 2).any() or (low < 0).any():
        return None
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
