"""Posterizing and sharpening of patches: Pillow's answers, by hand, and by draws that repeat."""

import pytest
import torch
from monai.data import MetaTensor
from PIL import Image, ImageEnhance, ImageOps

from pgsam_monai.transforms import RandPosterized, RandSharpnessd
from pgsam_monai.transforms.augment_volume import posterize, sharpen

BOTH = [RandPosterized, RandSharpnessd]


def picture(H=9, W=7):
    return torch.randint(0, 256, (H, W), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterizing_is_pillows(bits):
    levels = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    expected = torch.tensor(list(ImageOps.posterize(Image.fromarray(levels.numpy()), bits).tobytes()))
    result = posterize(levels[None, ..., None] / 255, 2 ** (8 - bits))
    assert torch.equal((result * 255).round().long().flatten(), expected)
    assert len(result.unique()) == 2**bits


def test_posterizing_clips():
    assert posterize(torch.tensor([-0.5, 0.0, 17 / 255, 1.0, 3.0]), 16).mul(255).tolist() == [
        0,
        0,
        16,
        240,
        240,
    ]


@pytest.mark.parametrize("factor", [0.0, 0.1, 1.0, 1.9])
def test_sharpness_is_pillows_on_every_slice(factor):
    pixels = picture()
    expected = ImageEnhance.Sharpness(Image.fromarray(pixels.numpy())).enhance(factor)
    expected = torch.tensor(list(expected.tobytes())).reshape(pixels.shape)
    volume = torch.stack([pixels / 255, torch.full(pixels.shape, 0.25)], dim=-1)[None]
    result = sharpen(volume, factor)
    assert (result[0, ..., 0] * 255 - expected).abs().max() < 2  # Pillow rounds twice
    torch.testing.assert_close(result[0, ..., 1], volume[0, ..., 1])


def test_sharpness_by_hand():
    """One bright voxel: its smoothed self is 5 / 13 of it, its neighbours in plane 1 / 13."""
    volume = torch.zeros(1, 5, 5, 3)
    volume[0, 2, 2, 1] = 1.0
    blurred = sharpen(volume, 0.0)
    assert blurred[0, 2, 2, 1] == pytest.approx(5 / 13) and blurred[0, 1, 3, 1] == pytest.approx(1 / 13)
    assert blurred[..., 0].max() == 0 and blurred[0, 2, 4, 1] == 0
    half = torch.full((1, 5, 5, 1), 0.5)
    half[0, 2, 2] = 0.6
    assert sharpen(half, 1.5)[0, 2, 2, 0] == pytest.approx(0.6 + 0.5 * 0.1 * 8 / 13)
    assert torch.equal(sharpen(volume[:, :2], 0.0), volume[:, :2])  # edges only


@pytest.mark.parametrize("kind", BOTH)
def test_draws_repeat_and_leave_the_input_alone(kind):
    transform = kind("image")
    data = {"image": torch.rand(2, 6, 5, 4), "label": torch.ones(1, 6, 5, 4)}
    before = data["image"].clone()
    first = transform.set_random_state(seed=3)(data)
    others = [transform(data)["image"] for _ in range(20)]
    again = transform.set_random_state(seed=3)(data)
    assert torch.equal(first["image"], again["image"]) and torch.equal(data["image"], before)
    assert any(not torch.equal(first["image"], other) for other in others)
    assert first["label"] is data["label"] and first["image"].shape == before.shape
    assert kind("image", prob=0.0)(data)["image"] is data["image"]


@pytest.mark.parametrize("kind", BOTH)
def test_meta_data_and_missing_keys(kind):
    volume = MetaTensor(torch.rand(1, 4, 4, 4), meta={"filename_or_obj": "x"})
    changed = kind(["image", "second"], allow_missing_keys=True)({"image": volume})["image"]
    assert isinstance(changed, MetaTensor) and changed.meta["filename_or_obj"] == "x"


def test_bits_are_drawn_from_all_of_them():
    ramp = {"image": torch.linspace(0, 1, 1024).reshape(1, 32, 32, 1)}
    transform = RandPosterized("image").set_random_state(seed=0)
    assert {len(transform(ramp)["image"].unique()) for _ in range(60)} == {16, 32, 64, 128, 256}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (RandPosterized, {"bits": (0, 8)}),
        (RandPosterized, {"bits": (4, 9)}),
        (RandSharpnessd, {"factor": (2, 1)}),
    ],
)
def test_wrong_options(kind, options):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .* must be"):
        kind("image", **options)
