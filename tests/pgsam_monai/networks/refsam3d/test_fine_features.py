"""The pyramid of the volume's own features: sizes, reach, and that a level is made of the finer one."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.refsam3d.fine_features import FineFeatures


@pytest.mark.parametrize(
    "strides, sizes",
    [
        ([(2, 2, 2)] * 3, [(2, 3, 1), (4, 6, 2), (8, 12, 4)]),
        ([(1, 1, 1), (2, 2, 1), (2, 2, 1)], [(2, 3, 4), (4, 6, 4), (8, 12, 4)]),
        ([(2, 2, 2), (2, 2, 1), (2, 2, 2)], [(2, 3, 2), (4, 6, 2), (8, 12, 4)]),
    ],
    ids=["cubes", "no depth", "some depth"],
)
@torch.no_grad()
def test_levels_are_as_large_as_the_steps_that_they_are_added_to(strides, sizes):
    net = FineFeatures(2, widths=(32, 16, 8), strides=strides)
    found = net(torch.rand(1, 2, 8, 12, 4))
    assert [tuple(level.shape[1:]) for level in found] == [
        (width, *size) for width, size in zip((32, 16, 8), sizes, strict=True)
    ]


@torch.no_grad()
def test_a_voxel_reaches_two_voxels_at_the_finest_level_and_farther_at_coarser_ones():
    torch.manual_seed(0)
    net = FineFeatures(1, widths=(8, 8, 8), strides=[(2, 2, 2)] * 3).double()
    for level in net.levels:
        level[1], level[4] = torch.nn.Identity(), torch.nn.Identity()  # norms look at the whole volume
    image = torch.rand(1, 1, 32, 32, 32, dtype=torch.double)
    changed = image.clone()
    changed[0, 0, 16, 16, 16] += 1
    reach = [
        int(((after - before).abs().amax(dim=(0, 1, 3, 4)) > 1e-12).sum()) * stride
        for before, after, stride in zip(net(image), net(changed), (4, 2, 1), strict=True)
    ]
    assert reach[2] == 5, "two 3 x 3 x 3 convolutions"
    assert reach[0] > reach[1] > reach[2]
