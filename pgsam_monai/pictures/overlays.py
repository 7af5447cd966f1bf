"""Pictures that show a prediction on its image, beside the reference where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pgsam_monai.base.cases import Paths, case_name, file_format
from pgsam_monai.base.colours import colour_of
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import whole
from pgsam_monai.base.planes import PLANES, choose_plane
from pgsam_monai.base.volume import read_image, read_label_file

PANEL_PX, MARGIN_PX, LINE_PX, OPACITY = 400, 10, 22, 0.35


@dataclass(frozen=True, kw_only=True)
class View:
    """Arrays turned for display: (slices, rows, columns), as a radiologist looks at them."""

    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    pixel: tuple[float, float]
    """mm per row and per column"""
    plane: str


def write_overlays(
    image: Paths | np.ndarray,
    prediction: Paths | np.ndarray,
    reference: Paths | np.ndarray | None = None,
    *,
    folder: str | Path,
    labels: Mapping[str, int] | None = None,
    affine: np.ndarray | None = None,
    window: tuple[float, float] | None = None,
    plane: str | None = None,
    slices: int = 3,
    name: str | None = None,
) -> Path:
    """Write `<folder>/<name>.png`: a row per slice with the image, the prediction and the reference on it.

    Each of the first three is a file of any format of `pgsam_monai.base.volume` (a DICOM series folder
    too) or an array (i, j, k), all on one grid; of several channels the first is shown. `affine` (4, 4)
    voxel -> mm, RAS+, is needed for an array image with a geometry. `labels` maps class names to values,
    None: the values found. `window` (low, high) in grey values, None: percentiles 1 and 99 of what is
    shown. `plane` axial, coronal, sagittal, or none for pictures; None: the plane in which the image was
    taken, judged by the largest spacing. Patient right is on the left of axial and coronal views. The part
    around the classes is shown, in the slices that show most classes well and, given a reference, the one
    that disagrees most. Returns the file. Raises ValueError when shapes differ.
    """
    name = name or ("overlay" if isinstance(image, np.ndarray) else case_name(image))
    voxels, affine = _image(image, affine)
    predicted, referred = _label(prediction), None if reference is None else _label(reference)
    for kind, array in (("prediction", predicted), ("reference", referred)):
        if array is not None and array.shape != voxels.shape:
            raise UserFault(
                f"Overlay '{name}': image shape {voxels.shape} and {kind} shape {array.shape} differ; "
                f"bring the {kind} onto the image's grid."
            )
    labels = _found_labels(predicted, referred) if labels is None else labels
    view = make_view(voxels, predicted, referred, affine, plane or choose_plane(voxels.shape, affine))
    view = crop_view(view, labels)
    page = _page(view, choose_slices(view, labels, slices), labels, name, window)
    return save_page(page, folder, name)


def save_page(page: Image.Image, folder: str | Path, name: str) -> Path:
    """Write `<folder>/<name>.png`, replaced whole or not at all; returns it."""
    file = Path(folder) / f"{name}.png"
    with whole(file) as partial:
        page.save(partial, format="PNG", optimize=True)
    return file


def _image(source: Paths | np.ndarray, affine: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """One channel (i, j, k) and affine; colour pictures become their brightness."""
    if isinstance(source, np.ndarray):
        array = source[..., 0] if source.ndim == 4 else source
        return _with_slices(array), np.eye(4) if affine is None else affine
    read = read_image(source)
    picture = file_format(source) == "picture"
    return read.voxels.mean(axis=0) if picture else read.voxels[0], read.affine


def _label(source: Paths | np.ndarray) -> np.ndarray:
    return _with_slices(source) if isinstance(source, np.ndarray) else read_label_file(source)[0]


def _with_slices(array: np.ndarray) -> np.ndarray:
    return array[..., None] if array.ndim == 2 else array


def _found_labels(*arrays: np.ndarray | None) -> dict[str, int]:
    values = set().union(*(np.unique(array).tolist() for array in arrays if array is not None)) - {0}
    return {f"label {value}": int(value) for value in sorted(values)}


def make_view(image, prediction, reference, affine: np.ndarray, plane: str) -> View:
    """Turn arrays (i, j, k) for display: rows from the front (axial) or the head, columns from the right."""
    if plane not in PLANES:
        raise UserFault(f"plane must be one of {', '.join(PLANES)}, got {plane!r}.")
    codes = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}.get(plane)
    turn = np.array([[1, 1], [2, 1], [0, 1]])  # pictures: rows and columns as stored, slices first
    if codes:
        stored = nib.orientations.io_orientation(affine)
        turn = nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(codes))

    def turned(array):
        return None if array is None else nib.orientations.apply_orientation(array, turn)

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shown = spacing[np.argsort(turn[:, 0])]
    return View(
        image=turned(image), prediction=turned(prediction), reference=turned(reference),
        pixel=(float(shown[1]), float(shown[2])), plane=plane,
    )  # fmt: skip


def crop_view(view: View, labels: Mapping[str, int]) -> View:
    """The view cut in plane to all classes and a margin of a quarter of them, at least 15 mm (or pixels)."""
    values = list(labels.values())
    maps = [view.prediction] if view.reference is None else [view.prediction, view.reference]
    shadow = np.logical_or.reduce([np.isin(array, values).any(axis=0) for array in maps])  # (rows, columns)
    if not shadow.any():
        return view
    cuts = []
    for axis, mm in enumerate(view.pixel):
        (held,) = np.nonzero(shadow.any(axis=1 - axis))
        first, last = int(held[0]), int(held[-1])
        margin = round(max((last - first) / 4, 15 / mm))
        cuts.append(slice(max(first - margin, 0), last + 1 + margin))
    box = (slice(None), *cuts)
    return replace(
        view,
        image=view.image[box],
        prediction=view.prediction[box],
        reference=None if view.reference is None else view.reference[box],
    )


def choose_slices(view: View, labels: Mapping[str, int], count: int) -> list[int]:
    """Up to `count` slice numbers in order: where maps disagree most, then where the classes show best."""
    guide = view.prediction if view.reference is None else view.reference
    area = np.array([(guide == value).sum(axis=(1, 2)) for value in labels.values()], float).reshape(
        -1, len(guide)
    )
    share = area / np.maximum(area.max(axis=1, keepdims=True), 1)  # (K, slices), 1 where a class is largest
    chosen: list[int] = []
    if view.reference is not None:
        wrong = (view.prediction != view.reference).sum(axis=(1, 2))
        chosen += [int(wrong.argmax())] if wrong.any() else []
    while len(chosen) < min(count, len(guide)):
        seen = share[:, chosen].max(axis=1, keepdims=True) if chosen else np.zeros((len(share), 1))
        gain = np.maximum(share - seen, 0).sum(axis=0) + 1e-3 * share.sum(axis=0)
        gain[chosen] = -1
        best = int(gain.argmax())
        if gain[best] <= 0 and chosen:
            break
        chosen.append(best if gain[best] > 0 else len(guide) // 2)
    return sorted(chosen)


def _page(view: View, chosen: list[int], labels: Mapping[str, int], name: str, window) -> Image.Image:
    low, high = window or np.percentile(view.image[chosen], (1, 99))
    grey = np.clip((view.image[chosen].astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    maps = [None, view.prediction] + ([view.reference] if view.reference is not None else [])
    titles = ["image", "prediction", "reference"][: len(maps)]
    rows = [
        [draw_panel(slice_, None if array is None else array[number], labels, view.pixel) for array in maps]
        for slice_, number in zip(grey, chosen, strict=True)
    ]
    width, height = rows[0][0].size
    page_width = MARGIN_PX + len(maps) * (width + MARGIN_PX)
    legend = _legend(labels, page_width)
    top = MARGIN_PX + 2 * LINE_PX
    page = Image.new("RGB", (page_width, top + len(rows) * (height + MARGIN_PX) + legend.height), "black")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    pen.text((MARGIN_PX, MARGIN_PX), name, fill="white", font=font, stroke_width=2, stroke_fill="black")
    for column, title in enumerate(titles):
        left = MARGIN_PX + column * (width + MARGIN_PX)
        pen.text(
            (left, MARGIN_PX + LINE_PX), title, fill="white", font=font, stroke_width=2, stroke_fill="black"
        )
        for row, panels in enumerate(rows):
            page.paste(panels[column], (left, top + row * (height + MARGIN_PX)))
    for row, number in enumerate(chosen):
        corner = (MARGIN_PX + 4, top + row * (height + MARGIN_PX) + 3)
        text = f"{view.plane} {number + 1} of {len(view.image)}" if view.plane != "none" else ""
        pen.text(corner, text, fill="white", font=font, stroke_width=2, stroke_fill="black")
        if view.plane in ("axial", "coronal"):
            pen.text(
                (MARGIN_PX + 4, corner[1] + height // 2),
                "R",
                fill="white",
                font=font,
                stroke_width=2,
                stroke_fill="black",
            )
    page.paste(legend, (0, page.height - legend.height))
    return page


def draw_panel(
    grey: np.ndarray,
    label_map: np.ndarray | None,
    labels: Mapping[str, int],
    pixel: tuple[float, float],
    side_px: int = PANEL_PX,
) -> Image.Image:
    """One slice (rows, columns), grey 0 to 1, equal mm per pixel both ways, classes filled and outlined."""
    size = panel_size(grey.shape, pixel, side_px)
    grey = Image.fromarray(np.uint8(np.round(255 * grey))).resize(size, Image.Resampling.BICUBIC)
    canvas = np.stack([np.asarray(grey, np.float32)] * 3, axis=-1)
    if label_map is None:
        return Image.fromarray(canvas.astype(np.uint8))
    for index, value in enumerate(labels.values()):
        inside, outline = draw_mask(label_map == value, size)
        colour = np.array(colour_of(index), np.float32)
        canvas[inside] += OPACITY * (colour - canvas[inside])
        canvas[outline] = colour
    return Image.fromarray(canvas.astype(np.uint8))


def panel_size(shape: tuple[int, ...], pixel: tuple[float, float], side_px: int) -> tuple[int, int]:
    """(width, height) at which a slice of (rows, columns) has a longer side of `side_px` and its true proportions."""
    rows_mm, columns_mm = np.multiply(shape, pixel)
    scale = side_px / max(rows_mm, columns_mm)
    return max(1, round(columns_mm * scale)), max(1, round(rows_mm * scale))


def draw_mask(mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A mask (rows, columns) at (width, height) as drawn, and its outline of two pixels, both bool."""
    inside = np.asarray(Image.fromarray(np.uint8(mask)).resize(size, Image.Resampling.NEAREST), bool)
    return inside, inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)


def _legend(labels: Mapping[str, int], width: int) -> Image.Image:
    font = ImageFont.load_default(15)
    places, left, top = [], MARGIN_PX, 4
    for label in labels:
        length = 20 + round(font.getlength(label)) + 18
        if left + length > width and left > MARGIN_PX:
            left, top = MARGIN_PX, top + LINE_PX
        places.append((left, top))
        left += length
    legend = Image.new("RGB", (width, top + LINE_PX + MARGIN_PX), "black")
    pen = ImageDraw.Draw(legend)
    for index, (label, (x, y)) in enumerate(zip(labels, places, strict=True)):
        pen.rectangle((x, y + 3, x + 13, y + 16), fill=colour_of(index))
        pen.text((x + 20, y), label, fill="white", font=font, stroke_width=2, stroke_fill="black")
    return legend
