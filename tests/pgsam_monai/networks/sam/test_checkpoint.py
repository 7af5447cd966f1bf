import re

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


def test_with_sams_own_masks_everything_is_loaded(small_backbone):
    parts, state = make_parts(small_backbone, num_classes=3), make_original(96).state_dict()
    load_sam_state(parts, state, source="sam.pth", keep_masks=True)
    loaded = fuse_qkv(parts.state_dict())
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    with pytest.raises(ValueError, match=r"mask_tokens.weight' has shape \(4, 256\), wanted \(6, 256\)"):
        load_sam_state(make_parts(small_backbone), state, source="sam.pth", keep_masks=True)


def mobile_sam_key(key):
    """What MobileSAM calls an entry of ours: a stage's patch merging ends the one before it."""
    key = re.sub(r"stages\.(\d)\.downsample", lambda m: f"stages.{int(m[1]) - 1}.downsample", key)
    key = key.replace("embed.conv1", "embed.seq.0").replace("embed.conv2", "embed.seq.2")
    return key.replace("stages.", "layers.").replace(".conv.", ".c.")


@pytest.mark.parametrize("backbone", ["mobile_sam", "lite_medsam"])
def test_tiny_vits_in_their_authors_layout(backbone):
    source, target = make_parts(backbone, num_classes=3), make_parts(backbone)
    state = {
        mobile_sam_key(key): torch.randn(value.shape).to(value.dtype)
        for key, value in source.state_dict().items()
    }
    merging = "image_encoder.layers.0.downsample.conv2.c.weight"
    assert state[merging].shape == (128, 1, 3, 3)
    assert not any(key.startswith("image_encoder.layers.3.downsample") for key in state)
    classifier = {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.head.bias": torch.ones(1000),
    }
    load_sam_state(target, state | classifier, source="mobile_sam.pt")
    loaded = target.state_dict()
    assert torch.equal(loaded["image_encoder.stages.1.downsample.conv2.conv.weight"], state[merging])
    kept = ("mask_decoder.mask_tokens", "mask_decoder.output_hyper", "mask_decoder.iou_prediction")
    for key, value in loaded.items():
        given = state.get(mobile_sam_key(key), torch.empty(0))
        taken = value.shape == given.shape and torch.equal(value, given)
        assert taken != key.startswith(kept), key


@pytest.mark.parametrize("backbone", ["vit_small", "mobile_sam", "efficient_sam_ti"])
def test_weights_of_another_family_are_refused(small_backbone, backbone):
    others = {"vit_small": "lite_medsam", "mobile_sam": "vit_small", "efficient_sam_ti": "mobile_sam"}
    state = {mobile_sam_key(key): value for key, value in make_parts(others[backbone]).state_dict().items()}
    with pytest.raises(ValueError, match="'other.pth' don't fit this network"):
        load_sam_state(make_parts(backbone), state, source="other.pth")


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
