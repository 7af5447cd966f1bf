import copy
import logging
import warnings

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
from torch import nn

from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.traced import merge_for_inference

TEXTS = ["a CT of the spleen", "a CT of the left kidney"]


def make(model="clip_tiny", **changes):
    torch.manual_seed(0)
    towers = ClipTowers(**({"model": model, "weights": None, "rank": 2} | changes))
    for name, value in towers.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.3)
    return towers


@pytest.fixture(scope="module")
def adapted():
    return make()


@pytest.fixture(scope="module")
def adapted_biomedclip(biomedclip_folder):
    return make(f"local-dir:{biomedclip_folder}")


def both(towers, size=64):
    torch.manual_seed(1)
    tokens, image = towers.tokenize(TEXTS), torch.rand(3, 3, size, size)
    return towers.encode_text(tokens), towers.encode_image(image)


@pytest.mark.parametrize("fixture", ["adapted", "adapted_biomedclip"])
@torch.no_grad()
def test_shapes_and_determinism(fixture, request):
    towers = request.getfixturevalue(fixture).eval()
    text, image = both(towers)
    assert text.shape == (2, towers.dim)
    assert image.shape == (3, towers.dim)
    assert towers.tokenize(TEXTS).shape == (2, towers.context_length)
    for first, second in zip((text, image), both(towers), strict=True):
        torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert not torch.allclose(text[0], text[1])


@pytest.mark.parametrize("fixture", ["adapted", "adapted_biomedclip"])
@pytest.mark.parametrize("bf16", [False, True])
def test_every_adapter_learns_and_nothing_else(fixture, bf16, request):
    towers = copy.deepcopy(request.getfixturevalue(fixture)).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        text, image = both(towers)
        (text.float().square().sum() + image.float().square().sum()).backward()
    for name, value in towers.named_parameters():
        assert value.requires_grad == ("lora_" in name), name
        assert (value.grad is not None) == value.requires_grad, name
        assert not value.requires_grad or value.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("fixture", "layers"),
    [("adapted", {"q", "v"}), ("adapted_biomedclip", {"qkv", "query", "value"})],
)
def test_lora_adapts_the_attention_of_each_kind_of_tower(fixture, layers, request):
    towers = request.getfixturevalue(fixture)
    names = {name.split(".lora_")[0] for name, value in towers.named_parameters() if value.requires_grad}
    assert {name.rpartition(".")[2] for name in names} == layers
    assert {name.partition(".")[0] for name in names} == {"image_tower", "text_tower"}


@pytest.mark.parametrize("fixture", ["adapted", "adapted_biomedclip"])
@torch.no_grad()
def test_merging_folds_both_towers_and_loads_without_adapters(fixture, request):
    towers = request.getfixturevalue(fixture).eval()
    merged = merge_for_inference(towers)
    assert not any("lora" in name for name in merged.state_dict())
    for folded, wanted in zip(both(merged), both(towers), strict=True):
        torch.testing.assert_close(folded, wanted, atol=2e-5, rtol=1e-4)
    assert any("lora" in name for name in towers.state_dict())
    if fixture == "adapted":
        plain = make(training="frozen").eval()
        plain.load_state_dict(merged.state_dict())
        for loaded, wanted in zip(both(plain), both(merged), strict=True):
            torch.testing.assert_close(loaded, wanted, atol=0, rtol=0)


@torch.no_grad()
def test_the_state_dict_restores_everything(adapted, tmp_path):
    torch.save(adapted.state_dict(), tmp_path / "state.pt")
    other = make(training="lora").eval()
    for value in other.parameters():
        value.zero_()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for loaded, wanted in zip(both(other), both(adapted.eval()), strict=True):
        torch.testing.assert_close(loaded, wanted, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("training", "towers", "trained"),
    [
        ("frozen", "both", set()),
        ("full", "image", {"image_tower"}),
        ("lora", "text", {"text_tower"}),
        ("full", "both", {"image_tower", "text_tower"}),
    ],
)
def test_training_applies_to_the_named_towers_only(biomedclip_folder, training, towers, trained):
    network = make(f"local-dir:{biomedclip_folder}", training=training, towers=towers).train()
    assert {n.partition(".")[0] for n, value in network.named_parameters() if value.requires_grad} == trained
    for name in ("image_tower", "text_tower"):
        assert network.get_submodule(name).training == (name in trained)
    if training == "full":
        text, image = both(network)
        (text.square().sum() + image.square().sum()).backward()
        assert all(value.grad is not None for value in network.parameters() if value.requires_grad)


