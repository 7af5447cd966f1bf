import pytest
import torch
from segment_anything.modeling.image_encoder import PatchEmbed

from pgsam_monai.networks.refsam3d.patch_embedding import FactoredPatchEmbedding


@pytest.fixture
def make():
    """Our embedding of 6 channels for a token size, and SAM's own with the same weights."""

    def build(token_size):
        torch.manual_seed(0)
        sam = PatchEmbed(kernel_size=(16, 16), stride=(16, 16), embed_dim=6)
        ours = FactoredPatchEmbedding(6, token_size)
        ours.load_state_dict(sam.state_dict(), strict=False)
        return ours, sam

    return build


@pytest.mark.parametrize("p", [16, 8, 4])
@torch.no_grad()
def test_one_slice_equals_sams_embedding_of_that_slice_enlarged_by_nearest_neighbour(make, p):
    ours, sam = make((p, p, 4))
    ours.depth.zero_()[:, 1] = 1  # the second of every four slices
    image = torch.randn(2, 3, 32, 48, 8)
    tokens = ours(image)
    assert tokens.shape == (2, 32 // p, 48 // p, 2, 6)
    for token, slice_index in enumerate((1, 5)):
        enlarged = torch.nn.functional.interpolate(image[..., slice_index], scale_factor=16 // p)
        torch.testing.assert_close(tokens[:, :, :, token], sam(enlarged), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_starts_as_the_mean_of_the_slices_embeddings(make):
    ours, sam = make((16, 16, 2))
    image = torch.randn(1, 3, 16, 16, 2)
    mean = (sam(image[..., 0]) + sam(image[..., 1])) / 2
    torch.testing.assert_close(ours(image)[:, :, :, 0], mean, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_depth_weights_each_channel_by_itself(make):
    ours, sam = make((16, 16, 2))
    torch.nn.init.normal_(ours.depth)
    image = torch.randn(1, 3, 16, 16, 2)
    expected = sum(sam(image[..., index]) * ours.depth[:, index] for index in range(2))
    torch.testing.assert_close(ours(image)[:, :, :, 0], expected, atol=1e-5, rtol=1e-5)


def test_only_depth_learns_beside_frozen_weights(make):
    ours, _ = make((8, 8, 2))
    ours.proj.requires_grad_(False)
    ours(torch.randn(1, 3, 8, 8, 2)).sum().backward()
    assert ours.depth.grad.abs().min() > 0


@pytest.mark.parametrize("token_size", [(16, 8, 4), (32, 32, 4), (16, 16, 3), (16, 16)])
def test_other_token_sizes_are_refused(token_size):
    with pytest.raises(ValueError, match=r"token_size must be \(p, p, p_d\) with p of \(4, 8, 16\)"):
        FactoredPatchEmbedding(6, token_size)


def test_other_sides_are_refused(make):
    ours, _ = make((8, 8, 4))
    with pytest.raises(
        ValueError, match=r"multiples of \(8, 8, 4\) voxels, got \(16, 20, 5\).* \(16, 24, 8\)"
    ):
        ours(torch.zeros(1, 3, 16, 20, 5))
