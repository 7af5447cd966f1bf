"""Patches that are turned, scaled, shifted and bent."""

import numpy as np
import pytest
import torch

from pgsam_monai.transforms import RandDeformVolumed

SIZE = (20, 24, 16)


def places():
    """Each voxel's own row, column and slice, as three channels."""
    return torch.stack(torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")).float()


def box():
    label = torch.zeros(1, *SIZE, dtype=torch.uint8)
    label[0, 6:14, 8:16, 5:11] = 3
    return {"image": label / 3.0, "label": label}


def test_nothing_asked_changes_nothing():
    changed = RandDeformVolumed(["image", "label"])(box())
    torch.testing.assert_close(torch.as_tensor(changed["image"]), box()["image"], atol=1e-5, rtol=0)
    skipped = RandDeformVolumed(["image", "label"], prob=0.0, bend=0.1)(box())
    assert torch.equal(skipped["image"], box()["image"])


def test_a_shift_in_voxels_and_zeros_from_outside():
    transform = RandDeformVolumed("image", translate_range=[[4, 4.0001], 0, 0]).set_random_state(0)
    moved = torch.as_tensor(transform({"image": places()})["image"])
    torch.testing.assert_close(moved[0, :15, 5, 5], torch.arange(4.0, 19.0), atol=1e-3, rtol=0)
    assert (moved[:, 17:] == 0).all()


def test_bending_moves_image_with_label_and_folds_nothing():
    transform = RandDeformVolumed(["image", "label"], bend=0.02)
    largest = []
    for seed in range(10):
        bent = transform.set_random_state(seed)({"image": places(), "label": places()})
        inner = (slice(3, -3),) * 3
        moves = torch.as_tensor(bent["image"]) - places()
        largest.append(float(moves[0][inner].abs().max()))
        rows = torch.as_tensor(bent["image"])[0, 3:-3, 3:-3, 3:-3]
        assert (rows.diff(dim=0) > 0).all()
        shown = bent["label"][(0, *inner)] - bent["image"][(0, *inner)]
        assert torch.as_tensor(shown).abs().max() < 1.0  # nearest voxel
    assert 0.3 < np.mean(largest) < 2  # a row's deviation is up to 0.4 voxels, five points along each axis
    label = transform(box())["label"]
    assert set(torch.as_tensor(label).unique().tolist()) == {0, 3}


def test_the_same_seed_bends_alike():
    transform = RandDeformVolumed("image", rotate_range=0.2, bend=0.05)
    first, second = (transform.set_random_state(5)({"image": places()})["image"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_negative_bend_is_refused():
    with pytest.raises(ValueError, match="bend >= 0, got -1"):
        RandDeformVolumed("image", bend=-1)
