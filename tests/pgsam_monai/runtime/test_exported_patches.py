"""Windows and weights of patches, beside MONAI's."""

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import SlidingWindowInferer

from pgsam_monai.runtime.patches import gaussian, walk_patches, windows
from pgsam_monai.runtime.record import PatchInput


def test_windows_by_hand():
    starts = [[place.start for place in corner] for corner in windows((7, 4), (4, 4), 0.5)]
    assert starts == [[0, 0], [2, 0], [3, 0]]


def test_weights_are_monais():
    expected = compute_importance_map((8, 6, 3), mode="gaussian", sigma_scale=0.125)
    expected = expected.clamp(min=max(float(expected.min()), 1e-3))
    assert np.allclose(gaussian((8, 6, 3)), expected.numpy(), atol=1e-7)


@pytest.mark.parametrize("shape", [(11, 8, 5), (5, 9, 2)])
def test_walks_as_monai(shape):
    """A network whose answer depends on where the patch lies."""
    rng = np.random.default_rng(0)
    image, patch = rng.random((1, *shape), dtype=np.float32), (6, 4, 4)
    slope = np.linspace(-1, 1, 6, dtype=np.float32)[:, None, None] * np.ones(patch, np.float32)

    def answer(images):
        return np.concatenate([images * slope, 0.3 - images * 0.5], axis=1)

    walk = SlidingWindowInferer(patch, 1, 0.5, mode="gaussian")
    logits = walk(torch.from_numpy(image)[None], lambda x: torch.from_numpy(answer(x.numpy())))
    labels = np.zeros(shape, np.uint8)
    seen = PatchInput(patch=patch, spacing=None, overlap=0.5)
    walk_patches(image, labels, answer, seen, lambda part: part, spacing=(1, 1, 1), workers=2)
    assert np.array_equal(labels, logits[0].argmax(dim=0).numpy())
