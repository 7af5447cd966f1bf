"""Walking over volumes: shapes, values, batches, meta data, memory."""

import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.transforms.fit import unfit_labels, unfit_logits
from pgsam_monai.voxels.frame import slice_frame


def three_classes(image):
    """Logits (B, 3, S, S) of a slice of values about 0, 1 and 2."""
    x = image[:, :1]
    return torch.cat([-(x**2), -((x - 1) ** 2), -((x - 2) ** 2)], dim=1)


def volume(B=1, C=1, H=6, W=4, D=5):
    return torch.randint(0, 3, (B, C, H, W, D), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_labels_on_the_volumes_grid(batch_size, dtype):
    inputs = volume(B=2)
    labels = SliceInferer(6, batch_size=batch_size)(inputs.to(dtype), three_classes)
    assert labels.dtype == torch.uint8 and labels.shape == (2, 1, 6, 4, 5)
    assert torch.equal(labels.float(), inputs)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_labels_are_the_argmax_of_the_logits(fit):
    inputs = torch.rand(1, 3, 30, 47, 3) * 2
    logits = SliceInferer(32, fit=fit, output="logits")(inputs, three_classes)
    labels = SliceInferer(32, fit=fit)(inputs, three_classes)
    assert logits.shape == (1, 3, 30, 47, 3) and logits.dtype == torch.float32
    assert torch.equal(labels[:, 0].long(), logits.argmax(dim=1))


def test_unfit_labels_ties_and_many_classes():
    frame = slice_frame(2, 2, 2)
    assert unfit_labels(torch.zeros(1, 4, 2, 2), frame).max() == 0
    logits = torch.randn(2, 300, 2, 2)
    untouched = logits.clone()
    labels = unfit_labels(logits, frame)
    assert torch.equal(logits, untouched)
    assert labels.dtype == torch.int16
    assert torch.equal(labels[:, 0].long(), unfit_logits(logits, frame).argmax(1))


def test_single_slices_and_pictures():
    assert SliceInferer(8)(volume(D=1), three_classes).shape == (1, 1, 6, 4, 1)
    picture = volume(B=2, D=1)[..., 0]
    assert torch.equal(SliceInferer(6)(picture, three_classes).float(), picture)


def test_network_sees_float32_squares_in_batches():
    seen = []

    def network(image):
        seen.append((tuple(image.shape), image.dtype))
        return three_classes(image)

    SliceInferer(8, batch_size=4)(volume(B=2, C=3).half(), network)
    assert seen == [((4, 3, 8, 8), torch.float32)] * 2 + [((2, 3, 8, 8), torch.float32)]


def test_meta_data_comes_along():
    inputs = MetaTensor(
        volume()[0], affine=torch.diag(torch.tensor([2.0, 2, 5, 1])), meta={"filename_or_obj": "x"}
    )
    batch = torch.stack([inputs])
    labels = SliceInferer(6)(batch, three_classes)
    assert isinstance(labels, MetaTensor) and labels.meta["filename_or_obj"] == batch.meta["filename_or_obj"]
    assert torch.equal(labels.affine, batch.affine)


def test_half_precision_logits_deep_supervision_and_no_gradient():
    weight = torch.ones(1, requires_grad=True)
    labels = SliceInferer(6)(volume(), lambda image: [three_classes(image * weight).half(), None])
    assert torch.equal(labels.float(), volume()) and not labels.requires_grad


def test_extra_arguments_reach_the_network():
    labels = SliceInferer(6)(volume(), lambda image, shift: three_classes(image - shift), shift=5.0)
    assert labels.max() == 0


def numbered(depth, B=1):
    """A volume (B, 1, 2, 2, depth) whose slice d of item b is d + 10 b everywhere."""
    values = torch.arange(depth)[None] + 10 * torch.arange(B)[:, None]
    return values[:, None, None, None].expand(B, 1, 2, 2, depth).float()


def sum_of_stack(image):
    """Logits (n, 100, S, S, d) whose class is, for all slices of a stack, the sum of the values it holds."""
    total = image.sum(dim=-1, keepdim=True).expand_as(image)
    return -((torch.arange(100.0)[:, None, None, None] - total) ** 2)


@pytest.mark.parametrize(
    ("depth", "options", "sums"),
    [
        (6, {"stack_depth": 3}, [3, 3, 3, 12, 12, 12]),
        (
            7,
            {"stack_depth": 3},
            [3, 3, 3, 12, 12, 15, 15],
        ),  # the last stack is 4, 5, 6; slice 4 lies amid 3, 4, 5
        (5, {"stack_depth": 4}, [6, 6, 6, 10, 10]),  # 0 to 3 and 1 to 4
        (7, {"stack_depth": 3, "stack_overlap": 2}, [3, 3, 6, 9, 12, 15, 15]),
        (7, {"stack_depth": 4, "stack_overlap": 2}, [6, 6, 6, 14, 14, 18, 18]),  # 0-3, 2-5, 3-6
        (3, {"stack_depth": 3}, [3, 3, 3]),
        (3, {"stack_depth": 4}, [3, 3, 3]),  # 0, 0, 1, 2
        (3, {"stack_depth": 5, "stack_overlap": 1}, [5, 5, 5]),  # 0, 0, 1, 2, 2
        (1, {"stack_depth": 4}, [0]),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 6, 64])
def test_stacks_hold_neighbours_and_each_slice_counts_once(depth, options, sums, batch_size):
    labels = SliceInferer(2, batch_size=batch_size, **options)(numbered(depth), sum_of_stack)
    assert labels.shape == (1, 1, 2, 2, depth)
    assert labels[0, 0, 0, 0].tolist() == sums and (labels == labels[:, :, :1, :1]).all()


def test_stacks_never_join_two_volumes_and_keep_their_slices_in_order():
    labels = SliceInferer(2, stack_depth=3)(numbered(4, B=2), sum_of_stack)
    assert labels[:, 0, 0, 0].tolist() == [[3, 3, 6, 6], [33, 33, 36, 36]]
    inputs = volume(B=2)
    each_alone = SliceInferer(6, stack_depth=3)(
        inputs, lambda stack: torch.cat([-((stack - c) ** 2) for c in range(3)], 1)
    )
    assert torch.equal(each_alone.float(), inputs)


def test_batches_count_the_slices_of_stacks():
    seen = []

    def network(image):
        seen.append(tuple(image.shape))
        return sum_of_stack(image[:, :1])

    SliceInferer(8, batch_size=7, stack_depth=3)(volume(B=2, C=2, D=7), network)
    assert seen == [(2, 2, 8, 8, 3)] * 3


def test_stacks_give_logits_and_take_single_slices():
    logits = SliceInferer(2, output="logits", stack_depth=2)(numbered(3), sum_of_stack)
    assert logits.shape == (1, 100, 2, 2, 3) and logits.argmax(1)[0, 0, 0].tolist() == [1, 1, 3]
    assert SliceInferer(2, stack_depth=2)(numbered(1)[..., 0], sum_of_stack).shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "classes"}, "output must be"),
        ({"batch_size": 0}, "at least 1"),
        ({"fit": "crop"}, "fit must be"),
        ({"stack_depth": 0}, "stack_depth of at least 1"),
        ({"stack_depth": 2, "stack_overlap": 2}, "smaller stack_overlap"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        SliceInferer(8, **options)


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"got shape \(6, 4, 5\)"):
        SliceInferer(8)(torch.zeros(6, 4, 5), three_classes)
    with pytest.raises(ValueError, match="give the inferer and the network the same image_size"):
        SliceInferer(8)(volume(), lambda image: torch.zeros(len(image), 3, 4, 4))
