"""What decays and what doesn't."""

from __future__ import annotations

import torch
from torch import nn

from pgsam_monai.training.weight_decay import decayed_groups


class Little(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 2), nn.LayerNorm(2)
        self.temperature = nn.Parameter(torch.tensor(10.0))
        self.channel_scale = nn.Parameter(torch.ones(2, 1, 1))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def test_matrices_decay_and_numbers_norms_and_biases_do_not():
    network = Little()
    decayed, kept = decayed_groups(network, 0.1)
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0.0
    assert [p.shape for p in decayed["params"]] == [(2, 3)]
    assert {id(p) for p in kept["params"]} == {
        id(p) for p in (network.linear.bias, network.norm.weight, network.norm.bias, network.temperature,
                        network.channel_scale)
    }  # fmt: skip


def test_without_a_gradient_a_temperature_stays_and_a_matrix_shrinks():
    network = Little()
    optimizer = torch.optim.AdamW(decayed_groups(network, 0.5), lr=0.1)
    before = network.linear.weight.detach().clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float(network.temperature.detach()) == 10.0
    assert torch.allclose(network.linear.weight, before * 0.95)
