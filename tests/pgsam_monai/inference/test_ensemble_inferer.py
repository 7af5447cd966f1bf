"""Several networks as one: means by hand, 2-D beside 3-D, what is held, how sure they are, refusals."""

import math

import pytest
import torch
from monai.data import MetaTensor
from small_volumes import oblique_affine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference import confidence, ensemble
from pgsam_monai.inference.confidence import SoftDice, soft_dice
from pgsam_monai.inference.ensemble import EnsembleInferer, add_up, log_mean, most_probable
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.ensemble import Ensemble


class Constant(DescribedNetwork):
    """The same class probabilities in every pixel or voxel."""

    name, num_classes, in_channels, trained_on = "constant", 2, 1, frozenset()

    def __init__(self, *probabilities):
        super().__init__()
        self.description = {"network": self.name}
        self.logits = torch.nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, image):
        shape = (1, -1, *(1,) * (image.ndim - 2))
        return self.logits.reshape(shape).expand(len(image), -1, *image.shape[2:])


class Bright(Constant):
    """Class 1 where it is brighter than 0.5, with 90 %; else class 0, with 90 %."""

    name = "bright"

    def forward(self, image):
        found = torch.full((len(image), 3, *image.shape[2:]), 0.05)
        found.scatter_(1, (image > 0.5).long(), 0.9)
        return found.log()


def together(*groups):
    """An ensemble whose networks have these members, in evaluation mode."""
    network = Ensemble([group[0] for group in groups], [len(group) for group in groups])
    for members, group in zip(network.networks, groups, strict=True):
        for place, member in enumerate(group):
            members[place] = member
    return network.eval()


def oblique(volume, spacing=(0.5, 0.5, 2.0)):
    return MetaTensor(volume, affine=torch.from_numpy(oblique_affine(spacing)))[None]


def slices(side=8, **options):
    return SliceInferer(side, "stretch", **options)


PATCHES = {"patch": (8, 8, 8), "spacing": (1.0, 1.0, 1.0)}
MOSTLY_1, MOSTLY_2 = (0.1, 0.8, 0.1), (0.3, 0.0625, 0.6375)


@pytest.mark.parametrize("output", ["labels", "logits"])
def test_the_mean_of_probabilities_decides(output):
    """Two of three prefer class 1 a little, one class 2 strongly: the mean says 2, a vote would say 1."""
    members = [Constant(0.3, 0.4, 0.3), Constant(0.3, 0.4, 0.3), Constant(0.1, 0.0001, 0.8999)]
    found = EnsembleInferer([slices()], output)(oblique(torch.rand(1, 6, 4, 3)), together(members))
    if output == "labels":
        assert (
            found.dtype == torch.uint8 and found.shape == (1, 1, 6, 4, 3) and found.unique().tolist() == [2]
        )
    else:
        expected = torch.tensor([0.7 / 3, 0.8001 / 3, 1.4999 / 3]).log().reshape(1, 3, 1, 1, 1)
        torch.testing.assert_close(found.as_tensor(), expected.expand(1, 3, 6, 4, 3), atol=2e-3, rtol=0)


def test_networks_count_alike_however_many_members_they_have():
    """Class 1: (0.8 + 0.0625) / 2 = 0.43; class 2: (0.1 + 0.6375) / 2 = 0.37. Counted by member 2 would win."""
    networks = together([Constant(*MOSTLY_1)], [Constant(*MOSTLY_2)] * 3)
    walk = EnsembleInferer([slices(), PatchInferer(**PATCHES)])
    assert walk(oblique(torch.rand(1, 6, 4, 3)), networks).unique().tolist() == [1]


@pytest.mark.parametrize("side", [4, 12, 32])
def test_slices_and_patches_meet_on_the_scans_grid(side):
    """A block of whole voxels of either network; 2-D sees fewer, as many or more pixels than there are."""
    volume = torch.zeros(1, 12, 12, 6)
    volume[0, 6:, :, 2:5] = 1
    walk = EnsembleInferer([slices(side), PatchInferer(**PATCHES)])
    inputs = oblique(volume)
    found = walk(inputs, together([Bright()], [Bright(), Bright()]))
    assert torch.equal(found.as_tensor()[0].float(), volume)
    assert torch.equal(found.affine, inputs.affine)


def test_a_batch_and_single_slices_are_walked_too():
    image = torch.rand(2, 1, 8, 8)
    found = EnsembleInferer([slices()])(image, together([Bright()]))
    assert torch.equal(found, (image > 0.5).to(torch.uint8))


def test_members_of_a_network_share_one_map_of_its_own_resolution():
    inputs = oblique(torch.rand(1, 40, 40, 4))
    members = [Constant(*MOSTLY_1) for _ in range(5)]
    maps = add_up((slices().probabilities(inputs, member)[0], 0.2) for member in members)
    assert [tuple(each.shape) for each in maps] == [(3, 8, 8, 4)] and maps[0].dtype == torch.float16
    torch.testing.assert_close(maps[0][:, 0, 0, 0].float(), torch.tensor(MOSTLY_1), atol=2e-3, rtol=0)


