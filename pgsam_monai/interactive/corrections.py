"""Clicks that correct a label map: each changes what is shown around it, on its slice and on those beside it.

A network that was trained on clicks, asked about the slice with all clicks on it and with what is shown there as a
mask, says what the click means; how far it may go, the click itself says. Who sees an error clicks in its middle, and
what is shown ends where the error does, at least on one side: so an error reaches about twice as far as the contour
lies from the click. Within that ball the answer counts, and nothing outside it changes. A structure that isn't shown
anywhere has no such bound. What one slice gained or lost is asked on the next with a click in its middle, until the
answers no longer resemble each other. A negative click that follows at once into what a positive one brought has that
one asked again, with both known (`session`): what ran out is taken back as a whole.

Measured in docs/results.md («Clicks in the whole volume»), with what else was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pgsam_monai.interactive.answers import SliceEmbeddings, SlicePrompt, answer
from pgsam_monai.interactive.reach import SPREAD, Ball, Click, reach_of, reaches_out, window_around
from pgsam_monai.interactive.volume import Place
from pgsam_monai.prompts.frames import pixels_to_frame
from pgsam_monai.prompts.points import NEGATIVE, POSITIVE, point_list
from pgsam_monai.transforms.fit import fit_image, on_slices, resize
from pgsam_monai.voxels.frame import SliceFrame

MASK_LOGIT = 10.0
"""Logit inside a mask that the user gives, and minus the one outside: about what SAM's own sure answers have."""
ALIKE = 2.5
"""standard deviations of the intensities of what is likely meant"""
LEAST_DEVIATION = 0.05
"""of 0..1"""
FEW = 9
"""pixels, whose intensities tell nothing"""


class Change(NamedTuple):
    """What a click changed on one slice."""

    slice: int
    index: int
    """of the class, 1..K"""
    positive: bool
    """whether the region became the class, or, as far as it showed it, background"""
    region: np.ndarray
    """(H, W) of bool"""
    source: Click
    """the click"""

    def draw(self, indices: np.ndarray) -> None:
        """Change the class indices (H, W) of the slice."""
        if self.positive:
            indices[self.region] = self.index
        else:
            indices[self.region & (indices == self.index)] = 0


@dataclass(frozen=True, kw_only=True)
class Walk:
    """When a change goes on to the next slice. No reference has a say in it."""

    most_open: float = 0.3
    """at least this share of the pixels that changed is shown otherwise there"""
    least_overlap: float = 0.4
    """IoU of two slices' changes"""
    least_area: float = 0.1
    """of a change, as a share of the first one's"""
    most_change: float = 1.5
    """standard deviations of the first slice's intensities, between its mean and another slice's"""


