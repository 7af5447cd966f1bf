"""Training samples that are mirrored along the planned axes, as the bundles parse it."""

import pytest
import torch
from monai.bundle import ConfigParser

from preprocess.bundle.augmentation import patch_augmentation
from preprocess.bundle.transforms import augmentation_transforms, with_mirroring


def flipped(seen, mirror, item):
    """All that forty draws make of an item, as sets of the axes along which it came out mirrored."""
    plain = (
        patch_augmentation("none", item.shape[1:])
        if seen == "patches"
        else augmentation_transforms("none", 8)
    )
    values = {"mirror": mirror, "orientation": "PLS"}
    config = with_mirroring(plain, values, seen=seen, sided=False)
    transforms = ConfigParser({"augmentation": config}).get_parsed_content("augmentation")
    found = set()
    for seed in range(40):
        made = transforms.set_random_state(seed=seed)({"image": item, "label": item.to(torch.uint8)})
        assert torch.equal(torch.as_tensor(made["image"]), torch.as_tensor(made["label"]).to(item.dtype))
        ways = [()]
        for axis in range(item.ndim - 1):
            ways += [(*way, axis) for way in ways]
        found.add(next(way for way in ways if torch.equal(item.flip([a + 1 for a in way]), made["image"])))
    return found


@pytest.mark.parametrize(
    ("seen", "mirror", "shape", "ways"),
    [
        ("patches", ["up-down"], (1, 2, 3, 4), {(), (2,)}),
        ("patches", ["left-right", "front-back"], (1, 2, 3, 4), {(), (0,), (1,), (0, 1)}),
        ("patches", [], (1, 2, 3, 4), {()}),
        ("slices", ["front-back"], (1, 4, 5), {(), (0,)}),
        (
            "slices",
            ["left-right", "up-down"],
            (1, 4, 5),
            {(), (1,)},
        ),  # along slices there is nothing to mirror
    ],
)
def test_image_and_label_are_mirrored_alike_along_the_planned_axes(seen, mirror, shape, ways):
    count = torch.tensor(shape).prod()
    assert flipped(seen, mirror, torch.arange(int(count), dtype=torch.float32).reshape(shape)) == ways
