"""Eq. VI to VIII against their direct transcription, and what each input has a say in."""

import copy

import numpy as np
import pytest
import torch

from pgsam_monai.networks.refsam3d.cross_attention import HierarchicalCrossAttention, StageCrossAttention

DIM, GRID, WORDS = 8, (3, 2, 2), 5


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    torch.manual_seed(0)


def linear(layer, tokens):
    product = tokens @ layer.weight.numpy().T
    return product if layer.bias is None else product + layer.bias.numpy()


def layer_norm(norm, tokens):
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + norm.eps)
    return centred / spread * norm.weight.numpy() + norm.bias.numpy()


def transcribed(attention, stage, text, present):
    """Eq. VI and VII for one volume, one head and one voxel after the other: (N, C), (L, C) → (N, C)."""
    query, keys, values = (
        linear(layer, tokens)
        for layer, tokens in ((attention.q, stage), (attention.k, text), (attention.v, text))
    )
    width = query.shape[1] // attention.heads
    read = np.zeros_like(query)
    for head in range(attention.heads):
        channels = slice(head * width, (head + 1) * width)
        for voxel in range(len(query)):
            scores = keys[present, channels] @ query[voxel, channels] / np.sqrt(width)
            weights = np.exp(scores) / np.exp(scores).sum()
            read[voxel, channels] = weights @ values[present, channels]
    return layer_norm(attention.norm, stage + linear(attention.out, read))


def inputs(batch=2):
    taps = [torch.randn(batch, DIM, *GRID) for _ in range(4)]
    present = torch.tensor([[True] * WORDS, [True, True, False, False, False]])[:batch]
    return taps, torch.randn(batch, WORDS, DIM), present


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("hide", [True, False])
@torch.no_grad()
def test_a_stage_equals_the_paper(heads, hide):
    attention = StageCrossAttention(DIM, heads)
    torch.nn.init.normal_(attention.norm.weight)
    torch.nn.init.normal_(attention.norm.bias)
    stage, (_, text, present) = torch.randn(2, 7, DIM), inputs()
    output = attention(stage, text, present if hide else None)
    shown = present if hide else torch.ones_like(present)
    for got, *volume in zip(output, stage, text, shown, strict=True):
        wanted = transcribed(attention, *(part.numpy() for part in volume))
        np.testing.assert_allclose(got.numpy(), wanted, atol=2e-6)


def test_one_word_is_read_by_every_voxel_alike():
    attention = StageCrossAttention(DIM, 2)
    stage, text = torch.randn(1, 4, DIM), torch.randn(1, 1, DIM)
    wanted = attention.norm(stage + attention.out(attention.v(text)))
    torch.testing.assert_close(attention(stage, text), wanted)


@pytest.mark.parametrize("stages", [(1, 2, 3, 4), (1, 4), (3,)])
@torch.no_grad()
def test_the_combined_prompt_equals_the_paper(stages):
    taps, text, present = inputs()
    attention = HierarchicalCrossAttention(DIM, 2, stages=stages)
    prompts = attention(taps, text, present)
    outputs = []
    for stage in stages:
        tokens = taps[stage - 1].permute(0, 2, 3, 4, 1).reshape(2, -1, DIM)
        each = attention.attentions[str(stage)](tokens, text, present)
        outputs.append(each)
        wanted = each.reshape(2, *GRID, DIM).permute(0, 4, 1, 2, 3)
        torch.testing.assert_close(prompts.stages[stage - 1], wanted)
    combined = linear(attention.combine, np.concatenate([each.numpy() for each in outputs], axis=-1))
    wanted = torch.from_numpy(combined).reshape(2, *GRID, DIM).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(prompts.dense, wanted, atol=2e-6, rtol=1e-5)
    assert [each is not None for each in prompts.stages] == [index in stages for index in (1, 2, 3, 4)]


@torch.no_grad()
def test_stages_that_take_no_part_have_no_say_and_no_weights():
    taps, text, present = inputs()
    attention = HierarchicalCrossAttention(DIM, 2, stages=(2, 4))
    wanted = attention(taps, text, present).dense
    other = [torch.randn_like(taps[0]), taps[1], torch.randn_like(taps[2]), taps[3]]
    torch.testing.assert_close(attention(other, text, present).dense, wanted, atol=0, rtol=0)
    assert (attention(other[:3] + other[2:3], text, present).dense - wanted).abs().max() > 1e-2
    assert set(attention.attentions) == {"2", "4"} and attention.combine.in_features == 2 * DIM


