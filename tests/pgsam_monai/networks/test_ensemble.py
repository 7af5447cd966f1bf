"""Networks as one network: its answer, its checkpoint, what it was trained on, its exports."""

import pytest
import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.trained_for import description_in
from pgsam_monai.base.trained_on import digests_in, digests_of
from pgsam_monai.export.network import load_adapters, save_adapters
from pgsam_monai.networks.dynunet_3d import DynUNet3D
from pgsam_monai.networks.ensemble import Ensemble
from pgsam_monai.networks.unet import UNet

SIDE = 32
STRIDES = [[1] * 3, [2] * 3, [2] * 3]


def small(channels=1, classes=2):
    return UNet(num_classes=classes, image_size=SIDE, in_channels=channels, filters=(4, 4, 4, 4, 4))


def drawn(members=(2,), seed=0):
    """Members that differ."""
    torch.manual_seed(seed)
    network = Ensemble([small() for _ in members], members)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 1, SIDE, SIDE), (1, 1, SIDE, SIDE, 3)])
def test_forward_is_the_logarithm_of_the_mean_probability(shape):
    network, image = drawn((3,)), torch.rand(shape)
    mean = torch.stack([member(image).softmax(dim=1) for member in network.networks[0]]).mean(dim=0)
    torch.testing.assert_close(network(image).exp(), mean)


def test_members_of_several_networks_are_no_function_of_one_tensor():
    with pytest.raises(UserFault, match="export the bundles of its networks one by one"):
        drawn((1, 1))(torch.rand(1, 1, SIDE, SIDE))


def test_one_file_holds_all_members_and_says_what_any_of_them_learnt_from(tmp_path):
    network, file = drawn(), tmp_path / "model.pt"
    for member, names in zip(network.networks[0], (["a", "b"], ["b", "c"]), strict=True):
        member.trained_on = digests_of(names, dataset="d")
    network.learn_from_members()
    torch.save(network.state_dict(), file)
    assert digests_in(description_in(file)) == digests_of("abc", dataset="d")
    assert description_in(file)["members"] == ["unet", "unet"]
    other, image = drawn(seed=1), torch.rand(1, 1, SIDE, SIDE)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(image), network(image))
    assert other.trained_on == digests_of("abc", dataset="d")


def test_it_is_not_known_what_it_learnt_from_where_one_member_does_not_say():
    network = drawn()
    network.networks[0][0].trained_on = frozenset()
    network.learn_from_members()
    assert network.trained_on is None


def test_other_members_are_refused_by_name():
    with pytest.raises(UserFault, match=r"belongs to another network: members \['unet', 'unet', 'unet'\]"):
        drawn().load_state_dict(drawn((3,)).state_dict())


@pytest.mark.parametrize(
    ("networks", "members", "said"),
    [
        ([], [], "needs networks"),
        ([small()], [1, 1], "needs networks"),
        ([small()], [0], "at least 1"),
        ([small(), small(channels=2)], [1, 1], "the same number of classes and of channels"),
        ([small(), small(classes=3)], [1, 1], "the same number of classes and of channels"),
    ],
)
def test_what_is_no_ensemble_is_refused(networks, members, said):
    with pytest.raises(UserFault, match=said):
        Ensemble(networks, members)


@torch.no_grad()
def test_folds_of_a_network_are_scripted_as_one():
    network, image = drawn((3,)), torch.rand(2, 1, SIDE, SIDE)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_folds_of_a_3d_network_are_scripted_as_one():
    torch.manual_seed(0)
    own = DynUNet3D(num_classes=2, patch=(8, 8, 8), kernels=[[3] * 3] * 3, strides=STRIDES, filters=[4] * 3)
    network, image = Ensemble([own], [2]).eval(), torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_its_adapters_come_back(tmp_path):
    network, other, image = drawn(), drawn(seed=1), torch.rand(1, 1, SIDE, SIDE)
    load_adapters(other, save_adapters(network, tmp_path / "adapters.safetensors"))
    assert torch.equal(other(image), network(image))