class Corrector:
    """A network that obeys clicks, and one image; remembers encoded slices, and nothing that was said."""

    def __init__(self, embeddings: SliceEmbeddings, walk: Walk | None = None) -> None:
        """
        Args:
            embeddings: of the image, by the network; it is asked about one structure at a time, of its only class or of
                the click's own.
            walk: how far changes go; None for the defaults.
        """
        self.embeddings, self.volume, self.walk = embeddings, embeddings.volume, walk or Walk()
        self.spacing = np.linalg.norm(self.volume.affine[:3, :3], axis=0)

    def correct(self, shown: np.ndarray, click: Click, said: Sequence[Click]) -> list[Change]:
        """What a click changes; nothing where it says what is shown.

        Args:
            shown: class indices (H, W, D).
            click: the latest.
            said: all clicks so far, of all classes, this one among them.
        """
        if not self.is_open(shown, click):
            return []
        ball = self.ball(shown, click)
        own = [
            each for each in said if each.index == click.index and (each[:3] != click[:3] or each is click)
        ]
        island = None if click.positive else island_at(shown, ball, own)
        if island is not None:
            return island
        correction = _Correction(self, shown, ball, own)
        first = correction.change(click.slice, click.pixel)
        changes = [first]
        for step in (1, -1):
            changes += correction.walk(first, step)
        return changes

    def is_open(self, shown: np.ndarray, click: Click) -> bool:
        """Whether a click says something else than what is shown."""
        return bool((shown[click.voxel] == click.index) != click.positive)

    def ball(self, shown: np.ndarray, click: Click) -> Ball:
        """How far a click reaches in class indices (H, W, D)."""
        return Ball(click, reach_of(shown, click, self.spacing), self.spacing)

    def warnings(self, shown: np.ndarray, click: Click, brought: Sequence[Change]) -> list[Click]:
        """A negative click into what a positive one brought, as clicks on the slices beside it, where both go on.

        Args:
            shown: class indices (H, W, D), with what was brought.
            click: the negative one.
            brought: by one click.
        """
        ball, regions = self.ball(shown, click), {change.slice: change.region for change in brought}
        found = []
        for step in (1, -1):
            index = click.slice + step
            while index in regions and regions[index][click.pixel]:
                if not ball.on(index, regions[index].shape, SPREAD)[click.pixel]:
                    break
                found.append(click._replace(slice=index))
                index += step
        return found

    def ask(self, index: int, clicks: Sequence[Click], mask: np.ndarray) -> np.ndarray:
        """Logits (H, W) of a slice.

        Args:
            index: of the slice.
            clicks: on it, of one class, one at least.
            mask: (H, W) of bool, what is shown of the class.
        """
        if not mask.any() and not any(click.positive for click in clicks):
            return np.zeros(mask.shape, dtype=np.float32)  # no opinion: there is nothing to ask about
        points = point_list(
            [(click.column, click.row) for click in clicks],
            [POSITIVE if click.positive else NEGATIVE for click in clicks],
        )
        # a network of one class knows things, not classes
        asked = clicks[0].index if len(self.embeddings.model.names) > 1 else 1
        frame, place = self.volume.frame, Place(index, asked)
        given = mask_logits(mask, frame, self._mask_size(index)) if mask.any() else None
        question = SlicePrompt(points=pixels_to_frame(points, frame), mask=given)
        logits = answer(self.embeddings, {place: question})[place]
        return on_slices(logits[None, None], frame)[0, 0].cpu().numpy()

    def intensities(self, index: int, region: np.ndarray) -> np.ndarray:
        """Of a region (H, W) of bool of a slice, all channels one after the other."""
        return self.volume.image[..., index].float().numpy()[:, region].ravel()

    def _mask_size(self, index: int) -> tuple[int, int]:
        height, width = self.embeddings.of([index]).embedding.shape[2:]
        return 4 * height, 4 * width


