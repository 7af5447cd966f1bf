"""Pictures of PG-SAM's prior: where each class's text fits the image (Fig. 3 and 4 of Zhong et al., 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.colours import colour_of
from pgsam_monai.base.volume import read_label_file
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.pictures.overlays import (
    LINE_PX,
    MARGIN_PX,
    View,
    choose_slices,
    draw_mask,
    draw_panel,
    make_view,
    panel_size,
    save_page,
)

SIDE_PX, CELL_PX, COLUMNS, BAR_PX, HEAT = 240, 170, 6, 240, 0.6
"""A panel's longer side, the least width of its title, panels in a row, the colour bar's width, a map's opacity."""
MAGMA = "000004 1D1147 51127C 822681 B63679 E65164 FB8861 FEC287 FCFDBF"
"""Nine equal steps of matplotlib's colour map (CC0)."""
OUTLINE = (0, 229, 255)
"""A colour that magma does not hold."""
FRAME = (90, 90, 90)

Panel = tuple[str, Image.Image, tuple[int, int, int] | None, str]
"""Title, picture, the class's colour, and what follows the title whatever its length."""


@dataclass(frozen=True, kw_only=True)
class GuidedSlice:
    """A slice as displayed, with its prior."""

    title: str
    grey: np.ndarray
    """(rows, columns), 0 to 1, as the network sees it"""
    label_map: np.ndarray
    """(rows, columns), the data set's values"""
    weights: np.ndarray
    """W of each class, background first: (K+1, rows, columns), 0 to 1"""


@dataclass(frozen=True, kw_only=True)
class GuideMapWriter:
    """Writes one page per case: up to three slices, each alone, with its prediction, and with each class's W."""

    network: nn.Module
    """with `guide_maps`, its weights loaded"""
    inferer: SliceInferer
    """the one that predicted"""
    labels: Mapping[str, int]
    """class names in the network's order, background first, and their values in the prediction"""
    device: torch.device

    def write(
        self, image: MetaTensor, prediction: Paths, *, folder: str | Path, name: str, slices: int = 3
    ) -> Path:
        """Write `<folder>/<name>.png`.

        The slices are those that overlays of the same prediction show, in the plane that the network works in, and
        turned likewise.

        Args:
            image: (C, H, W, D) as preprocessed for the network, 0 to 1, with its affine.
            prediction: its label file, of any orientation.
            folder: made if need be.
            name: of the case.
            slices: at most so many.
        """
        view, order = turn_case(image, prediction)
        chosen = choose_slices(view, self._foreground(), slices)
        weights = self._weights(image, [order[number] for number in chosen])
        affine = np.asarray(image.affine)
        shown = [
            GuidedSlice(
                title="" if view.plane == "none" else f"{view.plane} {number + 1} of {len(view.image)}",
                grey=np.clip(view.image[number], 0, 1),
                label_map=view.prediction[number],
                weights=np.stack([_turn(array[..., None], affine, view.plane).image[0] for array in maps]),
            )
            for number, maps in zip(chosen, weights, strict=True)
        ]
        return save_page(draw_guide_page(shown, labels=self.labels, view=view, name=name), folder, name)

    def _foreground(self) -> dict[str, int]:
        return dict(list(self.labels.items())[1:])

    def _weights(self, image: MetaTensor, numbers: Sequence[int]) -> np.ndarray:
        """W of the image's slices with these numbers on their own grid: (slices, K+1, H, W)."""
        given = self.inferer
        walk = SliceInferer(
            given.image_size, given.fit, batch_size=given.batch_size, output="logits",
            precision=given.precision, device=self.device, sampling=given.sampling,
        )  # fmt: skip
        batch = image.as_tensor()[..., list(numbers)].unsqueeze(0)
        with eval_mode(self.network):
            maps = walk(batch, self.network.guide_maps)[0]  # (K+1, H, W, slices)
        return maps.permute(3, 0, 1, 2).cpu().numpy()


def turn_case(image: MetaTensor, prediction: Paths) -> tuple[View, list[int]]:
    """A preprocessed image (C, H, W, D) and its label file as displayed, and for each slice shown its number in D."""
    affine = np.asarray(image.affine)
    plane = network_plane(tuple(image.shape[1:]), affine)
    channels = image.as_tensor().float().numpy()
    view = _turn(channels.mean(axis=0) if plane == "none" else channels[0], affine, plane)
    label_map, label_affine = read_label_file(prediction)
    numbers = np.broadcast_to(np.arange(image.shape[3]), image.shape[1:])
    order = [int(slice_.flat[0]) for slice_ in _turn(numbers, affine, plane).image]
    return replace(view, prediction=_turn(label_map, label_affine, plane).image), order


def network_plane(shape: tuple[int, ...], affine: np.ndarray) -> str:
    """The plane of slices along the last axis; "none" for pictures."""
    if shape[2] == 1 and np.allclose(affine, np.eye(4)):
        return "none"
    code = nib.aff2axcodes(affine)[2]
    return next(
        plane for plane, pair in {"axial": "SI", "coronal": "AP", "sagittal": "RL"}.items() if code in pair
    )


def _turn(array: np.ndarray, affine: np.ndarray, plane: str) -> View:
    return make_view(array, array, None, affine, plane)


