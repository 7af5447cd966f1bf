"""Fitting slices into a square and back: where pixels go, and that the way back is the inverse."""

import pytest
import torch

from pgsam_monai.transforms.fit import fit_image, fit_label, unfit_logits
from pgsam_monai.voxels.frame import slice_frame


def test_frames():
    pad = slice_frame(30, 60, 20)
    assert (pad.fitted_height, pad.fitted_width) == (10, 20)
    stretch = slice_frame(30, 60, 20, "stretch")
    assert (stretch.fitted_height, stretch.fitted_width) == (20, 20)
    thin = slice_frame(1, 1000, 20)
    assert (thin.fitted_height, thin.fitted_width) == (1, 20)
    for arguments in ((0, 5, 16), (5, 5, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            slice_frame(*arguments)
    with pytest.raises(ValueError, match="must be one of"):
        slice_frame(5, 5, 16, "crop")


def test_hand_sized_answers():
    """Doubling keeps pixel centres: values at -0.25, 0.25, 0.75, 1.25 of the source, clamped."""
    frame = slice_frame(1, 2, 4)
    fitted = fit_image(torch.tensor([[[[0.0, 1.0]]]]), frame)
    expected = torch.zeros(4, 4)
    expected[:2] = torch.tensor([0.0, 0.25, 0.75, 1.0])
    torch.testing.assert_close(fitted[0, 0], expected)
    label = fit_label(torch.tensor([[[[3, 7]]]], dtype=torch.uint8), frame)
    assert label.dtype == torch.uint8
    assert label[0, 0].tolist() == [[3, 3, 7, 7], [3, 3, 7, 7], [0] * 4, [0] * 4]


def test_label_shrinks_to_the_pixels_under_the_centres():
    label = torch.arange(6, dtype=torch.int16)[None, None, None].expand(1, 1, 6, 6)
    assert fit_label(label, slice_frame(6, 6, 2))[0, 0].tolist() == [[1, 4], [1, 4]]


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(40, 64), (37, 23), (224, 190), (300, 301), (1, 50)])
def test_round_trip_of_labels(fit, height, width):
    """A smooth class map, made logits in the square, comes back to its own grid without shift."""
    frame = slice_frame(height, width, 128, fit)
    rows = (torch.arange(height) + 0.5)[:, None] / height
    columns = (torch.arange(width) + 0.5)[None] / width
    label = ((rows - 0.45) ** 2 + (columns - 0.55) ** 2 < 0.09).to(torch.uint8)
    square = fit_label(label[None, None], frame)
    logits = torch.cat([1.0 - square, square.float()], dim=1)
    back = unfit_logits(logits, frame).argmax(dim=1)[0]
    assert back.shape == (height, width)
    overlap = 2 * (back * label).sum() / (back.sum() + label.sum())
    assert overlap > (0.93 if min(height, width) > 1 else 0.9)
    if height > 1:
        centre = [places.float().mean(0) for places in (back.nonzero(), label.nonzero())]
        assert (centre[0] - centre[1]).abs().max() < 0.02 * max(height, width)


def test_linear_ramps_survive_both_ways():
    frame = slice_frame(20, 30, 60)
    ramp = torch.linspace(0, 1, 30).expand(1, 1, 20, 30)
    back = unfit_logits(fit_image(ramp, frame), frame)
    torch.testing.assert_close(back[..., 2:-2], ramp[..., 2:-2], atol=1e-3, rtol=0)


def test_equal_size_is_untouched():
    image = torch.rand(2, 3, 16, 16)
    frame = slice_frame(16, 16, 16)
    assert torch.equal(fit_image(image, frame), image) and torch.equal(unfit_logits(image, frame), image)


def test_wrong_logits_size():
    with pytest.raises(ValueError, match="logits must be 16 x 16, got"):
        unfit_logits(torch.zeros(1, 2, 8, 8), slice_frame(9, 9, 16))
