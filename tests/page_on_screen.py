"""A random case, its page, and where on the screen its voxels must be; worked out without the page's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pgsam_monai.base.colours import colour_of
from pgsam_monai.pictures.overlays import make_view
from pgsam_monai.pictures.page import encode
from pgsam_monai.pictures.page.write import write_page

SHAPE = (14, 11, 8)
AFFINE = np.array([[0, 1.5, 0, -20.0], [-1, 0, 0, 30.0], [0, 0, 3.0, 5.5], [0, 0, 0, 1]])
"""Axis i runs to the back, j to the right, k to the head."""
NASTY = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
LABELS = {"liver": 2, NASTY: 5, "absent": 9}
PLAIN = "smooth=0&cross=0&draw=fill"


@dataclass(frozen=True, kw_only=True)
class Case:
    page: Path
    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray


def write_random_case(folder: Path) -> Case:
    """Grey values 0 to 100 and classes at random: no mirror image or rotation equals them. Slabs of 3 slices."""
    random = np.random.default_rng(5)
    image = random.integers(0, 101, SHAPE).astype(np.int16)
    prediction = random.choice(np.array([0, 0, 2, 5], np.uint8), SHAPE)
    prediction[3:6, 4:8, 6] = 5  # so that most of 5 is here
    reference = np.where(random.random(SHAPE) < 0.2, 0, prediction).astype(np.uint8)
    files = []
    for name, voxels in (("image", image), ("prediction", prediction), ("reference", reference)):
        files.append(folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(voxels, AFFINE), files[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SLAB_VOXELS", 3 * SHAPE[0] * SHAPE[1])
        page = write_page(*files, file=folder / "page.html", labels=LABELS, window=(0, 100), name=NASTY)
    return Case(page=page, image=image, prediction=prediction, reference=reference)


def view_of(case, plane):
    """Arrays (slices, rows, columns) as `overlays` turns them, and mm of a row and a column."""
    return make_view(case.image, case.prediction, case.reference, AFFINE, plane)


def centres(page, plane, shape, pixel_mm):
    """Window's pixels (rows, columns, 2) as (y, x) of the voxels' centres of a slice that fills its view."""
    left, top, width, height = page.box(f'[data-plane="{plane}"] canvas')
    rows_mm, columns_mm = np.multiply(shape, pixel_mm)
    scale = min(width / columns_mm, height / rows_mm)
    y = top + (height - scale * rows_mm) / 2 + scale * pixel_mm[0] * (np.arange(shape[0]) + 0.5)
    x = left + (width - scale * columns_mm) / 2 + scale * pixel_mm[1] * (np.arange(shape[1]) + 0.5)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)


def colours_at(page, plane, shape, pixel_mm):
    """(rows, columns, RGB) of the voxels' centres on the screen, without the letters at its edges."""
    page.evaluate(
        "document.querySelectorAll('.where, .end').forEach((text) => (text.style.visibility = 'hidden'))"
    )
    places = np.floor(centres(page, plane, shape, pixel_mm)).astype(int)
    return page.screenshot()[places[..., 0], places[..., 1]].astype(int)


def expected_colours(grey, labels, opacity, low=0, high=100, hidden=()):
    """(rows, columns, RGB) of grey values and label values, as blending is defined."""
    colours = np.repeat(np.clip(255 * (grey[..., None] - low) / (high - low), 0, 255), 3, axis=-1)
    for index, value in enumerate(LABELS.values()):
        if value not in hidden:
            inside = labels == value
            colours[inside] += opacity * (np.array(colour_of(index)) - colours[inside])
    return colours


def assert_shows(page, case, plane, slice_, opacity, **options):
    view = view_of(case, plane)
    shown = colours_at(page, plane, view.image.shape[1:], view.pixel)
    expected = expected_colours(view.image[slice_], view.prediction[slice_], opacity, **options)
    assert np.abs(shown - expected).max() <= 3


def where(page, plane="axial"):
    return page.text(f'[data-plane="{plane}"] .where')


def middle(page, plane="axial"):
    left, top, width, height = page.box(f'[data-plane="{plane}"] canvas')
    return left + width / 2, top + height / 2


def set_slider(page, selector, value):
    """As a user's drag does, with the events that it fires."""
    page.evaluate(
        f"(() => {{ const slider = document.querySelector('{selector}'); slider.value = {value};"
        " slider.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.settle()
