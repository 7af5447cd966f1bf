import pytest
import torch

from pgsam_monai.base.backbones import BACKBONES
from pgsam_monai.networks.sam.builders import build_sam, find_backbone


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(ValueError, match="got 'vit-b'. Did you mean 'vit_b'"):
        find_backbone("vit-b")


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 1 .*got 0"):
        build_sam(backbone="vit_tiny", image_size=64, num_classes=0)


def test_skip_features_can_be_turned_off():
    assert len(build_sam(backbone="vit_tiny", image_size=64, num_classes=1).mask_decoder.skips) == 2
    plain = build_sam(backbone="vit_tiny", image_size=64, num_classes=1, skip_features=False)
    assert len(plain.mask_decoder.skips) == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_image_encoder_says_what_others_need_to_know(backbone):
    with torch.device("meta"):
        encoder = build_sam(backbone=backbone, image_size=64, num_classes=1).image_encoder
    assert encoder.stride == (4 if backbone == "lite_medsam" else 16)
    assert encoder.lora_targets == (("qkv",) if backbone in ("lite_medsam", "mobile_sam") else ("q", "v"))
    assert bool(encoder.skip_channels) == (backbone == "vit_tiny")
