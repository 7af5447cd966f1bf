import pytest
import torch
from torch import nn

from pgsam_monai.networks.refsam3d.projector import (
    CrossModalProjector,
    UnalignedProjection,
    build_projector,
    equal_lengths,
)


def test_equal_lengths_by_hand():
    text = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    wanted = torch.tensor([[1.2, 1.6, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])  # length 2, the root of four channels
    torch.testing.assert_close(equal_lengths(text), wanted)


@torch.no_grad()
def test_the_projector_is_two_layers_with_gelu_and_a_norm_on_words_and_sentences_alike():
    torch.manual_seed(0)
    projector, words = CrossModalProjector(6, 4), torch.randn(2, 3, 6)
    first, second = (layer for layer in projector.modules() if isinstance(layer, nn.Linear))
    unit = words / words.norm(dim=-1, keepdim=True) * 6**0.5
    hidden = unit @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    hidden = hidden @ second.weight.T + second.bias
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    wanted = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(projector(words), wanted)
    torch.testing.assert_close(projector(words)[:, 1], projector(words[:, 1]))


@pytest.mark.parametrize("aligned", [True, False])
@torch.no_grad()
def test_lengths_have_no_say(aligned):
    torch.manual_seed(0)
    projector, words = build_projector(aligned, 6, 4), torch.randn(3, 6)
    torch.testing.assert_close(projector(words * 7), projector(words))


@pytest.mark.parametrize(("text_dim", "dim"), [(12, 8), (8, 12), (8, 8)])
@torch.no_grad()
def test_the_unaligned_map_is_orthonormal_fixed_and_drawn_by_itself(text_dim, dim):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    projection = UnalignedProjection(text_dim, dim)
    torch.testing.assert_close(torch.get_rng_state(), before, atol=0, rtol=0)
    torch.manual_seed(2)
    torch.testing.assert_close(UnalignedProjection(text_dim, dim).weight, projection.weight, atol=0, rtol=0)
    weight = projection.weight if dim <= text_dim else projection.weight.T
    torch.testing.assert_close(weight @ weight.T, torch.eye(min(dim, text_dim)), atol=1e-5, rtol=0)
    assert list(projection.parameters()) == [] and list(projection.state_dict()) == ["weight"]


@torch.no_grad()
def test_the_unaligned_map_keeps_angles_where_there_is_room():
    torch.manual_seed(0)
    text = torch.randn(5, 8)
    mapped = UnalignedProjection(8, 12)(text)
    wanted = torch.cosine_similarity(text[:, None], text[None], dim=-1)
    torch.testing.assert_close(
        torch.cosine_similarity(mapped[:, None], mapped[None], dim=-1), wanted, atol=1e-5, rtol=0
    )


def test_every_weight_of_the_projector_learns():
    projector = build_projector(True, 6, 4)
    (projector(torch.randn(2, 3, 6)) * torch.randn(2, 3, 4)).sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in projector.parameters())
