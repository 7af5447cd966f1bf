"""MONAI's networks on slices: sizes, outputs, gradients, checkpoints."""

import copy
import subprocess
import sys

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks import nets

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.dynunet import DynUNet
from pgsam_monai.networks.swinunetr import SwinUNETR
from pgsam_monai.networks.unet import UNet
from pgsam_monai.networks.unetr import UNETR

TOPOLOGY = {"kernels": [3] * 5, "strides": [1, 2, 2, 2, 2], "filters": [4, 8, 16, 16, 16]}
SMALL = {
    "dynunet": (DynUNet, TOPOLOGY),
    "unet": (UNet, {"filters": (4, 8, 8, 8, 8)}),
    "swinunetr": (SwinUNETR, {"feature_size": 12}),
    "unetr": (UNETR, {"feature_size": 4, "hidden_size": 24, "mlp_dim": 32, "heads": 2}),
}


def make(name, **changes):
    torch.manual_seed(0)
    build, own = SMALL[name]
    return build(**({"num_classes": 2, "image_size": 64} | own | changes))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (4, 15)])
@torch.no_grad()
def test_evaluation_returns_one_tensor(name, channels, classes):
    network = make(name, num_classes=classes, in_channels=channels).eval()
    assert network(torch.rand(2, channels, 64, 64)).shape == (2, classes + 1, 64, 64)
    volume = network(torch.rand(1, channels, 64, 64, 3))
    assert volume.shape == (1, classes + 1, 64, 64, 3)
    assert volume.dtype == torch.float32
    assert network.description["network"] == network.name == name


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_slices_of_a_volume_are_segmented_one_by_one(name):
    network, volume = make(name).eval(), torch.rand(1, 1, 64, 64, 3)
    torch.testing.assert_close(network(volume)[..., 2], network(volume[..., 2]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_every_trained_parameter_gets_a_gradient(name):
    network, label = make(name, in_channels=2), torch.randint(0, 3, (2, 1, 64, 64)).float()
    loss = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    loss(network(torch.rand(2, 2, 64, 64)), label).backward()
    idle = [
        n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert idle == []


@pytest.mark.parametrize("name", SMALL)
def test_trains_in_bfloat16_with_float32_logits(name):
    with torch.autocast("cpu", torch.bfloat16):
        outputs = make(name)(torch.rand(1, 1, 64, 64))
    assert {logits.dtype for logits in outputs} == {torch.float32}
    sum(logits.square().mean() for logits in outputs).backward()


@pytest.mark.parametrize("name", ["unet", "swinunetr", "unetr"])
def test_without_deep_supervision_training_has_one_output(name):
    assert [tuple(logits.shape) for logits in make(name)(torch.rand(2, 1, 64, 64))] == [(2, 3, 64, 64)]


def test_dynunet_supervises_every_decoder_stage_but_the_coarsest_at_its_own_size():
    outputs = make("dynunet")(torch.rand(2, 1, 64, 64))
    assert [logits.shape[-1] for logits in outputs] == [64, 32, 16]  # of 64, 32, 16, 8; the bottleneck has 4
    volume = make("dynunet")(torch.rand(1, 1, 64, 64, 2))
    assert [tuple(logits.shape) for logits in volume] == [(1, 3, side, side, 2) for side in (64, 32, 16)]
    assert len(make("dynunet", deep_supervision=False)(torch.rand(1, 1, 64, 64))) == 1
    three = {"kernels": [3] * 3, "strides": [1, 2, 2], "filters": [4, 8, 8]}
    assert len(make("dynunet", **three)(torch.rand(1, 1, 64, 64))) == 1


def test_a_first_stride_makes_dynunets_finest_stage_coarser_and_its_logits_as_fine_as_the_image():
    halved = make("dynunet", strides=[2] * 5)
    outputs = halved(torch.rand(2, 1, 64, 64))
    assert [logits.shape[-1] for logits in outputs] == [
        64,
        16,
        8,
    ]  # the stages have 32, 16, 8, 4; the bottleneck 2
    assert halved.output.weight.shape[2:] == (2, 2)  # each pixel of a cell has weights of its own
    assert halved.eval()(torch.rand(1, 1, 96, 64)).shape == (1, 3, 96, 64)


def test_dynunet_computes_what_monais_own_forward_does():
    torch.manual_seed(0)
    monai = nets.DynUNet(
        2, 1, 3, TOPOLOGY["kernels"], TOPOLOGY["strides"], TOPOLOGY["strides"][1:], TOPOLOGY["filters"],
        deep_supervision=True, deep_supr_num=2,
    )  # fmt: skip
    ours, image = make("dynunet"), torch.rand(2, 1, 64, 64)
    stacked = monai((image - 0.5) / 0.25)  # (B, heads, K+1, H, W), all enlarged
    for index, logits in enumerate(ours(image)):
        same = torch.nn.functional.interpolate(logits, size=(64, 64))
        torch.testing.assert_close(same, stacked[:, index], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(image), monai.eval()((image - 0.5) / 0.25), atol=1e-6, rtol=1e-5)


def test_dynunet_copies_after_a_training_step():
    network = make("dynunet")
    network(torch.rand(1, 1, 64, 64))
    assert copy.deepcopy(network).state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", ["dynunet", "unet", "swinunetr"])
@torch.no_grad()
def test_another_size_than_built_for(name):
    assert make(name).eval()(torch.rand(1, 1, 96, 128)).shape == (1, 3, 96, 128)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("dynunet", (1, 1, 72, 64), "DynUNet: the sides of image must be multiples of 16 .*got 72 x 64"),
        ("dynunet", (1, 1, 16, 16), "at least 32"),
        ("unet", (1, 1, 64, 40), "UNet: .*multiples of 16"),
        ("swinunetr", (1, 1, 48, 64), "SwinUNETR: .*multiples of 32"),
        ("unetr", (1, 1, 96, 96), "UNETR: image must be 64 x 64 pixels.*got 96 x 96"),
        ("unet", (1, 2, 64, 64), "1 channels, got 2"),
        ("unet", (1, 1, 64), "image must be"),
    ],
)
def test_bad_images(name, shape, message):
    with pytest.raises(ValueError, match=message):
        make(name)(torch.rand(shape))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("unet", {"num_classes": 0}, "num_classes must be at least 1"),
        ("unetr", {"in_channels": 0}, "in_channels must be at least 1"),
        ("swinunetr", {"image_size": 48}, "image_size must be multiples of 32 .*64 x 64"),
        ("dynunet", {"filters": [4, 8]}, "the same 3 or more stages"),
        ("dynunet", {"strides": [8, 2, 2, 2, 2]}, "strides at most one larger"),
        ("dynunet", {"kernels": [4, 3, 3, 3, 3]}, "kernels must be odd"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(name, **arguments)


def test_another_topologys_checkpoint_is_refused_with_a_sentence():
    with pytest.raises(
        ValueError, match=r"another network: filters 4 8 16 16 8 \(this network: 4 8 16 16 16\)"
    ):
        make("dynunet").load_state_dict(make("dynunet", filters=[4, 8, 16, 16, 8]).state_dict(), strict=False)


def test_intensities_are_centred():
    image = (
        torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3).expand(1, 1, 64, 3).repeat(1, 1, 1, 64)[..., :64]
    )
    assert make("unet").normalise(image).unique().tolist() == [-2.0, 0.0, 2.0]


def test_meta_tensors_keep_their_meta_data():
    image = MetaTensor(torch.rand(1, 1, 64, 64), affine=torch.eye(4) * 2)
    with torch.no_grad():
        assert torch.equal(make("unet").eval()(image).affine, image.affine)


def test_sam_peft_and_clip_are_not_needed():
    """MONAI imports segment_anything where it is; here nothing is."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('segment_anything', 'peft', 'open_clip')));"
        "from pgsam_monai.networks import dynunet, dynunet_3d, swinunetr, unet, unetr;"
        "import pgsam_monai.training.preparing, pgsam_monai.inference.slices, pgsam_monai.export.network;"
        "print([name for name in sys.modules if name.startswith('pgsam_monai.networks.sam')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("units", [-1, 17, 1 << 70])
def test_residual_units_have_a_range(units):
    with pytest.raises(UserFault, match="UNet: residual_units must be 0 to 16"):
        UNet(num_classes=1, image_size=32, residual_units=units)
