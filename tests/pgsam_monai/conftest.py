import pytest
from small_sam import SMALL

from pgsam_monai.base import backbones


@pytest.fixture
def small_backbone(monkeypatch):
    """Adds the backbone "vit_small": one windowed and one global block of SAM's kind."""
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", SMALL)
    return "vit_small"
