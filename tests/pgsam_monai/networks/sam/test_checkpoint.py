import pytest
import torch
from small_sam import make_original

from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.checkpoint import fuse_qkv, load_sam_state, split_qkv


def make_parts(backbone, image_size=96, num_classes=5):
    parts = torch.nn.Module()
    sam = build_sam(backbone=backbone, image_size=image_size, num_classes=num_classes)
    parts.image_encoder, parts.prompt_encoder, parts.mask_decoder = sam
    return parts


def test_splitting_and_fusing_are_exact_inverses():
    state = make_original(96).state_dict()
    split = split_qkv(state)
    assert "image_encoder.blocks.0.attn.qkv.weight" not in split
    weight = state["image_encoder.blocks.0.attn.qkv.weight"]
    assert torch.equal(split["image_encoder.blocks.0.attn.v.weight"], weight[64:])
    fused = fuse_qkv(split)
    assert fused.keys() == state.keys()
    assert all(torch.equal(fused[key], state[key]) for key in state)


def test_mask_tokens_hyper_networks_and_quality_head_stay_random(small_backbone):
    parts, state = make_parts(small_backbone), make_original(96).state_dict()
    before = {key: value.clone() for key, value in parts.state_dict().items()}
    load_sam_state(parts, state, source="sam.pth")
    after = parts.state_dict()
    for key in ("mask_tokens.weight", "output_hypernetworks_mlps.0.layers.0.weight"):
        assert torch.equal(after[f"mask_decoder.{key}"], before[f"mask_decoder.{key}"])
    for key in ("mask_decoder.iou_token.weight", "prompt_encoder.no_mask_embed.weight"):
        assert torch.equal(after[key], state[key])


def test_weights_of_another_backbone_are_refused(small_backbone):
    with pytest.raises(ValueError, match="'sam.pth' don't fit this network .*Choose the weights"):
        load_sam_state(make_parts("vit_tiny"), make_original(96).state_dict(), source="sam.pth")


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_unmatched_keys_are_errors(small_backbone, change):
    state = dict(make_original(96).state_dict())
    if change == "missing":
        del state["prompt_encoder.no_mask_embed.weight"]
    else:
        state["image_encoder.extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=f"is {change}"):
        load_sam_state(make_parts(small_backbone), state, source="sam.pth")