def test_maps_are_never_finer_than_the_scan():
    inputs = oblique(torch.rand(1, 6, 4, 3), spacing=(4.0, 0.5, 4.0))
    assert slices(16).probabilities(inputs, Constant(*MOSTLY_1)).shape == (1, 3, 6, 4, 3)
    patches = PatchInferer(**PATCHES).probabilities(inputs, Constant(*MOSTLY_1))
    assert patches.shape == (
        1,
        3,
        6,
        2,
        3,
    )  # 24 x 2 x 12 mm: more voxels than the scan's, but for the columns


def test_on_the_grid_one_class_is_held_at_a_time(monkeypatch):
    sizes = []

    def resample(volume, size):
        sizes.append(len(volume))
        return resampled(volume, size)

    resampled = ensemble.resample_volume
    monkeypatch.setattr(ensemble, "resample_volume", resample)
    most_probable([torch.rand(5, 2, 2, 2).half(), torch.rand(5, 3, 3, 2).half()], (9, 8, 7))
    assert sizes == [1] * 10


def test_it_tells_how_sure_the_mean_is():
    """Of the mean (0.375, 0.5, 0.125) class 1 is everywhere; each of two volumes is told of."""
    networks = together([Constant(0.5, 0.375, 0.125)], [Constant(0.25, 0.625, 0.125)])
    inputs = oblique(torch.rand(1, 6, 4, 3))
    found = EnsembleInferer([slices(), PatchInferer(**PATCHES)])(inputs, networks)
    expected = [math.nan, 2 * 0.5 / (1 + 0.5), math.nan]
    assert found.meta[confidence.KEY].tolist() == [pytest.approx(expected, abs=1e-3, nan_ok=True)]
    two = MetaTensor(torch.rand(2, 1, 6, 4, 3))
    assert EnsembleInferer([slices(), slices()])(two, networks).meta[confidence.KEY].shape == (2, 3)


def test_that_is_soft_dice_of_all_mean_probabilities(monkeypatch):
    """Two voxels by hand, the sums of two networks; then drawn maps of two resolutions, in pieces of 7 voxels."""
    sums, sure = torch.tensor([[0.5, 1.25], [1.5, 0.75]]).reshape(2, 2, 1, 1), SoftDice()
    assert most_probable([sums], (2, 1, 1), sure).flatten().tolist() == [1, 0]
    assert sure.per_class().tolist() == pytest.approx(
        [2 * 0.625 / (1 + 0.875), 2 * 0.75 / (1 + 1.125)], rel=1e-6
    )
    draw = torch.Generator().manual_seed(0)
    maps = [(3 * torch.randn(5, *size, generator=draw)).softmax(0).half() for size in ((3, 4, 2), (5, 3, 4))]
    whole = soft_dice(log_mean(maps, (6, 5, 4)).exp() / 2)
    for pieces in (confidence.CACHED, 7):
        monkeypatch.setattr(confidence, "CACHED", pieces)
        most_probable(maps, (6, 5, 4), sure := SoftDice())
        torch.testing.assert_close(sure.per_class(), whole, atol=2e-4, rtol=0, equal_nan=True)


def test_logits_and_plain_tensors_tell_nothing_of_sureness():
    networks, inputs = together([Constant(*MOSTLY_1)]), oblique(torch.rand(1, 6, 4, 3))
    for walk in (EnsembleInferer([slices()], "logits"), EnsembleInferer([slices()], confidence=False)):
        assert confidence.KEY not in walk(inputs, networks).meta
    assert type(EnsembleInferer([slices()])(inputs.as_tensor(), networks)) is torch.Tensor


def test_the_lower_class_wins_a_tie():
    maps = [torch.full((4, 2, 2, 2), 0.25).half()]
    assert most_probable(maps, (5, 4, 3)).unique().tolist() == [0]


def test_the_members_weights_decide_for_themselves():
    first, second = Constant(*MOSTLY_1), Constant(*MOSTLY_2)
    walk, inputs = EnsembleInferer([slices(), slices()]), oblique(torch.rand(1, 6, 4, 3))
    assert walk(inputs, together([first], [first])).unique().tolist() == [1]
    assert walk(inputs, together([second], [second])).unique().tolist() == [2]


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ([], {}, "for each network, got none"),
        ([EnsembleInferer([slices()])], {}, "got EnsembleInferer"),
        ([slices()], {"output": "votes"}, "output must be one of"),
    ],
)
def test_wrong_settings_are_refused(members, options, said):
    with pytest.raises(UserFault, match=said):
        EnsembleInferer(members, **options)


@pytest.mark.parametrize("network", [Constant(*MOSTLY_1), together([Constant(*MOSTLY_1)], [Bright()])])
def test_a_network_of_other_members_is_refused(network):
    with pytest.raises(UserFault, match="walks an Ensemble of 1 networks, got"):
        EnsembleInferer([slices()])(torch.rand(1, 1, 6, 4, 3), network)


def test_inputs_without_slices_are_refused():
    with pytest.raises(UserFault, match=r"inputs must be \(B, C, H, W\[, D\]\)"):
        EnsembleInferer([slices()])(torch.rand(6, 4, 3), together([Bright()]))
