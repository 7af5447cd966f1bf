"""HyP-Adpt against Eq. 1 and 2, and Table 5's other adapters."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.adaptation.adapter import Adapter
from pgsam_monai.networks.medsa.hyper_prompt import HYPER_PROMPTS, HyperPromptAdapter, build_prompt_adapter

DIM, RANK, PROMPT, MIDDLE = 6, 4, 5, 3


def make(kind):
    adapter = build_prompt_adapter(kind, DIM, rank=RANK, prompt_dim=PROMPT)
    for value in adapter.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return adapter


def relu_norm(rows):
    mean = rows.mean(dim=-1, keepdim=True)
    deviation = ((rows - mean) ** 2).mean(dim=-1, keepdim=True).add(1e-5).sqrt()
    return ((rows - mean) / deviation).clamp(min=0)


@torch.no_grad()
def test_it_equals_a_transcription_of_the_equations():
    adapter = HyperPromptAdapter(DIM, rank=RANK, prompt_dim=PROMPT, middle=MIDDLE)
    torch.nn.init.normal_(adapter.up.weight)
    embedding, prompt = torch.randn(2, 7, DIM), torch.randn(2, PROMPT)
    expected = []
    for image in range(2):
        reduced = embedding[image] @ adapter.down.weight.T + adapter.down.bias
        for layer, (rows, columns) in zip(adapter.generators, ((4, 3), (3, 3), (3, 4)), strict=True):
            weight = (layer.weight @ prompt[image] + layer.bias).reshape(rows, columns)  # Eq. 1
            reduced = relu_norm(reduced @ weight)  # Eq. 2
        expected.append(reduced @ adapter.up.weight.T + adapter.up.bias)
    torch.testing.assert_close(adapter(embedding, prompt), torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in HYPER_PROMPTS if kind != "none"])
@torch.no_grad()
def test_another_prompt_changes_what_the_adapter_itself_gives_of_the_same_embedding(kind):
    adapter, embedding = make(kind), torch.randn(2, 7, DIM)
    prompt = torch.randn(2, PROMPT)
    other = prompt.clone()
    other[1] += 1
    difference = (adapter(embedding, other) - adapter(embedding, prompt)).abs().amax(dim=(1, 2))
    assert difference[0] == 0 and difference[1] > 1e-2


@torch.no_grad()
def test_without_a_prompt_condition_it_is_a_plain_adapter():
    adapter, embedding = make("none"), torch.randn(2, 7, DIM)
    assert torch.equal(adapter(embedding, torch.randn(2, PROMPT)), Adapter.forward(adapter, embedding))


@pytest.mark.parametrize("kind", HYPER_PROMPTS)
def test_every_parameter_gets_a_gradient(kind):
    adapter = make(kind)
    adapter(torch.randn(3, 5, DIM), torch.randn(3, PROMPT)).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in adapter.parameters())


@pytest.mark.parametrize("kind", HYPER_PROMPTS)
@torch.no_grad()
def test_new_adapters_change_nothing(kind):
    adapter = build_prompt_adapter(kind, DIM, rank=RANK, prompt_dim=PROMPT)
    assert (adapter(torch.randn(2, 3, DIM), torch.randn(2, PROMPT)) == 0).all()


def test_unknown_kinds_and_ranks_are_refused():
    with pytest.raises(ValueError, match="hyper_prompt must be one of hyper, .*got 'film'"):
        build_prompt_adapter("film", DIM, rank=RANK, prompt_dim=PROMPT)
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        Adapter(DIM, rank=0)
