"""Training samples without data: a slice of a drawn volume, several targets on it, and how a user begins about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.drawn.anatomy import draw_anatomy
from pgsam_monai.data.drawn.pictures import CONTRASTS, draw_picture
from pgsam_monai.data.drawn.shapes import draw_shapes
from pgsam_monai.data.drawn.targets import choose_targets
from pgsam_monai.data.drawn.views import choose_view, cut
from pgsam_monai.pretraining.openings import SHARES, open_with
from pgsam_monai.prompts.points import Prompts


class DrawnQuestions(Dataset):
    """Sample i of a seed is always the same. Two that follow each other, an even and an odd one, show the same slice in
    different pictures and are asked for different things, which halves what drawing costs."""

    def __init__(
        self, *, image_size: int, targets: int = 3, seed: int = 0, shapes_share: float = 0.3,
        contrast: str = "random", openings: Mapping[str, float] = SHARES, length: int = 2**31,
    ) -> None:  # fmt: skip
        """
        Args:
            image_size: side S in pixels, a multiple of 16.
            targets: Q, asked about each picture.
            seed: of all samples.
            shapes_share: of scenes that are random shapes instead of anatomy.
            contrast: see `draw_picture`.
            openings: how often a user begins with what, see `openings.SHARES`; they sum to 1.
            length: samples, for those who go through all of them.

        Raises:
            UserFault: an argument out of its range.
        """
        if image_size < 16 or image_size % 16 or targets < 1 or not 0 <= shapes_share <= 1:
            raise UserFault(
                "DrawnQuestions: image_size must be a multiple of 16, targets at least 1 and shapes_share from 0 to 1; "
                f"got {image_size}, {targets} and {shapes_share}."
            )
        if contrast not in CONTRASTS:
            raise UserFault(
                f"DrawnQuestions: contrast must be one of {', '.join(CONTRASTS)}, got {contrast!r}."
            )
        if (
            set(openings) - set(SHARES)
            or min(openings.values()) < 0
            or abs(sum(openings.values()) - 1) > 1e-6
        ):
            raise UserFault(
                f"DrawnQuestions: openings must be shares of {', '.join(SHARES)} that sum to 1, got {dict(openings)}."
            )
        self.openings = dict(openings)
        self.image_size, self.targets, self.seed = image_size, targets, seed
        self.shapes_share, self.contrast, self.length = shapes_share, contrast, length
        self._latest: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Returns:
            "image" (1, S, S) float32 from 0 to 1; "label" (Q, S, S) uint8, 1 where a target is; "prompts", how a user
            begins about each: `Prompts` without the axis of images, masks of S/4.
        """
        scene, planes = self._slice(index // 2)
        rng = np.random.default_rng([self.seed, index, 1])
        picture = draw_picture(rng, scene, planes, contrast=self.contrast)
        targets = choose_targets(rng, scene, planes[0], self.targets)
        picture, targets = _turned(rng, picture, targets)
        kinds = rng.choice(list(self.openings), len(targets), p=list(self.openings.values()))
        openings = [open_with(rng, target, str(kind)) for target, kind in zip(targets, kinds, strict=True)]
        return {
            "image": torch.from_numpy(picture)[None],
            "label": torch.from_numpy(targets.astype(np.uint8)),
            "prompts": Prompts(
                *(torch.from_numpy(np.stack(column)) for column in zip(*openings, strict=True))
            ),
        }

    def _slice(self, number: int) -> tuple[Any, np.ndarray]:
        """Scene and planes of a slice, which the sample before may have drawn already."""
        if self._latest is None or self._latest[0] != number:
            rng = np.random.default_rng([self.seed, number, 0])
            scene = (draw_shapes if rng.random() < self.shapes_share else draw_anatomy)(rng)
            view = choose_view(rng, scene, self.image_size)
            self._latest = number, (scene, cut(scene, view, self.image_size))
        return self._latest[1]


def _turned(
    rng: np.random.Generator, picture: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored at random, and now and then with an empty band below or on the right, as slices that aren't square."""
    for axis in (0, 1):
        if rng.random() < 0.5:
            picture, targets = np.flip(picture, axis), np.flip(targets, axis + 1)
    picture, targets = picture.copy(), targets.copy()
    if rng.random() < 0.2:
        cut_at = int(len(picture) * rng.uniform(0.6, 0.95))
        band = (
            (slice(cut_at, None), slice(None)) if rng.random() < 0.5 else (slice(None), slice(cut_at, None))
        )
        shortened = targets.copy()
        shortened[(slice(None), *band)] = False
        if (shortened.sum(axis=(1, 2)) > 0).all():
            picture[band], targets = 0, shortened
    return picture, targets


class PassSampler(DistributedSampler):
    """Which samples an epoch sees: the next ones, of each process its share, in pairs that show the same slice.

    It is a DistributedSampler because MONAI's trainers call `set_epoch` on those, in single processes too.
    """

    def __init__(self, dataset: DrawnQuestions, *, draws_per_epoch: int) -> None:
        """`draws_per_epoch`: of all processes together; what doesn't divide among them is left out."""
        ranks = dist.is_initialized()
        replicas, rank = (dist.get_world_size(), dist.get_rank()) if ranks else (1, 0)
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=False)
        self.draws_per_epoch, self.num_samples = draws_per_epoch, draws_per_epoch // replicas

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.draws_per_epoch + self.rank * self.num_samples
        return iter(range(start, start + self.num_samples))
