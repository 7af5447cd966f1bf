"""MONAI's DynUNet on volumes: sizes, anisotropic stages, outputs, gradients, checkpoints, export."""

import io

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks import nets

from pgsam_monai.networks.dynunet_3d.network import DynUNet3D

CUBIC = {"kernels": [[3] * 3] * 4, "strides": [[1] * 3, [2] * 3, [2] * 3, [2] * 3], "filters": [4, 8, 16, 16]}
FLAT = {
    "kernels": [[3, 3, 1], [3, 3, 1], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [1, 1, 2]],
    "filters": [4, 8, 16, 16],
}

HALVED = CUBIC | {"strides": [[2, 2, 1], [2] * 3, [2] * 3, [1] * 3]}


def make(topology=CUBIC, **changes):
    torch.manual_seed(0)
    return DynUNet3D(**({"num_classes": 2, "patch": (32, 32, 16)} | topology | changes))


@pytest.mark.parametrize("topology", [CUBIC, FLAT])
@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (4, 15)])
@torch.no_grad()
def test_evaluation_returns_one_tensor(topology, channels, classes):
    network = make(topology, num_classes=classes, in_channels=channels).eval()
    logits = network(torch.rand(2, channels, 32, 32, 16))
    assert (logits.shape, logits.dtype) == ((2, classes + 1, 32, 32, 16), torch.float32)


def test_strides_give_the_multiples_and_the_sizes_of_what_is_supervised():
    flat, cubic = make(FLAT), make(CUBIC)
    assert (flat.multiples, cubic.multiples) == ((4, 4, 4), (8, 8, 8))
    image = torch.rand(1, 1, 32, 32, 16)
    # all decoder stages but the coarsest, which has 8 x 8 x 8 voxels of either network's 4 stages
    assert [tuple(logits.shape[2:]) for logits in flat(image)] == [(32, 32, 16), (16, 16, 16)]
    assert [tuple(logits.shape[2:]) for logits in cubic(image)] == [(32, 32, 16), (16, 16, 8)]
    assert len(make(deep_supervision=False)(image)) == 1
    three = {name: stages[:3] for name, stages in CUBIC.items()}
    assert len(make(three)(image)) == 1
    assert flat.encoder[0].conv1.conv.kernel_size == (3, 3, 1) and flat.encoder[1].conv1.conv.stride == (
        2,
        2,
        1,
    )


@torch.no_grad()
def test_a_first_stride_makes_the_finest_stage_coarser_than_the_volume_and_logits_as_fine():
    network, image = make(HALVED), torch.rand(1, 1, 32, 32, 16)
    assert network.decode(image)[0].shape == (1, 4, 16, 16, 16)
    assert [tuple(logits.shape[2:]) for logits in network(image)] == [(32, 32, 16), (8, 8, 8)]
    # each of the 2 x 2 voxels within a cell of the finest stage has weights of its own
    torch.nn.init.zeros_(network.output.weight)
    network.output.weight[2, 0, 1, 0, 0] = (
        7.0  # the cell's third channel counts for the background of its voxel (1, 0)
    )
    network.eval()
    cell, logits = network.decode(image)[0][:, 2], network(image) - network.output.bias.view(1, 3, 1, 1, 1)
    torch.testing.assert_close(logits[:, 0, 1::2, 0::2], 7 * cell)
    logits[:, 0, 1::2, 0::2] = 0
    assert logits.abs().max() < 1e-5


