"""Simulated users: where they click and what they draw, for training and for evaluation.

Med-SA section 4.1: the first click is random in the object, later ones lie "in the erroneous region of a
prediction" (Mahadevan et al. 2018, Iteratively Trained Interactive Segmentation), positive on what was
missed and negative on what was too much. Every image and every class has its own clicks: a volume's slices
are images. A structure that a slice doesn't show is never clicked as present. All functions work in the
frame of the masks they get, and repeat themselves for equal generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.prompts.boxes import PixelBox, box_with_iou, jittered_box, tight_box
from pgsam_monai.prompts.points import (
    ABSENT,
    NEGATIVE,
    POSITIVE,
    PointList,
    Prompts,
    asked,
    box_points,
    empty_prompts,
    join_points,
    point_list,
    stack_points,
)
from pgsam_monai.transforms.fit import enlarge

TRAINING_KINDS = ("point", "points", "box")
PROTOCOLS = ("1 point", "3 points", "box 0.5", "box 0.75", "box")
"""Prompts that Med-SA is tested with (Table 1), and the tight box; a box's number is its IoU with that."""

TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a corner belong to one region."""


class Click(NamedTuple):
    """One click on a pixel of a mask (H, W)."""

    row: int
    column: int
    positive: bool
    """True: the structure is here; False: it isn't"""


