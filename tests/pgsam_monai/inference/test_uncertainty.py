from __future__ import annotations

import math

import pytest
import torch
from dataset_builders import write_msd
from monai.data import MetaTensor
from test_bundle_contract import NETWORKS
from tiny_bundle import plan_tiny
from torch import nn

from pgsam_monai.bundle import Bundle
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.inference.uncertainty import Uncertainty, entropy_of, measure_uncertainty


class Answers(nn.Module):
    """Gives its passes' probabilities in turn, the same at every voxel; has a layer to drop channels of."""

    def __init__(self, *passes: tuple[float, ...]) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 1, 1)
        self.passes, self.calls = passes, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.up(torch.zeros(1, 1, 1, 1))
        found = torch.tensor(self.passes[self.calls % len(self.passes)])
        self.calls += 1
        shape = (len(image), len(found), *image.shape[2:])
        return found.log().view(1, -1, *(1,) * (image.ndim - 2)).expand(shape)


def measured(
    *passes: tuple[float, ...], inferer: object = None, simulations: int | None = None
) -> Uncertainty:
    inferer = inferer or SliceInferer(4, "stretch", batch_size=2)
    image = torch.zeros(1, 1, 6, 5, 3)
    network = Answers(*passes).eval()
    return measure_uncertainty(network, inferer, image, simulations=simulations or len(passes))


def close(found: Uncertainty, entropy: float, mutual_information: float) -> bool:
    return found.entropy == pytest.approx(entropy, abs=1e-5) and found.mutual_information == pytest.approx(
        mutual_information, abs=1e-5
    )


@pytest.mark.parametrize("inferer", [None, PatchInferer((4, 4, 4), overlap=0.25)])
def test_the_formulas_on_hand_sized_answers(inferer):
    third = (1 / 3, 1 / 3, 1 / 3)
    sure, other, half = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.0)
    assert close(measured(sure, sure, inferer=inferer), 0, 0)
    assert close(measured(third, third, inferer=inferer), math.log(3), 0)
    assert close(measured(half, half, inferer=inferer), math.log(2), 0)  # all simulations share the doubt
    assert close(measured(sure, other, inferer=inferer), math.log(2), math.log(2))  # none has any of its own
    nine = (0.9, 0.1, 0.0)
    mean = -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))
    own = (-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) + math.log(2)) / 2
    assert close(measured(nine, half, inferer=inferer), mean, mean - own)


def test_two_classes_have_at_most_the_logarithm_of_two():
    assert close(measured((0.5, 0.5), simulations=3), math.log(2), 0)


def test_entropy_of_no_chance_is_zero_and_never_below():
    probabilities = torch.tensor([[1.0, 0.0], [0.25, 0.75]]).T[None]  # (1, 2 classes, 2 voxels)
    expected = [0.0, -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))]
    assert entropy_of(probabilities)[0].tolist() == pytest.approx(expected)
    assert float(entropy_of(torch.tensor([[1.0 + 1e-7, 1e-9]]))) >= 0


def test_what_pads_a_slice_does_not_count():
    class DoubtBelow(Answers):
        """Certain in the upper half, where a slice of twice the width lies."""

        def forward(self, image):
            logits = torch.zeros(len(image), 2, *image.shape[2:])
            logits[:, 0, : image.shape[2] // 2] = 50
            return logits

    image = torch.zeros(1, 1, 4, 8, 2)
    found = measure_uncertainty(DoubtBelow().eval(), SliceInferer(8, "pad"), image, simulations=2)
    assert found.entropy == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module", params=NETWORKS)
def bundle(request, tmp_path_factory):
    """A network with random weights, its inferer, and a volume."""
    work = tmp_path_factory.mktemp(request.param)
    folder = write_msd(work / "Task02_Heart", cases=5)
    parser = Bundle(plan_tiny(folder, work, networks=request.param), device="cpu").parser
    torch.manual_seed(1)
    network = parser.get_parsed_content("network_def").eval()
    image = MetaTensor(torch.rand(1, 1, 16, 14, 3), affine=torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0])))
    return network, parser.get_parsed_content("inferer"), image


