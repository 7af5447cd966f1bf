import warnings

import pytest
import torch

from pgsam_monai.networks.adaptation.lora import add_lora, merge_lora
from pgsam_monai.networks.sam.builders import build_sam


def make_adapted(backbone, rank=2):
    torch.manual_seed(0)
    encoder = build_sam(backbone=backbone, image_size=64, num_classes=1).image_encoder.eval()
    image = torch.randn(1, 3, 64, 64)
    before = encoder(image).detach()
    add_lora(encoder, rank=rank)
    return encoder, image, before


@pytest.mark.parametrize(("backbone", "count"), [("vit_b", 147_456), ("vit_l", 393_216), ("vit_h", 655_360)])
def test_parameter_counts_are_those_of_the_papers(backbone, count):
    with torch.device("meta"):
        encoder = build_sam(backbone=backbone, image_size=224, num_classes=1).image_encoder
        add_lora(encoder, rank=4)
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == count


@torch.no_grad()
def test_starts_as_no_change_and_is_not_scaled(small_backbone):
    encoder, image, before = make_adapted(small_backbone)
    torch.testing.assert_close(encoder(image), before, atol=0, rtol=0)
    layer = encoder.blocks[0].attn.q
    torch.nn.init.ones_(layer.lora_B["default"].weight)
    tokens = torch.randn(3, 32)
    update = tokens @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    torch.testing.assert_close(layer(tokens), layer.base_layer(tokens) + update)


def test_only_q_and_v_are_adapted(small_backbone):
    encoder, _, _ = make_adapted(small_backbone)
    trained = {name.split(".lora_")[0] for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {f"blocks.{block}.attn.{layer}" for block in (0, 1) for layer in "qv"}


@torch.no_grad()
def test_merging_keeps_the_output(small_backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder, image, before = make_adapted(small_backbone)
        for name, value in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value)
        adapted = encoder(image)
        merge_lora(encoder)
    assert (adapted - before).abs().max() > 1e-2
    torch.testing.assert_close(encoder(image), adapted, atol=1e-5, rtol=1e-5)
    assert not any("lora" in name for name in encoder.state_dict())
    assert type(encoder.blocks[0].attn.q) is torch.nn.Linear


def test_other_layers_can_be_named_and_must_be_there():
    tower = torch.nn.ModuleDict({"query": torch.nn.Linear(2, 2), "key": torch.nn.Linear(2, 2)})
    add_lora(tower, rank=1, targets=("query", "value"))
    assert {name.split(".")[0] for name, p in tower.named_parameters() if p.requires_grad} == {"query"}
    with pytest.raises(ValueError, match="not found"):
        add_lora(torch.nn.Sequential(torch.nn.Linear(2, 2)), rank=1)


def test_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        add_lora(torch.nn.Linear(1, 1), rank=0)