@torch.no_grad()
def test_their_order_changes_nothing():
    taps, text, present = inputs()
    first = HierarchicalCrossAttention(DIM, 2, stages=(1, 4))
    second = HierarchicalCrossAttention(DIM, 2, stages=(4, 1))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(taps, text, present).dense, first(taps, text, present).dense)


@torch.no_grad()
def test_hidden_words_never_matter_and_others_do():
    taps, text, present = inputs()
    attention = HierarchicalCrossAttention(DIM, 2)
    wanted = attention(taps, text, present)
    noise = 100 * torch.randn_like(text)
    hidden = attention(taps, torch.where(present.unsqueeze(-1), text, noise), present)
    torch.testing.assert_close(hidden.dense, wanted.dense, atol=0, rtol=0)
    short = attention(taps, text[:, :2], present[:, :2])  # all that the second volume's text has
    torch.testing.assert_close(short.dense[1], wanted.dense[1], atol=1e-5, rtol=1e-5)
    other = attention(taps, text.flip(0), present)
    for one, two in zip((other.dense, *other.stages), (wanted.dense, *wanted.stages), strict=True):
        assert (one - two).flatten(1).abs().amax(dim=1).min() > 1e-2


def test_everything_learns_and_hidden_words_get_no_gradient():
    taps, text, present = inputs()
    leaves = [each.requires_grad_() for each in (*taps, text)]
    attention = HierarchicalCrossAttention(DIM, 2)
    prompts = attention(leaves[:4], text, present)
    sum(
        each.square().mul(torch.randn_like(each)).sum() for each in (prompts.dense, *prompts.stages)
    ).backward()
    assert all(each.grad.abs().sum() > 0 for each in leaves)
    assert text.grad[~present].abs().max() == 0
    learnt = {name: value.grad.abs().max() for name, value in attention.named_parameters()}
    assert min(learnt.values()) > 1e-6, learnt


def test_bfloat16_gives_the_same_answer_and_gradients():
    taps, text, present = inputs()
    attention = HierarchicalCrossAttention(DIM, 2)
    wanted = attention(taps, text, present).dense
    with torch.autocast("cpu", torch.bfloat16):
        dense = attention(taps, text, present).dense
    torch.testing.assert_close(dense.float(), wanted, atol=0.1, rtol=0.1)
    dense.float().square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in attention.parameters())


@torch.no_grad()
def test_a_trace_takes_other_volumes():
    taps, text, _ = inputs()
    attention = HierarchicalCrossAttention(DIM, 2).eval()

    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = copy.deepcopy(attention)

        def forward(self, taps, text):
            return self.attention(list(taps), text).dense

    traced = torch.jit.trace(Dense(), (tuple(taps), text), check_trace=False)
    others = tuple(torch.randn(3, DIM, *GRID) for _ in taps)
    text = torch.randn(3, WORDS, DIM)
    torch.testing.assert_close(traced(others, text), attention(others, text).dense)


@pytest.mark.parametrize("stages", [(), (0, 1), (5,), (1, 1)])
def test_stages_that_are_not_there(stages):
    with pytest.raises(ValueError, match="stages must be some of 1 to 4, each once, got"):
        HierarchicalCrossAttention(DIM, 2, stages=stages)


def test_heads_that_do_not_fit_and_stages_that_are_missing():
    with pytest.raises(ValueError, match="heads must divide the 8 channels, got 3"):
        StageCrossAttention(DIM, 3)
    taps, text, present = inputs()
    with pytest.raises(ValueError, match="in 4 stages, got 3"):
        HierarchicalCrossAttention(DIM, 2)(taps[:3], text, present)


def test_it_can_begin_without_a_say_of_its_own():
    """All prompts are zero, and the first step changes that."""
    torch.manual_seed(0)
    net = HierarchicalCrossAttention(16, 2)
    net.begin_without()
    found = net([torch.randn(1, 16, 2, 3, 1) for _ in range(4)], torch.randn(1, 5, 16))
    assert not found.dense.any() and not any(stage.any() for stage in found.stages)
    found.dense.sum().backward()
    assert all(attention.norm.weight.grad.any() for attention in net.attentions.values())
