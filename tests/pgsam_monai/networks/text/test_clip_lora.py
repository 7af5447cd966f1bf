import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pgsam_monai.networks.text.clip_lora import adapt_tower


class Bypassed(nn.Module):
    """Reads its layer's weight without calling the layer, as some towers do."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(2, 6)

    def forward(self, tokens):
        return F.linear(tokens, self.qkv.weight, self.qkv.bias)


@pytest.mark.parametrize("tower", [Bypassed(), nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())])
def test_a_tower_without_usable_attention_is_refused(tower):
    with pytest.raises(ValueError, match="My tower .* no attention layers .* choose clip_training 'full'"):
        adapt_tower(tower, rank=1, example=torch.zeros(1, 1, 2), who="My tower")


@pytest.mark.parametrize("mode", [True, False])
def test_the_first_known_kind_is_adapted_and_the_mode_stays(mode):
    tower = nn.Sequential()
    for name in ("qkv", "other", "v_proj", "q_proj"):
        tower.add_module(name, nn.Linear(2, 2))
    tower.train(mode)
    adapt_tower(tower, rank=1, example=torch.zeros(1, 2), who="My tower")
    adapted = {name for name, child in tower.named_children() if hasattr(child, "lora_A")}
    assert adapted == {"q_proj", "v_proj"}
    assert all(module.training == mode for module in tower.modules())