def test_full_training_reaches_every_parameter():
    network = make(training="full").train()
    text, image = both(network)
    (text.square().sum() + image.square().sum()).backward()
    assert all(value.requires_grad and value.grad is not None for value in network.parameters())
    assert not any("logit" in name for name, _ in network.named_parameters())


@torch.no_grad()
def test_an_image_of_any_size_is_seen_at_the_models_own(adapted):
    image = torch.rand(1, 3, 224, 224)
    large = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    seen, seen_large = adapted.eval().encode_image(image), adapted.encode_image(large)
    assert torch.cosine_similarity(seen, seen_large).item() > 0.98


def test_pixels_are_normalised_by_the_models_own_statistics(adapted_biomedclip):
    torch.testing.assert_close(adapted_biomedclip.pixel_mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))
    torch.testing.assert_close(adapted_biomedclip.pixel_std.flatten(), torch.tensor([0.2, 0.2, 0.1]))


class ImageOnly(nn.Module):
    def __init__(self, towers):
        super().__init__()
        self.towers = towers

    def forward(self, image):
        return self.towers.encode_image(image)


@torch.no_grad()
def test_tracing_is_quiet_and_equal(adapted):
    network = ImageOnly(adapted).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pgsam_monai")
        traced = torch.jit.trace(network, torch.rand(1, 3, 96, 160), check_trace=False)
    image = torch.rand(2, 3, 96, 160)
    torch.testing.assert_close(traced(image), network(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_onnx(adapted, tmp_path):
    network, image, file = ImageOnly(adapted).eval(), torch.rand(1, 3, 96, 160), tmp_path / "image.onnx"
    torch.onnx.export(network, (image,), f=file, verbose=False)
    session = onnxruntime.InferenceSession(file)
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(output, network(image).numpy(), atol=1e-3)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A small open_clip model "small" whose weights "tag" were trained with OpenAI's GELU and other pixels."""
    from open_clip import factory, pretrained

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "head_width": 8, "layers": 1},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "small", config)
    network = open_clip.CLIP(**config, quick_gelu=True).eval()
    torch.save(network.state_dict(), tmp_path / "small.pt")
    record = {"file": str(tmp_path / "small.pt"), "hf_hub": "organisation/small/", "quick_gelu": True}
    record |= {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setitem(pretrained._PRETRAINED, "small", {"tag": record})
    monkeypatch.setattr("pgsam_monai.networks.text.hub._answers", lambda *_: False)
    return network


@torch.no_grad()
def test_a_tag_brings_its_activation_and_its_pixels_and_so_does_a_checkpoint(published, caplog):
    with caplog.at_level(logging.INFO):
        towers = make("small", weights="tag", training="frozen").eval()
    assert "as small-quickgelu does" in caplog.text
    tokens, image = towers.tokenize(TEXTS), torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(towers.encode_text(tokens), published.encode_text(tokens))
    torch.testing.assert_close(towers.encode_image(image), published.encode_image(image * 2 - 1))
    later = make("small", training="frozen").eval()
    assert not later.quick_gelu
    later.load_state_dict(towers.state_dict())
    assert later.quick_gelu
    torch.testing.assert_close(later.encode_text(tokens), towers.encode_text(tokens), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": "lorra"}, "clip_training must be one of"),
        ({"towers": "none"}, "clip_towers must be one of"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"model": "ViT-B-23"}, "Did you mean ViT-B-32"),
        ({"model": "clip_tinny"}, "Did you mean clip_tiny"),
    ],
)
def test_arguments_outside_their_range(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
