"""How an exported 2-D network walks over a volume: `inference.slices.SliceInferer` without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.runtime.record import SliceInput
from pgsam_monai.runtime.sureness import Sureness
from pgsam_monai.voxels.corners import cubic
from pgsam_monai.voxels.frame import SliceFrame, slice_frame
from pgsam_monai.voxels.resampling import resample, resampled_classes
from pgsam_monai.voxels.stacks import Stack, stacks_over

Answer = Callable[[np.ndarray], np.ndarray]
"""Images (n, C, …) as the network sees them -> logits (n, K+1, …); several threads may call it."""
Scale = Callable[[np.ndarray], np.ndarray]
"""Grey values (C, …) of a volume -> what networks see, float32."""
PIXELS = 4 * 224 * 224
"""of the slices that go through a network at once: of small ones several, for each call costs"""


def batch_of(seen: SliceInput) -> int:
    """Slices, or stacks of them, that go through the network at once."""
    return max(1, min(16, PIXELS // (seen.image_size**2 * seen.stack_depth)))


def walk_slices(
    volume: np.ndarray, labels: np.ndarray, answer: Answer, seen: SliceInput, scale: Scale, *, batch: int = 1,
    workers: int = 1, sureness: Sureness | None = None,
) -> None:  # fmt: skip
    """Write the classes of a volume (C, rows, columns, slices) into `labels` (rows, columns, slices).

    `workers` threads each take `batch` slices, or stacks of them, from the volume's grey values to its classes.
    `sureness` hears the logits.
    """
    frame = slice_frame(*volume.shape[1:3], seen.image_size, seen.fit, seen.sampling)
    stacks = stacks_over(volume.shape[3], stack_depth=seen.stack_depth, overlap=seen.stack_overlap)

    def one(part: Sequence[Stack]) -> None:
        logits = _logits(volume, part, answer, seen, frame, scale)
        for stack, found in zip(part, logits, strict=True):
            for position in stack.kept:
                own = found[..., position] if seen.stack_depth > 1 else found
                own = own[:, : frame.fitted_height, : frame.fitted_width]
                labels[:, :, stack.slices[position]] = resampled_classes(
                    own, (frame.height, frame.width), corners=frame.corners
                )
                if sureness is not None:
                    sureness.add(own, seen.image_size)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, (stacks[start : start + batch] for start in range(0, len(stacks), batch))))


def _logits(
    volume: np.ndarray, part: Sequence[Stack], answer: Answer, seen: SliceInput, frame: SliceFrame, scale: Scale
) -> np.ndarray:  # fmt: skip
    """(n, K+1, S, S[, d]) of n stacks."""
    images = [
        np.stack([_fitted(volume[..., place], frame, scale) for place in stack.slices], -1) for stack in part
    ]
    batch = np.stack(images)
    logits = answer(batch if seen.stack_depth > 1 else batch[..., 0])
    if logits.shape[2:4] != (seen.image_size,) * 2:
        raise UserFault(f"The exported network gives logits of {logits.shape[2:4]}; export the bundle again.")
    return logits


def _fitted(image: np.ndarray, frame: SliceFrame, scale: Scale) -> np.ndarray:
    """Grey values (C, H, W) -> (C, S, S); padding is 0."""
    square = np.zeros((len(image), frame.image_size, frame.image_size), np.float32)
    size = (frame.fitted_height, frame.fitted_width)
    seen = scale(image)
    fitted = cubic(seen, size, frame.via) if frame.corners else resample(seen, size)
    square[:, : size[0], : size[1]] = fitted
    return square
