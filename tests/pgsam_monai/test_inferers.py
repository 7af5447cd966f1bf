"""Walking over volumes: shapes, values, batches, meta data, memory."""

import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.inferers import SliceInferer, unfit_labels
from pgsam_monai.transforms.fit import slice_frame, unfit_logits


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "classes"}, "output must be"),
        ({"batch_size": 0}, "at least 1"),
        ({"fit": "crop"}, "fit must be"),
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
