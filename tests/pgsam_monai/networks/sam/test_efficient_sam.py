import pytest
import torch
from efficient_original import make_efficient_original, predict
from torch.nn import functional as F

from pgsam_monai.base import backbones
from pgsam_monai.base.backbones import Vit
from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.checkpoint import load_sam_state

SMALL = Vit(
    parameters_m=0.1,
    embed_dim=32,
    depth=2,
    heads=2,
    global_blocks=(0, 1),
    relative_positions=False,
    efficient_decoder=True,
)


@pytest.fixture
def parts(monkeypatch):
    """Our network's parts at a size, with the weights of an EfficientSAM file."""
    monkeypatch.setitem(backbones.BACKBONES, "efficient_small", SMALL)

    def load(state, image_size):
        module = torch.nn.Module()
        module.image_encoder, module.prompt_encoder, module.mask_decoder = build_sam(
            backbone="efficient_small", image_size=image_size, num_classes=3
        )
        load_sam_state(module, state, source="efficient.pt", keep_masks=True)
        return module.eval()

    return load


@torch.no_grad()
def test_masks_equal_efficient_sams(parts):
    """A box and a click in its frame of 1024, where padding tokens have the place that its weights know."""
    original = make_efficient_original(1024)
    ours = parts({"model": original.state_dict()}, 1024)
    image = torch.randn(1, 3, 1024, 1024)
    points, labels = (
        torch.tensor([[[100.0, 200.0], [700.0, 900.0], [300.0, 20.5]]]),
        torch.tensor([[2, 3, 1]]),
    )
    embedding, masks, quality = predict(original, image, points, labels)
    own = ours.image_encoder(image)
    torch.testing.assert_close(own, embedding, atol=1e-5, rtol=1e-5)
    padded = F.pad(points, (0, 0, 0, 3)), F.pad(labels, (0, 3), value=-1)
    own_masks, own_quality = ours.mask_decoder(
        own,
        grid_encoding=ours.prompt_encoder.grid_encoding(own),
        dense=ours.prompt_encoder.no_prompt(),
        sparse=ours.prompt_encoder.point_tokens(*padded, size=(1024, 1024)),
    )
    torch.testing.assert_close(own_masks, masks, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(own_quality, quality, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("image_size", [224, 320])
@torch.no_grad()
def test_position_table_is_resized_as_efficient_sam_does(parts, image_size):
    original = make_efficient_original(image_size)
    ours = parts(original.state_dict(), image_size)
    image = torch.randn(2, 3, image_size, image_size)
    torch.testing.assert_close(ours.image_encoder(image), original.image_encoder(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_it_does_not_know_starts_anew(parts):
    torch.manual_seed(1)
    ours = parts(make_efficient_original(64).state_dict(), 64)
    assert (ours.prompt_encoder.point_embeddings[0].weight == 0).all()  # negative clicks
    assert (ours.prompt_encoder.no_mask_embed.weight == 0).all()
    assert ours.prompt_encoder.mask_downscaling[0].weight.std() > 0  # mask prompts: our random numbers


def test_a_missing_entry_is_told(parts):
    state = make_efficient_original(64).state_dict()
    del state["mask_decoder.transformer.layers.1.mlp.fc.bias"]
    with pytest.raises(ValueError, match="'mask_decoder.transformer.layers.1.mlp.lin2.bias' is missing"):
        parts(state, 64)


def test_published_sizes():
    """Parameters of EfficientSAM-Ti's and -S's image encoders: ViT-T's 5.5 and ViT-S's 22 millions, and SAM's neck."""
    with torch.device("meta"):
        for name, millions in (("efficient_sam_ti", 6.16), ("efficient_sam_s", 22.4)):
            encoder = build_sam(backbone=name, image_size=224, num_classes=1).image_encoder
            assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
