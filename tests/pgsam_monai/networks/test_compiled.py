"""Compiled blocks: the same numbers and names, and a sentence where nothing can compile."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from small_sam import fill_tables

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.compiled import compile_blocks, require_compiler
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.dynunet import DynUNet
from pgsam_monai.networks.ensemble import Ensemble
from pgsam_monai.networks.hsam import HSAM
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.refsam3d import RefSAM3D
from pgsam_monai.networks.sam.image_encoder import ImageEncoder
from pgsam_monai.networks.samed import SAMed
from pgsam_monai.networks.unet import UNet

TINY = {"num_classes": 2, "image_size": 32, "backbone": "vit_tiny"}
VOLUME = torch.rand(2, 1, 32, 32, 16, generator=torch.Generator().manual_seed(0))
SLICES = VOLUME[..., 0]


@pytest.fixture(autouse=True)
def nothing_compiled_yet():
    torch._dynamo.reset()


def make(name):
    """A network with random weights, and an input."""
    torch.manual_seed(0)
    made = {
        "samed": lambda: SAMed(**TINY, encoder_training="lora"),
        "mobile_sam": lambda: SAMed(**TINY | {"backbone": "mobile_sam"}, encoder_training="lora"),
        "hsam": lambda: HSAM(**TINY, class_frequencies=[1 / 3] * 3, noise_std=0.0),
        "medsa": lambda: MedSA(**TINY),
        "refsam3d": lambda: RefSAM3D(
            num_classes=2, patch=(32, 32, 16), backbone="vit_mini", token_size=(8, 8, 4), window=4, text_prompt=False,
            texts=[[""]] * 3, names=["background", "a", "b"],
        ),
        "unet": lambda: UNet(num_classes=2, image_size=32),
        "dynunet": lambda: DynUNet(
            num_classes=2, image_size=32, kernels=[3, 3, 3], strides=[1, 2, 2], filters=[8, 8, 8]
        ),
    }  # fmt: skip
    return made[name](), VOLUME if name == "refsam3d" else SLICES


def learn(network, image):
    """The outputs of a training step, and the gradients that it leaves."""
    torch.manual_seed(1)
    network.train().zero_grad()
    outputs = network(image)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(output.square().mean() for output in outputs).backward()
    gradients = [value.grad.clone() for value in network.parameters() if value.grad is not None]
    return [output.detach() for output in outputs], gradients


@pytest.mark.parametrize("name", ["samed", "mobile_sam", "hsam", "medsa", "refsam3d", "unet", "dynunet"])
def test_the_numbers_the_names_and_the_weights_stay(name):
    """With the graph that torch captures but without code made of it, which takes minutes."""
    network, image = make(name)
    with torch.no_grad():
        plain = network.eval()(image)
    learnt, names = learn(network, image), list(network.state_dict())
    compile_blocks(network, backend="eager")
    assert all(part._compiled_call_impl is not None for part in network.compiled_parts())
    assert list(network.state_dict()) == names
    network.load_state_dict(copy.deepcopy(network.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), plain, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(image[:1]), plain[:1], rtol=1e-4, atol=1e-4)  # a smaller batch
    torch.testing.assert_close(learn(network, image), learnt, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (16, 16)])
def test_blocks_with_relative_positions_in_windows_and_over_the_grid(grid):
    """As in SAM's ViTs; both kinds share what is compiled, and neither gives up."""
    torch.manual_seed(0)
    encoder = ImageEncoder(image_size=64, embed_dim=32, depth=4, heads=2, global_blocks=(1, 3))
    fill_tables(encoder)
    tokens = torch.rand(2, *grid, 32)
    expected = [block(tokens) for block in encoder.blocks]
    for block in encoder.blocks:
        block.compile(backend="eager")
    torch._dynamo.utils.counters.clear()
    torch.testing.assert_close([block(tokens) for block in encoder.blocks], expected)
    assert torch._dynamo.utils.counters["frames"]["ok"] <= 2  # of four blocks


def test_most_of_a_networks_time_is_in_what_is_compiled():
    """By parameters, of the encoder."""
    for name in ("samed", "mobile_sam"):
        network, _ = make(name)
        inside = sum(value.numel() for part in network.compiled_parts() for value in part.parameters())
        assert inside > 0.6 * sum(value.numel() for value in network.image_encoder.parameters()), name


def test_copies_are_not_compiled_so_they_can_be_exported_and_pickled():
    network, _ = make("samed")
    compile_blocks(network, backend="eager")
    assert not any(part._compiled_call_impl for part in copy.deepcopy(network).compiled_parts())


def test_an_ensemble_compiles_its_members():
    network, _ = make("unet")
    assert len(Ensemble([network], [3]).compiled_parts()) == 3


class Doubling(DescribedNetwork):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 4)

    def compiled_parts(self):
        return [self.body]

    def forward(self, x):
        return self.body(x) * 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here")
def test_code_is_made_and_computes_the_same():
    network, x = Doubling(), torch.rand(3, 4)
    expected = network(x)
    compile_blocks(network)
    torch.testing.assert_close(network(x), expected)


def test_without_a_compiler_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserFault, match=r"no 'g\+\+' here; install one .* CXX, or leave compile false"):
        compile_blocks(Doubling())
    monkeypatch.setenv("CXX", "ccache nothing")
    with pytest.raises(UserFault, match="no 'ccache' here"):
        require_compiler(torch.device("cpu"))


def test_on_a_gpu_triton_is_needed_too(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(torch.utils._triton, "has_triton", lambda: False)
    require_compiler(torch.device("cpu"))
    with pytest.raises(UserFault, match="needs Triton on a GPU"):
        require_compiler(torch.device("cuda", 0))
