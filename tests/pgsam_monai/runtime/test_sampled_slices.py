"""Exported 2-D networks see slices, and give labels back, as the trained ones do, however slices are sampled."""

import numpy as np
import pytest
import torch

from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.runtime.record import SliceInput
from pgsam_monai.runtime.slices import walk_slices

GREYS = np.array([0.1, 0.5, 0.9], np.float32)


@pytest.mark.parametrize("sampling", ["linear", "cubic", "cubic_224"])
@pytest.mark.parametrize("shape", [(37, 45), (20, 24), (32, 32)])
def test_as_the_inferer(sampling, shape):
    volume = np.random.default_rng(0).random((1, *shape, 3), dtype=np.float32)
    seen = SliceInput(image_size=32, fit="stretch", sampling=sampling)
    found, pictures = np.zeros((*shape, 3), np.uint8), []

    def answer(images):
        pictures.append(images)
        return -((images - GREYS[:, None, None]) ** 2)

    walk_slices(volume, found, answer, seen, lambda part: part)
    shown = []

    def network(images):
        shown.append(images)
        return -((images - torch.from_numpy(GREYS)[:, None, None]) ** 2)

    expected = SliceInferer(32, "stretch", sampling=sampling)(torch.from_numpy(volume)[None], network)
    assert np.allclose(np.concatenate(pictures), torch.cat(shown).numpy(), atol=1e-6)
    assert (found == expected[0, 0].numpy()).mean() > 0.999


def test_logits_are_put_back_from_corner_to_corner():
    """Labels are the highest of torch's own interpolation, as `output="logits"` gives it."""
    volume = torch.rand(1, 1, 37, 20, 2, generator=torch.Generator().manual_seed(0))

    def network(images):
        return -((images - torch.from_numpy(GREYS)[:, None, None]) ** 2)

    labels, logits = (
        SliceInferer(32, "stretch", output=output, sampling="cubic")(volume, network)
        for output in ("labels", "logits")
    )
    assert (labels[:, 0] == logits.argmax(dim=1)).float().mean() > 0.999
    row = torch.linspace(0, 1, 32).expand(1, 2, 32, 32) * torch.tensor([1.0, -1.0])[:, None, None]
    ramp = SliceInferer(32, "stretch", output="logits", sampling="cubic")(
        volume, lambda images: row.repeat(2, 1, 1, 1)
    )
    assert torch.allclose(ramp[0, 0, 5, :, 0], torch.linspace(0, 1, 20), atol=1e-6)
