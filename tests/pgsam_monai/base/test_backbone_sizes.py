"""One table of backbones and of weights: they know each other, and the sizes are those of the networks."""

import pytest
import torch

from pgsam_monai.base.backbones import BACKBONES, VOLUME_BACKBONES
from pgsam_monai.base.weights import RECORDS, asks_with_maps, is_only_a_start, start_of, weights_of
from pgsam_monai.networks.sam.builders import build_sam


def test_weights_belong_to_backbones_that_exist():
    assert {record.backbone for record in RECORDS} == set(BACKBONES)
    assert weights_of("vit_b") == "sam_vit_b" and weights_of("vit_mini") is None
    assert set(VOLUME_BACKBONES) - set(BACKBONES) == {"vit_mini"}


def test_the_small_backbone_has_a_start_and_nothing_to_be_adapted_from():
    assert (weights_of("vit_tiny"), start_of("vit_tiny")) == (None, "drawn_tiny")
    assert start_of("vit_b") is None
    assert is_only_a_start("drawn_tiny") and asks_with_maps("drawn_tiny")
    for other in ("sam_vit_b", "/data/mine.pth", None):
        assert not is_only_a_start(other) and not asks_with_maps(other)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_are_those_of_the_network(backbone):
    with torch.device("meta"):
        encoder = build_sam(backbone=backbone, image_size=224, num_classes=1).image_encoder
    built = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    assert BACKBONES[backbone].parameters_m == pytest.approx(built, rel=0.15, abs=0.3)