def draw_guide_page(
    slices: Sequence[GuidedSlice], *, labels: Mapping[str, int], view: View, name: str
) -> Image.Image:
    """All slices below each other, their panels in rows of equal length, and one colour bar for all."""
    blocks = [draw_block(shown, labels, view) for shown in slices]
    width = blocks[0].width
    top, foot = MARGIN_PX + LINE_PX, 2 * LINE_PX + 2 * MARGIN_PX
    page = Image.new("RGB", (width, top + sum(block.height for block in blocks) + foot), "black")
    write_line(page, (MARGIN_PX, MARGIN_PX), name, width - 2 * MARGIN_PX)
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    _draw_bar(page, (MARGIN_PX, top + MARGIN_PX))
    return page


def draw_block(shown: GuidedSlice, labels: Mapping[str, int], view: View) -> Image.Image:
    """A slice: its title, then its panels with their titles; the background's map comes last."""
    panels = _panels(shown, labels, view)
    rows = math.ceil(len(panels) / COLUMNS)
    columns = math.ceil(len(panels) / rows)
    width = max(panels[0][1].width, CELL_PX) + MARGIN_PX
    height = panels[0][1].height + LINE_PX + MARGIN_PX
    head = LINE_PX if shown.title else 0
    block = Image.new("RGB", (columns * width + MARGIN_PX, head + rows * height), "black")
    if shown.title:
        write_line(block, (MARGIN_PX, 0), shown.title, block.width - 2 * MARGIN_PX)
    for index, (title, panel, colour, note) in enumerate(panels):
        left, top = MARGIN_PX + index % columns * width, head + index // columns * height
        indent = 0
        if colour is not None:
            ImageDraw.Draw(block).rectangle((left, top + 4, left + 11, top + 15), fill=colour)
            indent = 17
        write_line(block, (left + indent, top), title, width - MARGIN_PX - indent, note)
        block.paste(panel, (left, top + LINE_PX))
        edges = (left - 1, top + LINE_PX - 1, left + panel.width, top + LINE_PX + panel.height)
        ImageDraw.Draw(block).rectangle(edges, outline=FRAME)
    return block


def _panels(shown: GuidedSlice, labels: Mapping[str, int], view: View) -> list[Panel]:
    names, values = list(labels), list(labels.values())
    alone = draw_panel(shown.grey, None, {}, view.pixel, SIDE_PX)
    if view.plane in ("axial", "coronal"):
        pen = ImageDraw.Draw(alone)
        pen.text((4, alone.height // 2), "R", "white", ImageFont.load_default(15), anchor="lm", stroke_width=2,
                 stroke_fill="black")  # fmt: skip
    foreground = dict(zip(names[1:], values[1:], strict=True))
    panels: list[Panel] = [
        ("image", alone, None, ""),
        ("prediction", draw_panel(shown.grey, shown.label_map, foreground, view.pixel, SIDE_PX), None, ""),
    ]
    for index in [*range(1, len(names)), 0]:
        heat = draw_heat(shown, index, values[index], view.pixel)
        colour = colour_of(index - 1) if index else None
        panels.append((names[index], heat, colour, f"  max {shown.weights[index].max():.2f}"))
    return panels


def draw_heat(shown: GuidedSlice, index: int, value: int, pixel: tuple[float, float]) -> Image.Image:
    """W of one class in magma over the slice, and the outline of what was predicted as that class."""
    size = panel_size(shown.grey.shape, pixel, SIDE_PX)
    weights = Image.fromarray(shown.weights[index].astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    grey = Image.fromarray(np.uint8(np.round(255 * shown.grey))).resize(size, Image.Resampling.BICUBIC)
    canvas = (1 - HEAT) * np.asarray(grey, np.float32)[..., None] + HEAT * magma(np.asarray(weights))
    if index:
        canvas[draw_mask(shown.label_map == value, size)[1]] = OUTLINE
    return Image.fromarray(np.uint8(np.round(canvas)))


def magma(values: np.ndarray) -> np.ndarray:
    """Numbers 0 to 1, any shape (…) → red, green, blue 0 to 255 (…, 3), float32."""
    colours = np.array([[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in MAGMA.split()])
    steps = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, steps, colours[:, part]) for part in range(3)], -1).astype(np.float32)


def write_line(
    page: Image.Image, corner: tuple[int, int], text: str, width: int, note: str = "", size: int = 14
) -> None:
    """White text from `corner`, shortened until it and the note fit into `width` pixels."""
    font = ImageFont.load_default(size)
    shortened = text
    while shortened and font.getlength(shortened + note) > width:
        text = text[:-1]
        shortened = f"{text.rstrip()}…" if text else ""
    ImageDraw.Draw(page).text(corner, shortened + note, fill="white", font=font)


def _draw_bar(page: Image.Image, corner: tuple[int, int]) -> None:
    left, top = corner
    bar = np.uint8(np.round(magma(np.linspace(0, 1, BAR_PX))))
    page.paste(Image.fromarray(np.repeat(bar[None], 14, axis=0)), (left, top))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        pen.text((left + share * BAR_PX, top + 17), f"{share:g}", fill="white", font=font, anchor=anchor)
    start = left + BAR_PX + 2 * MARGIN_PX
    width = page.width - start - MARGIN_PX
    write_line(page, (start, top - 2), "W: how well the class's text fits here", width)
    write_line(page, (start, top + LINE_PX - 6), "cyan: what was predicted as this class", width)
