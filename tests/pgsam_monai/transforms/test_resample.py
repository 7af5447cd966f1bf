"""Resampling of volumes: where voxels go, what is antialiased, and how much memory lies between the passes."""

import pytest
import torch
from monai.data.utils import affine_to_spacing
from small_volumes import oblique_affine
from torch.utils._python_dispatch import TorchDispatchMode

from pgsam_monai.transforms.resample import resample_labels, resample_stretch, resample_volume
from pgsam_monai.voxels.grid import grid_size
from pgsam_monai.voxels.resampling import Stretch, reach


class LargestTensor(TorchDispatchMode):
    """Counts the voxels of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.voxels = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        if isinstance(made, torch.Tensor):
            self.voxels = max(self.voxels, made.numel())
        return made


def test_grid_sizes():
    assert grid_size((9, 7, 5), (0.7, 0.9, 2.5), (1.0, 1.0, 1.0)) == (6, 6, 12)  # 6.3, 6.3, 12.5
    assert grid_size((9, 7, 5), (0.7, 0.9, 2.5), None) == (9, 7, 5)
    assert grid_size((1, 512, 2), (0.4, 0.5, 1.0), (1.0, 1.0, 8.0)) == (1, 256, 1)
    spacing = affine_to_spacing(oblique_affine((0.5, 0.5, 2.0), axes=(1, 2, 0))).tolist()
    assert grid_size((8, 6, 5), spacing, (1, 1, 1)) == (4, 3, 10)
    for own, target in (((0.0, 1, 1), (1, 1, 1)), ((1, 1, 1), (1, -1, 1))):
        with pytest.raises(ValueError, match="spacings must be positive"):
            grid_size((4, 4, 4), own, target)


def test_hand_sized_answers():
    """Halving weighs four voxels by their distance, 1 : 3 : 3 : 1; doubling lies a quarter of a voxel off centres."""
    row = torch.tensor([0.0, 0, 8, 8, 0, 0])
    halved = torch.tensor([8 / 7, 6.0, 8 / 7])  # at the ends the voxel that is missing is left out
    doubled = torch.tensor([0.0, 0, 0, 2, 6, 8, 8, 6, 2, 0, 0, 0])
    for axis in (1, 2, 3):
        shape, size = [1, 1, 1, 1], [1, 1, 1]
        shape[axis], size[axis - 1] = 6, 3
        torch.testing.assert_close(resample_volume(row.reshape(shape), tuple(size)).flatten(), halved)
        size[axis - 1] = 12
        torch.testing.assert_close(resample_volume(row.reshape(shape), tuple(size)).flatten(), doubled)


def test_equal_size_is_untouched():
    volume = torch.rand(2, 4, 5, 6)
    assert torch.equal(resample_volume(volume, (4, 5, 6)), volume)
    half = resample_volume(volume.half(), (4, 5, 6))
    assert half.dtype == torch.float32 and torch.equal(half, volume.half().float())


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [((10, 40, 30), 1e-3), ((20, 10, 90), 1e-3), ((33, 12, 9), 0.2), ((7, 30, 24), 0.2)],
)
def test_linear_ramps_stay_linear(size, tolerance):
    """At the place of each new voxel's centre, away from the edges where nothing lies beyond; exactly so where an axis
    grows or shrinks to a whole share, else to a thirtieth of a voxel (torch's antialiasing does not hold closer)."""
    shape = (20, 30, 24)
    axes = [torch.arange(n) + 0.5 for n in shape]
    ramp = axes[0][:, None, None] + 2 * axes[1][:, None] - 3 * axes[2]
    expected = [(torch.arange(n) + 0.5) * old / n for n, old in zip(size, shape, strict=True)]
    expected = expected[0][:, None, None] + 2 * expected[1][:, None] - 3 * expected[2]
    result = resample_volume(ramp[None], size)[0]
    inner = tuple(
        slice(2 * max(1, -(-n // old)), -2 * max(1, -(-n // old))) for n, old in zip(size, shape, strict=True)
    )
    torch.testing.assert_close(result[inner], expected[inner], atol=tolerance, rtol=0)


def test_shrinking_averages_and_growing_returns():
    checks = (torch.arange(64) % 2).float()
    for axis in range(3):
        shape, size = [1, 1, 1], [1, 1, 1]
        shape[axis], size[axis] = 64, 16
        volume = checks.reshape(1, *shape)
        assert (resample_volume(volume, tuple(size)) - 0.5).abs().max() < 0.1
    place = torch.stack(torch.meshgrid(*(torch.linspace(0, 3, n) for n in (20, 22, 18)), indexing="ij"))
    smooth = place.sin().prod(0, keepdim=True)
    back = resample_volume(resample_volume(smooth, (15, 40, 42)), (20, 22, 18))
    assert (back - smooth).abs().max() < 0.05


def test_channels_are_apart():
    volume = torch.rand(3, 6, 5, 4)
    together = resample_volume(volume, (4, 9, 7))
    assert torch.equal(together, torch.cat([resample_volume(volume[c : c + 1], (4, 9, 7)) for c in range(3)]))


@pytest.mark.parametrize("size", [(3, 4, 7), (3, 1, 4), (1, 3, 1), (1, 1, 1), (9, 1, 2)])
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 1), (6, 1, 1)])
def test_axes_are_apart(shape, size):
    """Each axis has its own weights, whatever the lengths of the others; one is a length like any."""

    def weights(source, count):
        """(source, count): what each voxel gives to each new one, along the slices."""
        return resample_volume(torch.eye(source)[:, None, None], (1, 1, count))[:, 0, 0]

    volume = torch.rand(2, *shape)
    expected = torch.einsum("cijk,ih,jw,kd->chwd", volume, *map(weights, shape, size))
    torch.testing.assert_close(resample_volume(volume, size), expected)


@pytest.mark.parametrize(("shape", "size"), [((8, 8, 40), (32, 32, 10)), ((32, 32, 10), (8, 8, 40))])
def test_nothing_between_is_larger_than_both_ends(shape, size):
    volume = torch.rand(1, *shape)
    with LargestTensor() as largest:
        resample_volume(volume, size)
    assert largest.voxels <= max(volume.numel(), torch.Size(size).numel())


def test_labels_are_those_under_the_new_centres():
    row = torch.arange(6, dtype=torch.int16)
    for axis in (1, 2, 3):
        shape, size = [1, 1, 1, 1], [1, 1, 1]
        shape[axis], size[axis - 1] = 6, 2
        shrunk = resample_labels(row.reshape(shape), tuple(size))
        assert shrunk.flatten().tolist() == [1, 4] and shrunk.dtype == torch.int16
        size[axis - 1] = 9
        grown = resample_labels(row.to(torch.uint8).reshape(shape), tuple(size))
        assert grown.flatten().tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5] and grown.dtype == torch.uint8
    labels = torch.randint(0, 400, (1, 5, 4, 3), dtype=torch.int16)
    assert resample_labels(labels, (5, 4, 3)) is labels


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"got shape \(4, 4, 4\)"):
        resample_volume(torch.zeros(4, 4, 4), (2, 2, 2))
    with pytest.raises(ValueError, match=r"size \(2, 0, 2\)"):
        resample_volume(torch.zeros(1, 4, 4, 4), (2, 0, 2))


@pytest.mark.parametrize("target", [3, 5, 11])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stretch_is_a_part_of_the_resampled_volume(axis, target):
    volume = torch.rand(2, 5, 6, 7)
    source = volume.shape[axis + 1]
    size = tuple(target if each == axis else side for each, side in enumerate(volume.shape[1:]))
    whole, (firsts, lasts) = resample_volume(volume, size), reach(source, target)
    for start in range(target - 1):
        first, last = int(firsts[start]), int(lasts[start + 1])
        stretch = Stretch(axis=axis, source=source, target=target, first=first, start=start, stop=start + 2)
        found = resample_stretch(volume.narrow(axis + 1, first, last + 1 - first), stretch)
        torch.testing.assert_close(found, whole.narrow(axis + 1, start, 2))