@pytest.mark.parametrize("topology", [CUBIC, FLAT])
def test_it_computes_what_monais_own_forward_does(topology):
    torch.manual_seed(0)
    monai = nets.DynUNet(
        3, 1, 3, topology["kernels"], topology["strides"], topology["strides"][1:], topology["filters"],
        deep_supervision=True, deep_supr_num=1,
    )  # fmt: skip
    ours, image = make(topology), torch.rand(2, 1, 32, 32, 16)
    stacked = monai((image - 0.5) / 0.25)  # (B, heads, K+1, H, W, D), all enlarged
    for index, logits in enumerate(ours(image)):
        same = torch.nn.functional.interpolate(logits, size=(32, 32, 16))
        torch.testing.assert_close(same, stacked[:, index], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(image), monai.eval()((image - 0.5) / 0.25), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("topology", [CUBIC, FLAT, HALVED])
def test_every_parameter_gets_a_gradient(topology):
    network, label = make(topology, in_channels=2), torch.randint(0, 3, (2, 1, 32, 32, 16)).float()
    loss = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True), weight_mode="exp")
    loss(network(torch.rand(2, 2, 32, 32, 16)), label).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_trains_in_bfloat16_with_float32_logits():
    with torch.autocast("cpu", torch.bfloat16):
        outputs = make()(torch.rand(1, 1, 32, 32, 16))
    assert {logits.dtype for logits in outputs} == {torch.float32}
    sum(logits.square().mean() for logits in outputs).backward()


@torch.no_grad()
def test_another_size_than_built_for():
    assert make(FLAT).eval()(torch.rand(1, 1, 36, 48, 8)).shape == (1, 3, 36, 48, 8)


@torch.no_grad()
def test_meta_tensors_keep_their_meta_data():
    image = MetaTensor(torch.rand(1, 1, 32, 32, 16), affine=torch.eye(4) * 2)
    assert torch.equal(make().eval()(image).affine, image.affine)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 36, 32, 16), r"DynUNet3D: sides must be multiples of \(8, 8, 8\) voxels, got \(36, 32, 16\)"),
        ((1, 1, 8, 8, 8), r"one of them at least twice, got \(8, 8, 8\); choose for example \(16, 8, 8\)"),
        ((1, 2, 32, 32, 16), "must be \\(B, 1, H, W, D\\)"),
        ((1, 1, 32, 32), "it takes volumes, not slices"),
    ],
)
def test_bad_images(shape, message):
    with pytest.raises(ValueError, match=message):
        make()(torch.rand(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"patch": (32, 32)}, "DynUNet3D: patch must be three numbers"),
        ({"patch": (36, 32, 16)}, r"of patch must be multiples of \(8, 8, 8\).*choose for example \(32, 32, 16\)"),
        ({"patch": (8, 8, 8)}, "one of them at least twice"),
        ({"filters": [4, 8]}, "the same 3 or more stages"),
        ({"strides": [[1] * 3, [2, 2], [2] * 3, [2] * 3]}, "strides of a stage must be three numbers"),
        ({"kernels": [[3] * 3, [2] * 3, [3] * 3, [3] * 3]}, "kernels must be odd"),
        ({"strides": [[1] * 3, [8] * 3, [1] * 3, [1] * 3]}, "strides at most one larger"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_another_topologys_checkpoint_is_refused_with_a_sentence():
    network = make(FLAT)
    assert network.description == {
        "network": "dynunet_3d", "num_classes": 2, "patch": "32x32x16", "in_channels": 1,
        "kernels": "3x3x1 3x3x1 3x3x3 3x3x3", "strides": "1x1x1 2x2x1 2x2x2 1x1x2", "filters": "4 8 16 16",
        "deep_supervision": True,
    }  # fmt: skip
    network.load_state_dict(make(FLAT).state_dict())
    with pytest.raises(
        ValueError, match="another network: kernels 3x3x3 3x3x3 3x3x3 3x3x3 .this network: 3x3x1 "
    ):
        network.load_state_dict(make(CUBIC).state_dict(), strict=False)


@pytest.mark.parametrize("topology", [FLAT, HALVED])
@torch.no_grad()
def test_torchscript_equals_the_network_for_any_batch(topology):
    network = make(topology).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    for batch in (1, 3):
        image = torch.rand(batch, 1, 32, 32, 16)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-5, rtol=1e-5)
    with pytest.raises(torch.jit.Error, match="patches of its own size only"):
        loaded(torch.rand(1, 1, 64, 32, 16))