def first_click(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """(row, column), uniformly random in a mask (H, W) of bool; None if it is empty."""
    places = _random_places(mask, 1, rng)
    return places[0] if places else None


def next_click(
    prediction: np.ndarray,
    target: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    clicked: Sequence[tuple[int, int]] = (),
) -> Click | None:
    """A click into the largest error region, missed pixels first if two are equally large.

    Args:
        prediction, target: (H, W) of bool.
        rng: None: the region's innermost pixel, farthest from everything outside it, from the image's border
            and from `clicked` (Mahadevan 2018, at test time). Else a random pixel of it, not on its rim
            unless it has no other.
        clicked: (row, column) of earlier clicks, so that a network that ignored one isn't asked it again.
    Returns:
        None where prediction and target are equal.
    """
    regions = [_largest_region(target & ~prediction), _largest_region(prediction & ~target)]
    sizes = [0 if region is None else region.size for region in regions]
    positive = sizes[0] >= sizes[1]
    region = regions[0] if positive else regions[1]
    if region is None:
        return None
    row, column = _innermost(region, clicked) if rng is None else _inside(region, rng)
    return Click(row, column, positive)


def wrong_click(mask: np.ndarray, rng: np.random.Generator) -> Click | None:
    """A slip: a positive click beside the structure, for Med-SA's Fig. 6 ("incorrect prompts"; the paper
    says no more than that the correct ones are "within the target area").

    Uniformly random among the pixels from 2 px to r px off the mask (H, W), r the radius of a disc of the
    mask's area, at least 5 px: near enough to be meant for the structure, and not a question of where its
    contour runs. Where there is no such pixel, any that touches the mask. None for an empty mask and for one
    that leaves no pixel.
    """
    box = tight_box(mask)
    if box is None or mask.all():
        return None
    reach = max(5.0, (np.count_nonzero(mask) / np.pi) ** 0.5)
    margin = int(np.ceil(reach))
    top, left = max(box.row0 - margin, 0), max(box.col0 - margin, 0)
    near = mask[top : box.row1 + margin + 1, left : box.col1 + margin + 1]
    distance = ndimage.distance_transform_edt(~near)
    band = (distance >= 2) & (distance <= reach)
    row, column = _random_places(band if band.any() else (distance > 0) & (distance < 2), 1, rng)[0]
    return Click(row + top, column + left, True)


def protocol_prompts(mask: np.ndarray, kind: str, rng: np.random.Generator, *, wrong: int = 0) -> PointList:
    """What a tester gives for a mask (H, W) of bool; nothing for an empty one.

    Args:
        kind: one of PROTOCOLS. Points are positive and random in the object, without repeats while it has
            other pixels.
        wrong: how many of the points are slips (`wrong_click`); Fig. 6 has 1 and 2 of 3.
    Raises:
        ValueError: another kind, or more slips than points.
    """
    if kind not in PROTOCOLS:
        raise UserFault(f"protocol_prompts: kind must be one of {PROTOCOLS}, got {kind!r}.")
    count = int(kind[0]) if kind.endswith(("point", "points")) else 0
    if not 0 <= wrong <= count:
        raise UserFault(f"protocol_prompts: {kind!r} has {count} points, {wrong} of them can't be wrong.")
    tight = tight_box(mask)
    if tight is None:
        return point_list()
    if not count:
        iou = float(kind[4:] or 1)
        return box_points(box_with_iou(tight, iou, rng=rng, shape=mask.shape))
    right = _random_places(mask, count - wrong, rng)
    slips = [wrong_click(mask, rng) for _ in range(wrong)]
    return _positive_points(right + [(slip.row, slip.column) for slip in slips if slip is not None])


def make_training_prompts(
    label: Tensor,
    *,
    num_classes: int,
    rng: np.random.Generator,
    kinds: Sequence[str] = TRAINING_KINDS,
    max_classes: int = 4,
) -> Prompts:
    """Prompts for the structures of each image, drawn per image and class.

    Args:
        label: (B, 1, H, W) class indices 0..K in the network's frame, any device.
        num_classes: K, foreground classes.
        kinds: one is drawn for each structure, repeats weigh more. "point": one positive click; "points": 1
            to 3, all positive and random in the object; "box": half of them jittered like SAM's, half with
            an IoU between 0.5 and 1 with the tight box.
        max_classes: at most so many of the classes that an image shows are asked, drawn at random.
    Returns:
        points (B, K, N, 2) on the label's device, N what the longest list needs; images without foreground
        and classes that an image doesn't show have none.
    Raises:
        ValueError: an unknown kind, none, or another shape of label.
    """
    if not kinds or set(kinds) - set(TRAINING_KINDS):
        raise UserFault(f"make_training_prompts: kinds must be of {TRAINING_KINDS}, got {tuple(kinds)}.")
    if label.ndim != 4 or label.shape[1] != 1:
        raise UserFault(f"make_training_prompts: label must be (B, 1, H, W), got {tuple(label.shape)}.")
    classes = label[:, 0].cpu().numpy().astype(np.int32, copy=False)  # (B, H, W)
    lists = []
    for image in classes:
        row = [point_list() for _ in range(num_classes)]
        places = ndimage.find_objects(image, max_label=num_classes)
        present = [k for k, place in enumerate(places, start=1) if place is not None]
        for k in rng.permutation(present)[:max_classes].tolist():
            kind = kinds[rng.integers(len(kinds))]
            row[k - 1] = _training_points(image, k, places[k - 1], kind, rng)
        lists.append(row)
    return stack_points(lists, label.device)


def add_clicks(prompts: Prompts, logits: Tensor, label: Tensor, rng: np.random.Generator | None) -> Prompts:
    """`prompts` with one more click for every asked class, in its largest error region (`next_click`).

    Args:
        logits: (B, K, h, w), above 0 inside; resized bilinearly to the label's grid.
        label: (B, 1, H, W) class indices.
        rng: None: the innermost pixel, as a tester clicks; else random within the region, for training.
    Returns:
        N grows by one; ABSENT for classes that aren't asked or have no error left.
    """
    ask = asked(prompts)
    b, k = ask.nonzero(as_tuple=True)  # (n,) each
    if len(b) == 0:
        return _one_more(prompts, empty_prompts(*ask.shape))
    size = tuple(label.shape[-2:])
    scores = logits[b, k].float()[:, None]  # (n, 1, h, w)
    scores = enlarge(scores, size)
    target = label[b, 0] == (k + 1).to(label.dtype).reshape(-1, 1, 1)  # (n, H, W)
    both = torch.stack([scores[:, 0] > 0, target]).cpu().numpy()
    kinds, earlier = prompts.labels.cpu().numpy(), prompts.points.cpu().numpy()
    lists = [[point_list() for _ in range(ask.shape[1])] for _ in range(ask.shape[0])]
    for n, (i, j) in enumerate(zip(b.tolist(), k.tolist(), strict=True)):
        clicks = earlier[i, j][(kinds[i, j] == POSITIVE) | (kinds[i, j] == NEGATIVE)]
        clicked = [(round(y), round(x)) for x, y in clicks.tolist()]
        click = next_click(both[0, n], both[1, n], rng, clicked=clicked)
        if click is not None:
            lists[i][j] = point_list([(click.column, click.row)], [POSITIVE if click.positive else NEGATIVE])
    return _one_more(prompts, stack_points(lists))


def _one_more(prompts: Prompts, more: Prompts) -> Prompts:
    """N + 1 even if nobody clicked, so that sizes don't depend on the prediction."""
    if more.labels.shape[2]:
        return join_points(prompts, more)
    B, K = prompts.labels.shape[:2]
    return join_points(prompts, Prompts(torch.zeros(B, K, 1, 2), torch.full((B, K, 1), ABSENT)))


def _training_points(
    image: np.ndarray, k: int, place: tuple[slice, slice], kind: str, rng: np.random.Generator
) -> PointList:
    """Points for class k of `image` (H, W), which lies within `place`."""
    mask = image[place] == k
    top, left = place[0].start, place[1].start
    if kind != "box":
        count = 1 if kind == "point" else int(rng.integers(1, 4))
        return _positive_points(
            [(row + top, column + left) for row, column in _random_places(mask, count, rng)]
        )
    tight = PixelBox(top, left, place[0].stop - 1, place[1].stop - 1)
    if rng.random() < 0.5:
        return box_points(jittered_box(tight, rng=rng, shape=image.shape))
    return box_points(box_with_iou(tight, rng.uniform(0.5, 1.0), rng=rng, shape=image.shape))


def _positive_points(places: Sequence[tuple[int, int]]) -> PointList:
    return point_list([(column, row) for row, column in places], [POSITIVE] * len(places))


def _random_places(mask: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """`count` pixels of the mask, without repeats if it has as many; none of an empty mask."""
    inside = np.flatnonzero(mask)
    if not len(inside):
        return []
    chosen = rng.choice(inside, size=count, replace=len(inside) < count)
    return [divmod(place, mask.shape[1]) for place in chosen.tolist()]


class _Region(NamedTuple):
    """A connected region of a mask, cut out."""

    inside: np.ndarray  # (h, w) of bool
    row: int  # of its upper left pixel in the mask
    column: int
    size: int  # pixels


def _largest_region(mask: np.ndarray) -> _Region | None:
    box = tight_box(mask)
    if box is None:
        return None
    regions, count = ndimage.label(_cut(mask, box), TOUCHING)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    largest = regions == sizes.argmax() + 1
    place = tight_box(largest)
    return _Region(_cut(largest, place), box.row0 + place.row0, box.col0 + place.col0, int(sizes.max()))


def _cut(mask: np.ndarray, box: PixelBox) -> np.ndarray:
    return mask[box.row0 : box.row1 + 1, box.col0 : box.col1 + 1]


def _innermost(region: _Region, clicked: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The pixel farthest from everything outside the region and from the clicks in it; of several, the one
    nearest to the region's centre."""
    inside = np.pad(region.inside, 1)
    for row, column in clicked:
        row, column = row - region.row + 1, column - region.column + 1
        if 0 <= row < inside.shape[0] and 0 <= column < inside.shape[1]:
            inside[row, column] = False
    if not inside.any():
        inside = np.pad(region.inside, 1)
    distance = ndimage.distance_transform_edt(inside)
    deepest = np.argwhere(distance == distance.max())
    centre = np.argwhere(inside).mean(axis=0)
    row, column = deepest[((deepest - centre) ** 2).sum(axis=1).argmin()].tolist()
    return row + region.row - 1, column + region.column - 1


def _inside(region: _Region, rng: np.random.Generator) -> tuple[int, int]:
    padded = np.pad(region.inside, 1)
    off_rim = region.inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    row, column = _random_places(off_rim if off_rim.any() else region.inside, 1, rng)[0]
    return row + region.row, column + region.column
