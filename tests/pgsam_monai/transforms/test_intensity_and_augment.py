"""Percentile scaling, and what the random transforms promise."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.transforms import RandAffineSliced, RandCropSliced, RandIntensitySliced, ScalePercentilesd


def test_percentiles_per_channel():
    image = torch.stack([torch.arange(101.0), torch.arange(101.0) * 10 + 7])[..., None, None]
    scaled = ScalePercentilesd("image", 10, 90)({"image": MetaTensor(image)})["image"]
    for channel in scaled.as_tensor()[..., 0, 0]:
        np.testing.assert_allclose(channel, np.clip((np.arange(101) - 10) / 80, 0, 1), atol=1e-6)


def test_constant_and_mostly_empty_channels():
    image = torch.zeros(2, 10, 10, 10)
    image[0] = 5
    image[1, 0, 0, 0] = 3
    scaled = ScalePercentilesd("image")({"image": image})["image"]
    assert scaled[0].max() == 0 and scaled[1].max() == 1 and torch.isfinite(scaled).all()
    with pytest.raises(ValueError, match="low 99, high 1"):
        ScalePercentilesd("image", 99, 1)


def blob():
    label = torch.zeros(1, 32, 48, dtype=torch.uint8)
    label[0, 12:20, 18:30] = 7
    label[0, 14:18, 22:26] = 3
    return {"image": label / 7.0, "label": label}


def test_affine_keeps_label_values_and_moves_image_with_label():
    transform = RandAffineSliced(["image", "label"], rotate=15, scale=(0.9, 1.2), shift=0.1)
    for seed in range(20):
        changed = transform.set_random_state(seed)(blob())
        assert set(changed["label"].unique().tolist()) <= {0, 3, 7}
        assert changed["label"].dtype == torch.uint8
        inside = changed["label"] > 0
        assert changed["image"][inside].mean() > 0.5 and changed["image"][~inside].mean() < 0.05


def test_affine_hand_sized_answers():
    image = torch.zeros(1, 5, 5)
    image[0, 1, 3] = 1

    def moved(**limits):
        options = {"rotate": 0, "scale": (1, 1), "shift": 0, **limits}
        transform = RandAffineSliced("image", **options).set_random_state(0)
        return transform({"image": image})["image"]

    torch.testing.assert_close(moved(), image)
    assert torch.equal(moved(prob=0.0, rotate=180), image)
    grown = torch.zeros(
        1, 5, 5
    )  # doubled about the centre (2, 2): the pixel at (1, 3) comes to lie at (0, 4)
    grown[0, :2, 3:] = torch.tensor([[0.5, 1.0], [0.25, 0.5]])
    torch.testing.assert_close(moved(scale=(2, 2)), grown, atol=1e-5, rtol=0)


def test_rotation_keeps_shapes_on_oblong_slices():
    """A disc stays a disc: the grid's coordinates are square pixels, not shares of unequal sides."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = (((rows - 19.5) ** 2 + (columns - 39.5) ** 2) < 144).float()[None]
    transform = RandAffineSliced("label", rotate=60, scale=(1, 1), shift=0)
    for seed in range(5):
        turned = transform.set_random_state(seed)({"label": disc})["label"]
        assert (turned - disc).abs().sum() < 0.1 * disc.sum()


def test_crops_are_square_windows_inside_the_slice():
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 101), torch.linspace(0, 1, 101), indexing="ij")
    transform = RandCropSliced(["rows", "columns"], label_keys=(), side=(0.2, 0.8))
    sides = []
    for seed in range(60):
        cut = transform.set_random_state(seed)({"rows": rows[None], "columns": columns[None]})
        down, across = cut["rows"][0, :, 50], cut["columns"][0, 50]
        assert down[1] > 0 and across[1] > 0 and max(down[-2], across[-2]) <= 1
        height, width = float(down[-2] - down[1]), float(across[-2] - across[1])
        assert height == pytest.approx(width, abs=1e-3)
        sides.append(width)
    assert 0.18 < min(sides) < 0.3 and 0.7 < max(sides) < 0.8


def test_crops_take_labels_whole():
    label = RandCropSliced(["image", "label"]).set_random_state(1)(blob())["label"]
    assert set(label.unique().tolist()) <= {0, 3, 7} and label.dtype == torch.uint8
    with pytest.raises(ValueError, match="largest <= 1"):
        RandCropSliced("image", side=(0.5, 1.5))


def test_same_seed_same_result_and_input_untouched():
    image = torch.rand(3, 16, 16)
    original = image.clone()
    transform = RandIntensitySliced("image", prob=1.0)
    first = transform.set_random_state(4)({"image": image})["image"]
    second = transform.set_random_state(4)({"image": image})["image"]
    third = transform.set_random_state(5)({"image": image})["image"]
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(image, original) and torch.isfinite(first).all()
    assert torch.equal(RandIntensitySliced("image", prob=0.0)({"image": image})["image"], image)
