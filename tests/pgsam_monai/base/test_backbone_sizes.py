"""One table of backbones and of weights: they know each other, and the sizes are those of the networks."""

import pytest
import torch

from pgsam_monai.base.backbones import BACKBONES, VOLUME_BACKBONES
from pgsam_monai.base.weights import RECORDS, weights_of
from pgsam_monai.networks.sam.builders import build_sam


def test_weights_belong_to_backbones_that_exist():
    assert {record.backbone for record in RECORDS} == set(BACKBONES) - {"vit_tiny"}
    assert weights_of("vit_b") == "sam_vit_b" and weights_of("vit_mini") is None
    assert set(VOLUME_BACKBONES) - set(BACKBONES) == {"vit_mini"}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_are_those_of_the_network(backbone):
    with torch.device("meta"):
        encoder = build_sam(backbone=backbone, image_size=224, num_classes=1).image_encoder
    built = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    assert BACKBONES[backbone].parameters_m == pytest.approx(built, rel=0.15, abs=0.3)
