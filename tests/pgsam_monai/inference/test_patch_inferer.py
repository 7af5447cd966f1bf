"""Walking over volumes in patches: the way there and back, seams, memory, meta data."""

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from small_volumes import oblique_affine

from pgsam_monai.inference import patches as patch_inferer
from pgsam_monai.inference.patches import PatchInferer, restore_labels, restore_logits
from pgsam_monai.transforms.resample import resample_volume

SPACING = (0.5, 0.5, 2.0)


def one_hot(windows, classes=3):
    """Logits of windows whose values are about 0, 1, 2, …: 1 for the nearest, 0 for the others."""
    nearest = windows[:, 0].round().clamp(0, classes - 1).long()
    return torch.nn.functional.one_hot(nearest, classes).movedim(-1, 1).float()


def smooth(windows):
    """Three logits that nothing rounds."""
    x = windows[:, :1]
    return torch.cat([x, 1 - x, x * 0 + 0.4], dim=1)


def oblique(volume, spacing=SPACING):
    """(C, H, W, D) -> a batch of one with an affine that is turned and tilted."""
    return MetaTensor(
        volume, affine=torch.from_numpy(oblique_affine(spacing)), meta={"filename_or_obj": "x"}
    )[None]


def stripes(axis, shape=(16, 12, 10), width=4):
    """Classes 0, 1, 2, 1, 0, … along an axis: whole numbers lie between neighbours only."""
    pattern = torch.tensor([0, 1, 2, 1])[torch.arange(shape[axis]) // width % 4].float()
    place = [1, 1, 1]
    place[axis] = -1
    return pattern.reshape(place).expand(shape)[None].clone()


@pytest.mark.parametrize("patch", [(8, 6, 8), (4, 4, 4), (64, 64, 64)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_come_back_exactly(axis, patch):
    """Through 1 mm, where two pixels are one and a slice is two, on an oblique grid."""
    inputs = oblique(stripes(axis))
    labels = PatchInferer(patch, (1.0, 1.0, 1.0))(inputs, one_hot)
    assert labels.dtype == torch.uint8 and labels.shape == inputs.shape
    assert torch.equal(labels.as_tensor().float(), inputs.as_tensor())


def test_a_rod_comes_back_exactly():
    volume = torch.zeros(1, 16, 12, 10)
    volume[0, 4:10, 2:8] = 1
    labels = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(oblique(volume), one_hot)
    assert torch.equal(labels.as_tensor().float()[0], volume)


def test_a_ball_stays_in_its_place():
    axes = [(torch.arange(n) + 0.5) * mm for n, mm in zip((41, 37, 13), (0.7, 0.9, 2.5), strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    ball = ((z - 14.3) ** 2 + (y - 16.1) ** 2 + (x - 15.2) ** 2 < 100).float()[None]
    labels = PatchInferer((16, 16, 16), (1.1, 1.2, 1.3))(oblique(ball, (0.7, 0.9, 2.5)), one_hot)
    back = labels.as_tensor()[0].float()
    assert 2 * (back * ball).sum() / (back.sum() + ball.sum()) > 0.97
    middles = [place.nonzero().float().mean(0) for place in (back, ball)]
    assert (middles[0] - middles[1]).abs().max() < 0.1


@pytest.mark.parametrize("output", ["labels", "logits"])
def test_seams_are_invisible(output):
    """What no window sees otherwise is the same everywhere."""
    inputs = oblique(torch.rand(1, 20, 17, 9))
    constant = torch.tensor([0.25, -3.0, 0.5])[:, None, None, None]
    result = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0), output=output)(
        inputs, lambda windows: constant.expand(len(windows), 3, *windows.shape[2:])
    )
    if output == "labels":
        assert (result == 2).all()
    else:
        torch.testing.assert_close(result.as_tensor(), constant.expand(1, 3, 20, 17, 9))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("size", [(20, 17, 9), (8, 8, 8), (5, 17, 3)])
def test_without_spacing_it_is_monais_sliding_window(size, batch_size):
    inputs = torch.rand(1, 2, *size)
    ours = PatchInferer((8, 8, 8), batch_size=batch_size, output="logits")(inputs, smooth)
    monais = SlidingWindowInferer((8, 8, 8), batch_size, overlap=0.5, mode="gaussian")(inputs, smooth)
    assert torch.equal(ours, monais) and type(ours) is torch.Tensor
    labels = PatchInferer((8, 8, 8), batch_size=batch_size)(inputs, smooth)
    assert torch.equal(labels[:, 0].long(), ours.argmax(1))


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (0.3, 0.9, 1.7)])
def test_labels_are_the_argmax_of_the_logits(spacing):
    inputs = oblique(torch.rand(1, 14, 12, 9))
    logits = PatchInferer((8, 8, 8), spacing, output="logits")(inputs, smooth)
    labels = PatchInferer((8, 8, 8), spacing)(inputs, smooth)
    assert logits.shape == (1, 3, 14, 12, 9) and logits.dtype == torch.float32
    assert torch.equal(labels.as_tensor()[:, 0].long(), logits.as_tensor().argmax(1))


def test_the_network_sees_the_resampled_volume_in_float32_patches():
    seen = []

    def network(windows):
        seen.append(windows.clone())
        return smooth(windows)

    volume = torch.rand(2, 16, 12, 4).half()
    PatchInferer((8, 6, 8), (1.0, 1.0, 1.0), batch_size=4)(oblique(volume), network)
    assert torch.equal(seen[0][0], resample_volume(volume, (8, 6, 8))) and len(seen) == 1
    PatchInferer((4, 6, 8), (1.0, 1.0, 1.0), batch_size=2)(oblique(volume), network)
    assert [tuple(windows.shape) for windows in seen[1:]] == [(2, 2, 4, 6, 8), (1, 2, 4, 6, 8)]
    assert all(windows.dtype == torch.float32 for windows in seen)


def test_batches_of_two_and_their_own_spacings():
    first, second = stripes(0), stripes(1)
    alone = [oblique(first), oblique(second, (1.0, 1.0, 2.0))]
    together = torch.cat(alone)
    together.affine = torch.stack([one.affine.reshape(4, 4) for one in alone])
    seen = []
    for inputs in (alone[0], alone[1], together):
        sizes = []
        labels = PatchInferer((64, 64, 64), (1.0, 1.0, 1.0), output="logits")(
            inputs, lambda windows, sizes=sizes: sizes.append(int((windows > 0).sum())) or smooth(windows)
        )
        seen.append((labels.as_tensor(), sizes))
    assert torch.equal(seen[2][0], torch.cat([seen[0][0], seen[1][0]]))
    assert seen[2][1] == seen[0][1] + seen[1][1] and seen[1][1][0] > 3 * seen[0][1][0]
    same = torch.cat([alone[0], alone[0]])  # one affine for both
    labels = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(same, one_hot)
    assert torch.equal(labels.as_tensor().float(), same.as_tensor())


def test_meta_data_comes_along():
    inputs = oblique(stripes(2))
    labels = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(inputs, one_hot)
    assert isinstance(labels, MetaTensor) and labels.meta["filename_or_obj"] == inputs.meta["filename_or_obj"]
    assert torch.equal(labels.affine, inputs.affine)


def test_collated_batches_of_cases():
    from monai.data import list_data_collate

    cases = [{"image": oblique(stripes(axis))[0]} for axis in (0, 1)]
    batch = list_data_collate(cases)["image"]
    labels = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(batch, one_hot)
    assert torch.equal(labels.as_tensor().float(), batch.as_tensor())


@pytest.mark.parametrize("wrap", [lambda logits: [logits, None], lambda logits: (logits.half(), logits)])
def test_lists_half_precision_extra_arguments_and_no_gradient(wrap):
    inputs, weight = oblique(stripes(0)), torch.ones(1, requires_grad=True)
    labels = PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(
        inputs, lambda windows, shift: wrap(one_hot(windows + shift) * weight), shift=0.0
    )
    assert torch.equal(labels.as_tensor().float(), inputs.as_tensor()) and not labels.requires_grad


def test_the_networks_output_and_the_inputs_are_left_alone():
    inputs = torch.rand(1, 1, 8, 8, 8)
    before = inputs.clone()
    result = PatchInferer((8, 8, 8), output="logits")(inputs, lambda windows: windows)
    torch.testing.assert_close(result, before)
    assert torch.equal(inputs, before)


def test_precision_reaches_the_network():
    seen = []

    def network(windows):
        seen.append((windows.flatten(1) @ torch.ones(512, 3)).dtype)
        return smooth(windows)

    for precision in ("fp32", "bf16"):
        PatchInferer((8, 8, 8), precision=precision)(torch.rand(1, 1, 8, 8, 8), network)
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("classes", [3, 40])
def test_restoring_holds_one_class_at_a_time(classes, monkeypatch):
    """Whatever their number, and nothing is made that is larger than one class on the volume's grid."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        voxels = 0

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            made = function(*arguments, **(keywords or {}))
            own = isinstance(made, torch.Tensor) and made._base is None and "view" not in str(function)
            Largest.voxels = max(Largest.voxels, made.numel() if own else 0)
            return made

    restored = []
    resample = patch_inferer.resample_volume
    monkeypatch.setattr(
        patch_inferer,
        "resample_volume",
        lambda part, size: restored.append(len(part)) or resample(part, size),
    )
    logits = torch.randn(classes, 6, 5, 4)
    with Largest():
        labels = restore_labels(logits, (12, 10, 3))
    assert restored == [1] * classes and Largest.voxels <= 12 * 10 * 4
    assert torch.equal(labels.long()[0], restore_logits(logits, (12, 10, 3)).argmax(0))


def test_restoring_to_more_voxels_computes_those_between_classes():
    logits = torch.randn(3, 6, 5, 4)
    labels = restore_labels(logits, (12, 10, 8))
    assert torch.equal(labels.long()[0], restore_logits(logits, (12, 10, 8)).argmax(0))


def test_many_classes_ties_and_equal_size():
    logits = torch.randn(300, 2, 3, 2)
    untouched = logits.clone()
    labels = restore_labels(logits, (2, 3, 2))
    assert labels.dtype == torch.int16 and torch.equal(labels.long()[0], logits.argmax(0))
    assert torch.equal(logits, untouched)
    assert restore_labels(torch.zeros(4, 2, 2, 2), (3, 3, 3)).max() == 0


def test_a_plain_tensor_has_no_spacing():
    with pytest.raises(ValueError, match="needs the volume's own spacing, got a tensor without affine"):
        PatchInferer((8, 8, 8), (1.0, 1.0, 1.0))(torch.zeros(1, 1, 8, 8, 8), one_hot)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": (8, 8)}, "patch must be voxels"),
        ({"patch": (8, 8, 0)}, "at least 1 each"),
        ({"overlap": 1.0}, "overlap must be"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"output": "classes"}, "output must be one of"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        PatchInferer(**{"patch": (8, 8, 8), **options})


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"got shape \(1, 8, 8, 8\)"):
        PatchInferer((8, 8, 8))(torch.zeros(1, 8, 8, 8), one_hot)
    with pytest.raises(ValueError, match=r"got \(4, 4, 4\); give the inferer the network's patch"):
        PatchInferer((8, 8, 8))(torch.zeros(1, 1, 8, 8, 8), lambda windows: windows[..., ::2, ::2, ::2])
