"""The augmentation of patches as the bundles parse it: shapes, labels, axes, draws that repeat."""

import json

import pytest
import torch
from monai.bundle import ConfigParser

from preprocess.bundle.augmentation import patch_augmentation

NAMES = ["papers", "default", "none"]
CLASSES = [0, 1, 7, 200]


def parsed(name, patch=(16, 16, 8)):
    config = {"augmentation": patch_augmentation(name, patch)}
    return ConfigParser(json.loads(json.dumps(config))).get_parsed_content("augmentation")


def item(patch=(16, 16, 8), channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor(CLASSES, dtype=torch.uint8)
    return {
        "image": torch.rand(channels, *patch, generator=generator),
        "label": classes[torch.randint(0, 4, (1, *patch), generator=generator)],
    }


def changed(transforms, data, seed):
    return transforms.set_random_state(seed=seed)(dict(data))


@pytest.mark.parametrize("patch", [(16, 16, 8), (12, 20, 4), (4, 4, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_stay_and_labels_keep_their_values(name, patch):
    transforms, data = parsed(name, patch), item(patch, channels=2)
    for seed in range(40):
        result = changed(transforms, data, seed)
        assert result["image"].shape == (2, *patch) and result["label"].shape == (1, *patch)
        assert set(result["label"].unique().tolist()) <= set(CLASSES)
        assert result["image"].isfinite().all() and result["image"].abs().max() < 2


@pytest.mark.parametrize("name", ["papers", "default"])
def test_draws_repeat_whatever_came_before(name):
    data = item()
    first, second = parsed(name), parsed(name)
    for seed in (3, 11, 4_294_967_295):
        expected = changed(first, data, seed)
        for _ in range(3):
            second(dict(item(seed=9)))
        result = changed(second, data, seed)
        for key in data:
            assert torch.equal(torch.as_tensor(result[key]), torch.as_tensor(expected[key]))
    images = [torch.as_tensor(changed(first, data, seed)["image"]) for seed in range(30)]
    assert len({tuple(image.flatten().tolist()) for image in images}) > 20
    assert torch.equal(data["image"], item()["image"])


def test_none_leaves_patches_as_they_are():
    assert patch_augmentation("none", (4, 4, 4)) == {"_target_": "Compose", "transforms": []}
    with pytest.raises(KeyError):
        patch_augmentation("hsam", (4, 4, 4))


def test_papers_mirrors_nothing_where_classes_are_told_by_their_side():
    """A corner's two neighbours lie clockwise after any turn, and the other way round in a mirrored patch."""
    corner = torch.zeros(1, 16, 16, 1)
    corner[0, 0, 0], corner[0, 0, 15] = 100, 200
    found = {}
    for sided in (False, True):
        config = patch_augmentation("papers", (16, 16, 1), sided=sided)
        turns = [
            entry for entry in config["transforms"] if entry["_target_"] in ("RandRotate90d", "RandFlipd")
        ]
        transforms = ConfigParser({"x": {"_target_": "Compose", "transforms": turns}}).get_parsed_content("x")
        found[sided] = {
            _winding(changed(transforms, {"image": corner, "label": corner}, seed)) for seed in range(40)
        }
    assert found == {False: {-1, 1}, True: {1}}


def _winding(sample):
    """1 where the way from the corner of 100 to that of 200, seen from the middle, is clockwise as it was, else -1."""
    volume = torch.as_tensor(sample["label"])[0, ..., 0]
    first, second = ((volume == value).nonzero()[0].double() - 7.5 for value in (100, 200))
    return int(torch.sign(first[1] * second[0] - first[0] * second[1]))


def test_papers_stays_in_plane_and_turns_all_slices_alike():
    transforms, label = parsed("papers"), torch.arange(1, 9, dtype=torch.uint8).expand(1, 16, 16, 8).clone()
    for seed in range(60):
        result = changed(transforms, {"image": torch.rand(1, 16, 16, 8), "label": label}, seed)["label"]
        inside = torch.as_tensor(result) > 0
        assert torch.equal(torch.as_tensor(result)[inside], label.float()[inside])
        assert torch.equal(inside, inside[..., :1].expand_as(inside))


def test_papers_turns_square_patches_in_all_eight_ways():
    """The corners of the plane, where the first ones of the list alone move them."""
    label = torch.zeros(1, 16, 16, 2)
    label[:, :8, :8], label[:, :8, 8:], label[:, 8:, :8], label[:, 8:, 8:] = 1, 2, 3, 4
    transforms = parsed("papers", (16, 16, 2))
    turns = type(transforms)(transforms.transforms[:3])
    found = {
        tuple(
            changed(turns, {"image": label, "label": label}, seed)["label"][0, ::15, ::15, 0]
            .flatten()
            .tolist()
        )
        for seed in range(200)
    }
    assert len(found) == 8
    assert len(parsed("papers", (16, 12, 2)).transforms) == len(transforms.transforms) - 1


def test_papers_erases_two_to_five_percent_of_each_slice():
    transforms = parsed("papers", (100, 80, 3))
    (erase,) = [one for one in transforms.transforms if type(one).__name__ == "RandCoarseDropoutd"]
    shares = []
    for seed in range(80):
        erased = erase.set_random_state(seed=seed)({"image": torch.ones(1, 100, 80, 3)})["image"][0] == 0
        assert torch.equal(erased, erased[..., :1].expand_as(erased))
        shares.append(float(erased.float().mean()))
    assert 20 < sum(share == 0 for share in shares) < 60
    assert all(0.019 < share < 0.052 for share in shares if share)


def test_papers_then_applies_two_of_ten():
    some = parsed("papers").transforms[-1]
    assert len(some.transforms) == 10 and (some.min_num_transforms, some.max_num_transforms) == (2, 2)
    constant = {"image": torch.full((1, 16, 16, 8), 0.5), "label": torch.ones(1, 16, 16, 8)}
    ranges = {
        "RandScaleIntensityd": (0.35, 0.65),
        "RandPosterized": (120 / 255, 0.503),
        "RandSharpnessd": (0.5, 0.5),
    }
    for one in some.transforms:
        low, high = ranges.get(type(one).__name__, (0.0, 0.5))
        for seed in range(20):
            one.set_random_state(seed=seed) if hasattr(one, "set_random_state") else None
            image = one(dict(constant))["image"]
            assert low - 1e-4 <= float(image.min()) and float(image.max()) <= high + 1e-4


def test_default_never_mirrors_and_mostly_stays_about_the_slice_axis():
    """Ramps along each axis keep rising; the middle of the patch does not leave it."""
    place = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, 16),) * 3, indexing="ij"))
    transforms = parsed("default", (16, 16, 16))
    for seed in range(60):
        result = changed(transforms, {"image": place, "label": place[:1] > 0.5}, seed)["image"]
        middle = result[:, 5:11, 5:11, 5:11]
        for axis in range(3):
            slope = middle[axis].diff(dim=axis).mean()
            across = [middle[axis].diff(dim=other).mean().abs() for other in range(3) if other != axis]
            assert slope > 2 * max(across)