class _Correction:
    """One click on its way over the slices."""

    def __init__(self, corrector: Corrector, shown: np.ndarray, ball: Ball, said: Sequence[Click]) -> None:
        """`said`: the clicks of the click's own class."""
        self.corrector, self.shown, self.ball, self.said = corrector, shown, ball, said
        self.click = ball.click
        self.label = shown[self.click.voxel]
        """what is shown at the click and is to give way"""

    def change(self, index: int, pixel: tuple[int, int], before: np.ndarray | None = None) -> Change:
        """What changes on a slice by a click on a pixel of it.

        Args:
            index: of the slice.
            pixel: (row, column).
            before: (H, W) of bool, what changed on the slice before, which is a hint.
        """
        here = [click for click in self.said if click.slice == index]
        asked = here if index == self.click.slice else [*here, self._as_click(index, pixel)]
        mask = self.shown[..., index] == self.click.index
        logits = self.corrector.ask(index, asked, mask)
        if before is not None:
            logits = logits + self.corrector.ask(index, asked, np.where(before, self.click.positive, mask))
        wanted = (logits > 0) == self.click.positive
        wanted &= self.shown[..., index] == self.label
        must = self.ball.surely_on(index, mask.shape) & (self.shown[..., index] == self.label)
        if self.click.positive:
            must &= self._alike(index, pixel, part_at(wanted, pixel))
        must[pixel] = True
        region = part_at(wanted & self.ball.on(index, mask.shape, SPREAD) | must, pixel)
        if not self.click.positive:
            region = self._whole_island(mask, region, pixel, here)
        for click in here:
            if click.positive != self.click.positive:
                region[click.pixel] = False
        return Change(index, self.click.index, self.click.positive, region, self.click)

    def _alike(self, index: int, pixel: tuple[int, int], likely: np.ndarray) -> np.ndarray:
        """(H, W) of bool: where a slice is as bright as what is likely meant, or as what lies around the click."""
        grey = self.corrector.volume.image[..., index].float().mean(dim=0).numpy()
        if np.count_nonzero(likely) < FEW:
            likely = np.zeros_like(likely)
            likely[tuple(slice(max(at - 1, 0), at + 2) for at in pixel)] = True
        deviation = max(float(grey[likely].std()), LEAST_DEVIATION)
        return np.abs(grey - grey[likely].mean()) <= ALIKE * deviation

    def walk(self, first: Change, step: int) -> list[Change]:
        """What changes on the slices after the first, upwards (1) or downwards (-1)."""
        intensities = self.corrector.intensities(first.slice, first.region)
        mean, deviation, limits = intensities.mean(), intensities.std() + 1e-3, self.corrector.walk
        changes, latest = [], first
        while 0 <= (index := latest.slice + step) < self.shown.shape[2]:
            pixel = self._next_pixel(latest.region, index)
            if pixel is None:
                break
            change = self.change(index, pixel, before=latest.region)
            shift = abs(self.corrector.intensities(index, change.region).mean() - mean)
            area, overlap = np.count_nonzero(change.region), iou(change.region, latest.region)
            if (
                area < limits.least_area * np.count_nonzero(first.region)
                or overlap < limits.least_overlap
                or shift > limits.most_change * deviation
            ):
                break
            changes.append(change)
            latest = change
        return changes

    def _next_pixel(self, region: np.ndarray, index: int) -> tuple[int, int] | None:
        """The middle of what changed on the slice before and isn't yet so here; None if there is too little of it."""
        open_here = region & (self.shown[..., index] == self.label)
        open_here &= self.ball.on(index, region.shape, SPREAD)
        for click in self.said:
            if click.slice == index and click.positive != self.click.positive:
                open_here[click.pixel] = False
        count = np.count_nonzero(open_here)
        if not count or count < self.corrector.walk.most_open * np.count_nonzero(region):
            return None
        return innermost(open_here)

    def _whole_island(
        self, mask: np.ndarray, region: np.ndarray, pixel: tuple[int, int], here: Sequence[Click]
    ) -> np.ndarray:
        """The whole part of what is shown, where most of it goes and nobody said that it is right."""
        island = part_at(mask, pixel)
        if any(click.positive and island[click.pixel] for click in here):
            return region
        return island if 2 * np.count_nonzero(region) > np.count_nonzero(island) else region

    def _as_click(self, index: int, pixel: tuple[int, int]) -> Click:
        return Click(index, *pixel, self.click.index, self.click.positive)


def island_at(shown: np.ndarray, ball: Ball, said: Sequence[Click]) -> list[Change] | None:
    """All of the connected piece of a class that a negative click lies in.

    None if the ball holds less than half of it, or somebody clicked into it that it is right.

    Args:
        shown: class indices (H, W, D).
        ball: around the click.
        said: clicks of the click's class.
    """
    click, shape = ball.click, shown.shape[:2]
    window = window_around(click, 2 * SPREAD * ball.reach / ball.spacing, shown.shape)
    parts, _ = ndimage.label(shown[window] == click.index)
    island = parts == parts[tuple(at - part.start for at, part in zip(click.voxel, window, strict=True))]
    if reaches_out(island, window, shown.shape):
        return None
    changes, within = [], 0
    for index in (np.flatnonzero(island.any(axis=(0, 1))) + window[2].start).tolist():
        region = np.zeros(shape, dtype=bool)
        region[window[:2]] = island[..., index - window[2].start]
        within += np.count_nonzero(region & ball.on(index, shape, SPREAD))
        if any(each.positive and each.slice == index and region[each.pixel] for each in said):
            return None
        changes.append(Change(index, click.index, False, region, click))
    return changes if 2 * within > np.count_nonzero(island) else None


def part_at(mask: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """The connected part of a mask (H, W) of bool that holds a pixel; nothing if the mask doesn't."""
    parts, _ = ndimage.label(mask)
    return (parts == parts[pixel]) & mask[pixel]


def innermost(mask: np.ndarray) -> tuple[int, int]:
    """(row, column) of the pixel of a mask (H, W) of bool that lies deepest in it."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two masks of bool, one of them not empty."""
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


def mask_logits(mask: np.ndarray, frame: SliceFrame, size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of bool on a slice -> logits (h, w) of `size` on the network's square."""
    square = fit_image(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None], frame)
    share = resize(square, size)[0, 0]
    return MASK_LOGIT * (2 * share - 1)
