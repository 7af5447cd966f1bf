"""A training step lets no GPU wait for the host, but where a network asks for one structure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from registry import NETWORKS

from benchmarks.gpu import networks
from benchmarks.gpu.networks import SMALL, make_batch, make_learning, make_network, make_step
from benchmarks.gpu.syncs import cuda_syncs, host_reads
from pgsam_monai.networks.hsam.class_noise import count_classes
from pgsam_monai.training.handlers import GradientClip

ASKING = ("medsa", "refsam3d")
"""What their simulated users say depends on what is in a slice, and is drawn by the host."""
STEADY = tuple(name for name in networks.NETWORKS if name not in ASKING)


def test_every_network_is_there():
    assert set(networks.NETWORKS) == set(NETWORKS)


@pytest.mark.parametrize("name", STEADY)
def test_forward_loss_and_backward_read_nothing(name):
    """Counted as dispatched, on any device; what copies a GPU waits for is counted where there is one."""
    network = make_network(name, SMALL)
    learn = make_learning(network, *make_batch(name, SMALL, torch.device("cpu")))
    learn()  # texts are encoded once
    assert not host_reads(learn)


@pytest.mark.parametrize("name", ASKING)
def test_what_asks_is_known_to_read(name):
    network = make_network(name, SMALL)
    learn = make_learning(network, *make_batch(name, SMALL, torch.device("cpu")))
    assert sum(sum(host_reads(learn).values()) for _ in range(6)) > 0


def test_clipped_gradients_read_nothing():
    network = torch.nn.Linear(3, 2)
    network(torch.ones(1, 3)).sum().backward()
    clip = GradientClip(network, torch.optim.SGD(network.parameters(), lr=1.0), max_norm=1.0)
    assert not host_reads(lambda: clip(SimpleNamespace(scaler=None)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum().item(), lambda x: float(x[0]), lambda x: bool((x > 0).any()), lambda x: x[x > 0],
        lambda x: x.nonzero(), lambda x: x.masked_select(x > 0), lambda x: x.long().bincount(),
    ],
)  # fmt: skip
def test_each_way_to_wait_is_counted(call):
    assert host_reads(lambda: call(torch.arange(3.0)))


def test_what_needs_no_answer_is_not():
    x = torch.arange(6.0)
    assert not host_reads(lambda: torch.where(x > 2, x, 0).sum() + x[torch.tensor([1, 2])].sum())


def test_classes_are_counted_as_bincount_does():
    label = torch.randint(0, 5, (2, 1, 7, 9)).float()
    assert count_classes(label, 6).tolist() == label.flatten().long().bincount(minlength=6).tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("name", STEADY)
def test_a_whole_step_lets_no_gpu_wait(name):
    device = torch.device("cuda")
    step = make_step(make_network(name, SMALL).to(device), *make_batch(name, SMALL, device))
    step()
    assert cuda_syncs(step) == 0
