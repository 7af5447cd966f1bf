"""Every trained parameter gets a gradient in every step, but of networks that say otherwise."""

from __future__ import annotations

import json

import pytest
import torch
from registry import NETWORKS

from benchmarks.gpu.networks import SMALL, make_batch, make_learning, make_network
from pgsam_monai.training.ranks import data_parallel
from preprocess.networks.declared import FOLDER


def switches(name):
    """Of the network's ablations, those that turn a part off or make it another."""
    rows = [json.loads(file.read_text()) for file in sorted((FOLDER / name / "ablations").glob("*.json"))]
    return [{key.split("#")[1]: value for key, value in row.items() if key.count("#") == 1} for row in rows]


VARIANTS = [
    *((name, {}) for name in NETWORKS),
    ("pgsam", {"encoder_training": "lora", "clip_training": "lora", "clip_towers": "text"}),
    *((name, switches(name)[row]) for name, row in (("pgsam", 0), ("hsam", 0), ("refsam3d", 1))),
]


def without_gradient(network, name):
    """Trained parameters that a step on noise, or one on slices that hold no structure, leaves as they are."""
    image, label = make_batch(name, SMALL, torch.device("cpu"))
    found = set()
    for labels in (label, torch.zeros_like(label)):
        network.zero_grad(set_to_none=True)
        make_learning(network, image, labels)()
        found |= {key for key, p in network.named_parameters() if p.requires_grad and p.grad is None}
    return found


@pytest.mark.parametrize(
    ("name", "changed"),
    VARIANTS,
    ids=[f"{name}-{'-'.join(map(str, row.values()))}" for name, row in VARIANTS],
)
def test_a_network_declares_whether_a_step_leaves_parameters_out(name, changed):
    network = make_network(name, SMALL, **changed)
    assert bool(found := without_gradient(network, name)) == network.leaves_unused, found


@pytest.mark.parametrize("name", ["samed", "medsa"])
def test_processes_look_for_them_only_where_there_are_any(name, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "pgsam_monai.training.ranks.DistributedDataParallel", lambda network, **options: given.update(options)
    )
    data_parallel(make_network(name, SMALL), torch.device("cpu"))
    assert given["find_unused_parameters"] == (name == "medsa") and given["gradient_as_bucket_view"]
