"""Every backbone serves Med-SA: both modes, stacks, a training step that reaches every adapter."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.prompts.points import Prompts

BACKBONES = ("vit_tiny", "vit_small", "lite_medsam", "mobile_sam", "efficient_sam_ti")
LABEL = torch.zeros(2, 1, 64, 64)
LABEL[:, :, 8:30, 10:40], LABEL[:, :, 40:60, 30:60] = 1, 2


def make(backbone, **changes):
    torch.manual_seed(0)
    arguments = {"num_classes": 2, "image_size": 64, "backbone": backbone, "rank": 16}
    return MedSA(**(arguments | changes))


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_both_modes_and_stacks(small_backbone, backbone):
    network = make(backbone, stack_depth=2, depth_fusion="gated").eval()
    volume = torch.rand(1, 1, 64, 48, 2)  # windows that don't divide the grid
    assert network(volume).shape == (1, 3, 64, 48, 2)
    asked = Prompts(torch.tensor([20.0, 30.0]).expand(2, 2, 1, 2), torch.ones(2, 2, 1, dtype=torch.long))
    assert network(volume, prompts=asked).shape == (1, 3, 64, 48, 2)


@pytest.mark.parametrize("training", ["adapters", "full"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_two_steps_reach_every_adapter(small_backbone, backbone, training):
    network = make(backbone, encoder_training=training).train()
    optimizer = torch.optim.SGD([value for value in network.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(2):  # up-projections start at zero
        optimizer.zero_grad()
        outputs = network(torch.rand(2, 1, 64, 64), label=LABEL)
        sum(torch.nn.functional.cross_entropy(each, LABEL[:, 0].long()) for each in outputs).backward()
        optimizer.step()
    adapters = [
        (name, value.grad)
        for name, value in network.named_parameters()
        if any(part in name for part in ("after_attention", "beside_mlp", "prompted", "on_image"))
    ]
    assert len(adapters) > 20
    assert [name for name, gradient in adapters if gradient is None or gradient.abs().max() == 0] == []
