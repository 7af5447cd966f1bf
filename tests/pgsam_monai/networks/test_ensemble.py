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
    members, file = list(drawn().networks[0]), tmp_path / "model.pt"
    for member, names in zip(members, (["a", "b"], ["b", "c"]), strict=True):
        member.trained_on = digests_of(names, dataset="d")
    network = Ensemble.of([members]).eval()
    torch.save(network.state_dict(), file)
    assert digests_in(description_in(file)) == digests_of("abc", dataset="d")
    assert description_in(file)["members"] == ["unet", "unet"]
    other, image = drawn(seed=1), torch.rand(1, 1, SIDE, SIDE)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(image), network(image))
    assert other.trained_on == digests_of("abc", dataset="d")


def test_it_is_not_known_what_it_learnt_from_where_one_member_does_not_say():
    members = list(drawn().networks[0])
    members[0].trained_on = frozenset()
    assert Ensemble.of([members]).trained_on is None


def frozen(seed, value=None):
    """A network whose first convolution is frozen."""
    network = drawn((1,), seed).networks[0][0]
    parameter = next(network.parameters()).requires_grad_(False)
    if value is not None:
        parameter.fill_(value)
    return network


def firsts(ensemble):
    return [next(member.parameters()) for member in ensemble.networks[0]]


def test_frozen_parameters_that_members_have_alike_are_there_once(tmp_path):
    network = Ensemble.of([[frozen(0, 1.0), frozen(1, 1.0), frozen(2, 2.0)]])
    one, same, other = firsts(network)
    assert same is one and other is not one and float(other.mean()) == 2
    torch.save(network.state_dict(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    name = next(name for name, _ in network.networks[0][0].named_parameters())
    pointers = [state[f"networks.0.{place}.{name}"].data_ptr() for place in range(3)]
    assert pointers[0] == pointers[1] != pointers[2]


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1])
def test_members_share_or_part_as_what_is_loaded_says(seed):
    """Whatever they did before: copies share all that is frozen."""
    image, loaded = torch.rand(1, 1, SIDE, SIDE), Ensemble([frozen(seed)], [3]).eval()
    assert len(set(map(id, firsts(loaded)))) == 1
    for values in ((1.0, 2.0, 2.0), (3.0, 3.0, 4.0), (5.0, 5.0, 5.0)):
        network = Ensemble.of([[frozen(place, value) for place, value in enumerate(values)]]).eval()
        loaded.load_state_dict(network.state_dict())
        assert torch.equal(loaded(image), network(image))
        assert [float(parameter.mean()) for parameter in firsts(loaded)] == list(values)
        assert (firsts(loaded)[0] is firsts(loaded)[1]) == (values[0] == values[1])


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
