"""Means over mirror images by hand: networks that know where in their input they are, oblique volumes, refusals."""

import pytest
import torch
from monai.data import MetaTensor
from small_volumes import oblique_affine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.confidence import KEY
from pgsam_monai.inference.ensemble import EnsembleInferer
from pgsam_monai.inference.mirroring import MirrorInferer, mirrored
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.ensemble import Ensemble


class First(DescribedNetwork):
    """Class 1 with 90 % in the first row, column and slice of its input, whatever it shows; with 10 % elsewhere."""

    name, num_classes, in_channels, trained_on = "first", 1, 1, frozenset()
    description = {"network": "first"}

    def forward(self, image):
        found = torch.full((len(image), 1, *image.shape[2:]), 0.1)
        found[(slice(None), slice(None), *(0,) * (image.ndim - 2))] = 0.9
        return torch.cat([1 - found, found], dim=1).log()


def bright(image):
    """Class 1 where it is brighter than 0.5: a network that doesn't mind where that is."""
    found = torch.full((len(image), 2, *image.shape[2:]), 0.1)
    return found.scatter_(1, (image > 0.5).long(), 0.9).log()


def corners(axes):
    """The mean over all mirror images of a 4 x 4 x 4 patch, by hand."""
    expected = torch.full((4, 4, 4), 0.1)
    places = [(0, 3) if axis in axes else (0,) for axis in range(3)]
    for i in places[0]:
        for j in places[1]:
            for k in places[2]:
                expected[i, j, k] += 0.8 / 2 ** len(axes)
    return expected


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_each_mirror_image_counts_alike(axes):
    inferer = PatchInferer((4, 4, 4), output="logits")
    found = MirrorInferer(inferer, axes)(torch.rand(2, 1, 4, 4, 4), First())
    assert found.shape == (2, 2, 4, 4, 4)
    for item in found.exp():
        torch.testing.assert_close(item[1], corners(axes), atol=2e-3, rtol=0)


def test_slices_are_mirrored_in_plane():
    found = MirrorInferer(SliceInferer(4, output="logits"), (0, 1))(torch.rand(1, 1, 4, 4, 3), First())
    expected = torch.full((4, 4), 0.1)
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.3
    for slice_ in range(3):
        torch.testing.assert_close(found.exp()[0, 1, :, :, slice_], expected, atol=2e-3, rtol=0)
    single = MirrorInferer(SliceInferer(4, output="logits"), (0, 1))(torch.rand(1, 1, 4, 4), First())
    torch.testing.assert_close(single, found[..., 0])


@pytest.mark.parametrize(
    "inferer",
    [
        PatchInferer((8, 8, 8), (1.0, 1.0, 1.0)),
        SliceInferer(24, "pad"),
        SliceInferer(24, "stretch", stack_depth=2),
    ],
)
def test_a_network_that_minds_no_place_answers_as_before(inferer):
    """On oblique volumes of unequal spacing, whose meta data stay."""
    image = torch.zeros(1, 1, 12, 10, 5)
    image[..., 2:8, 2:8, 1:4] = 1  # whole voxels at 1 mm, too
    image = MetaTensor(image, affine=torch.from_numpy(oblique_affine((0.5, 0.5, 2.0))))
    before = image.affine.clone()
    plain, mean = inferer(image, bright), MirrorInferer(inferer, (0, 1, 2))(image, bright)
    assert mean.dtype is torch.uint8 and mean.shape == plain.shape
    assert torch.equal(mean.as_tensor(), plain.as_tensor()) and mean.any()
    assert torch.equal(mean.affine, before) and torch.equal(image.affine, before)


def test_of_an_ensemble_each_network_is_mirrored():
    both = Ensemble([First(), First()], [2, 1]).eval()
    walks = [PatchInferer((4, 4, 4)), SliceInferer(4)]
    inferer = mirrored(EnsembleInferer(walks, "logits"), ["up-down"], "PLS", True)
    found = inferer(torch.rand(1, 1, 4, 4, 4), both).exp()[0, 1]
    slices = torch.full((4, 4, 4), 0.1)
    slices[0, 0] = 0.9  # in every slice, which mirroring along them doesn't change
    torch.testing.assert_close(found, (corners((2,)) + slices) / 2, atol=2e-3, rtol=0)
    assert inferer.members[1] is walks[1]


def test_how_sure_mirrored_networks_are_is_not_told():
    both, walks = Ensemble([First(), First()], [1, 1]).eval(), [PatchInferer((4, 4, 4)), SliceInferer(4)]
    plain, image = EnsembleInferer(walks), MetaTensor(torch.rand(1, 1, 4, 4, 4))
    assert KEY in plain(image, both).meta
    assert KEY not in mirrored(plain, ["up-down"], "PLS", True)(image, both).meta
    flat = EnsembleInferer(walks[1:])  # in slices, which mirroring along them doesn't change
    assert mirrored(flat, ["up-down"], "PLS", True) is flat


def test_nothing_mirrored_is_the_inferer_itself():
    inferer = SliceInferer(4)
    assert mirrored(inferer, [], "PLS", True) is inferer
    assert mirrored(inferer, ["up-down"], "PLS", True) is inferer  # along its slices
    assert mirrored(inferer, ["left-right"], "PLS", False).axes == (1,)
    assert mirrored(SliceInferer(4, stack_depth=3), ["up-down"], "PLS", True).axes == (2,)


def test_left_and_right_stay_apart():
    with pytest.raises(UserFault, match="a mirrored left one is a right one"):
        mirrored(SliceInferer(4), ["left-right"], "PLS", True)
    with pytest.raises(UserFault, match=r"each once; got \[3\]"):
        MirrorInferer(SliceInferer(4), [3])
