"""What a user said about one class on one slice, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pgsam_monai.interactive.answers import Question
from pgsam_monai.prompts.points import POSITIVE, PointList, point_list
from pgsam_monai.transforms.fit import SliceFrame, fit_image

MASK_LOGIT = 10.0
"""Logit inside a mask that the user gives, and minus the one outside: about what SAM's own sure answers have."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts in the network's square, and the network's answer to them."""

    clicks: PointList = point_list()
    box: PointList = point_list()
    """two corners, or none"""
    given: Tensor | None = None
    """(h, w) logits of a mask that the user gave"""
    base: Tensor | None = None
    """(h, w) the answer that clicks correct (`interactive.corrections`), if they do"""
    shown: bool = False
    """the base is what the network finds by itself"""
    before: Tensor | None = None
    """(h, w) the answer before the latest click, which goes in with the points"""
    logits: Tensor | None = None
    """(h, w), or as large as the square, the latest answer"""
    propagated: bool = False
    """not asked by the user, but on the way from a slice that was"""

    @property
    def question(self) -> Question:
        points = np.concatenate([self.clicks.points, self.box.points])
        kinds = np.concatenate([self.clicks.labels, self.box.labels])
        return Question(
            points=PointList(points, kinds), mask=self.given if self.before is None else self.before
        )

    @property
    def only_clicked(self) -> bool:
        """Whether the user gave neither box nor mask."""
        return self.given is None and not len(self.box.labels)

    @property
    def opening(self) -> Question:
        """What is asked where clicks correct the answer: box and mask or, without, the first positive click."""
        if not self.only_clicked:
            return Question(points=self.box, mask=self.given)
        first = np.flatnonzero(self.clicks.labels == POSITIVE)[:1]
        first = first if len(first) else slice(0, 1)
        return Question(points=PointList(self.clicks.points[first], self.clicks.labels[first]))

    def opens_as(self, other: Asked) -> bool:
        """Whether both ask the same first."""
        own, others = self.opening, other.opening
        same = np.array_equal(own.points.points, others.points.points)
        return same and np.array_equal(own.points.labels, others.points.labels) and own.mask is others.mask

    def with_clicks(self, more: PointList, *, feedback: bool) -> Asked:
        """Further clicks; with `feedback` the latest answer goes in as a mask, as in SAM."""
        points = np.concatenate([self.clicks.points, more.points])
        kinds = np.concatenate([self.clicks.labels, more.labels])
        return replace(
            self, clicks=PointList(points, kinds), before=self.logits if feedback else None, propagated=False
        )

    def with_box(self, box: PointList) -> Asked:
        """Another box. The latest answer, perhaps to a wrong box, doesn't go in."""
        return replace(self, box=box, before=None, propagated=False)

    def with_mask(self, logits: Tensor) -> Asked:
        """Another mask."""
        return replace(self, given=logits, before=None, propagated=False)


def mask_logits(mask: np.ndarray, frame: SliceFrame, size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of bool on a slice -> logits (h, w) of `size` on the network's square."""
    square = fit_image(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None], frame)
    share = F.interpolate(square, size=size, mode="bilinear", align_corners=False, antialias=True)[0, 0]
    return MASK_LOGIT * (2 * share - 1)