def test_every_network_is_measured_and_left_as_it_was(bundle):
    network, inferer, image = bundle
    with torch.no_grad():
        before = inferer(image, network)
    weights = {name: value.clone() for name, value in network.state_dict().items() if torch.is_tensor(value)}
    random = torch.get_rng_state()
    found = measure_uncertainty(network, inferer, image, simulations=2, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), random)
    classes = network.num_classes + 1
    assert 0 < found.mutual_information < found.entropy <= math.log(classes) + 1e-6
    assert not network.training and not any(layer._forward_pre_hooks for layer in network.modules())
    assert "encode" not in vars(getattr(network, "image_encoder", network))
    assert all(torch.equal(network.state_dict()[name], value) for name, value in weights.items())
    with torch.no_grad():
        assert torch.equal(inferer(image, network), before)


def test_equal_seeds_give_equal_numbers_and_no_dropout_no_disagreement(bundle):
    network, inferer, image = bundle
    first, again, other = (
        measure_uncertainty(network, inferer, image, simulations=2, dropout=0.5, seed=seed)
        for seed in (3, 3, 4)
    )
    assert first == again != other
    still = measure_uncertainty(network, inferer, image, simulations=2, dropout=0.0)
    assert still.mutual_information == pytest.approx(0, abs=1e-6)


def test_the_image_encoder_runs_once_a_batch(bundle):
    network, inferer, image = bundle
    if not hasattr(network, "image_encoder"):
        pytest.skip("has none")
    seen = []
    first = next(iter(network.image_encoder.children()))
    hook = first.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        inferer(image, network)
    once = len(seen)
    measure_uncertainty(network, inferer, image, simulations=3)
    hook.remove()
    assert once >= 1 and len(seen) == 2 * once


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"simulations": 1}, "at least 2 simulations .* got 1"),
        ({"dropout": 1.0}, "0 to below 1, got 5 and 1.0"),
        ({"dropout": -0.1}, "0 to below 1"),
    ],
)
def test_arguments_outside_their_range_are_told(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure_uncertainty(Answers((1.0,)).eval(), SliceInferer(4), torch.zeros(1, 1, 4, 4, 1), **options)


def test_networks_that_cannot_be_simulated_are_told():
    image = torch.zeros(1, 1, 4, 4, 1)
    with pytest.raises(ValueError, match="in training mode"):
        measure_uncertainty(Answers((1.0,)), SliceInferer(4), image)
    with pytest.raises(ValueError, match="Conv2d has no transposed convolutions"):
        measure_uncertainty(nn.Conv2d(1, 2, 1).eval(), SliceInferer(4), image)
    with pytest.raises(ValueError, match="SliceInferer or PatchInferer .* got Identity"):
        measure_uncertainty(Answers((1.0,)).eval(), nn.Identity(), image)


def test_hooks_go_even_if_the_network_fails():
    class Fails(Answers):
        def forward(self, image):
            raise RuntimeError("no memory")

    network = Fails().eval()
    with pytest.raises(RuntimeError, match="no memory"):
        measure_uncertainty(network, SliceInferer(4), torch.zeros(1, 1, 4, 4, 1))
    assert not network.up._forward_pre_hooks


def test_memory_grows_neither_with_the_classes_nor_with_the_simulations():
    """Of a volume two numbers a voxel are kept: what comes back from the walk."""
    shapes = []

    class Seen(SliceInferer):
        def __call__(self, inputs, network):
            result = super().__call__(inputs, network)
            shapes.append(tuple(result.shape))
            return result

    many = tuple([1 / 40] * 40)
    measured(many, many, many, inferer=Seen(4, "stretch"))
    assert shapes == [(1, 2, 6, 5, 3)]
