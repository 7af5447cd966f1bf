import warnings
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from small_sam import SMALL

from pgsam_monai.base import backbones
from pgsam_monai.export.engines import write_onnx
from pgsam_monai.export.network import load_adapters, save_adapters, trained_state
from pgsam_monai.networks.pgsam import PGSAM
from pgsam_monai.networks.samed import SAMed
from pgsam_monai.networks.traced import merge_for_inference


@pytest.fixture
def network(monkeypatch):
    """A SAMed with windowed and global attention, relative positions, and adapters that do something."""
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", SMALL)
    return make_network(seed=0)


def make_network(seed, **changes):
    torch.manual_seed(seed)
    arguments = {"num_classes": 2, "image_size": 64, "in_channels": 2, "backbone": "vit_small", "rank": 2}
    network = SAMed(**(arguments | changes)).eval()
    for name, value in network.named_parameters():
        if "lora_B" in name or "rel_pos" in name:
            torch.nn.init.normal_(value, std=0.3)
    return network


@torch.no_grad()
def test_merging_keeps_the_output_and_loads_without_adapters(network):
    image = torch.rand(2, 2, 64, 64)
    merged = merge_for_inference(network)
    torch.testing.assert_close(merged(image), network(image), atol=1e-5, rtol=1e-5)
    plain = make_network(seed=1, encoder_training="frozen")
    plain.load_state_dict(merged.state_dict())
    torch.testing.assert_close(plain(image), merged(image), atol=0, rtol=0)
    assert any("lora" in name for name in network.state_dict())


@torch.no_grad()
def test_adapters_alone_restore_the_network(network, tmp_path):
    file = tmp_path / "new" / "adapters.safetensors"
    assert save_adapters(network, file, metadata={"classes": "liver, tumour"}) == file
    assert [path.name for path in file.parent.iterdir()] == ["adapters.safetensors"]
    other = make_network(seed=1)
    trained = trained_state(network)
    frozen = {name: value for name, value in network.state_dict().items() if name not in trained}
    other.load_state_dict(frozen, strict=False)  # what SAM's weights would give
    header = load_adapters(other, file)
    assert header["classes"] == "liver, tumour"
    assert '"rank": 2' in header["description"]
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(other(image), network(image), atol=0, rtol=0)
    whole = sum(value.numel() * 4 for value in network.parameters())
    assert file.stat().st_size < whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 3}, r"rank 2 \(this network: 3\)"),
        ({"num_classes": 1}, r"num_classes 2 \(this network: 1\)"),
        ({"encoder_training": "full"}, "rank 2"),
    ],
)
def test_adapters_of_another_network_are_refused(network, tmp_path, changes, message):
    file = save_adapters(network, tmp_path / "adapters.safetensors")
    with pytest.raises(ValueError, match=message):
        load_adapters(make_network(seed=0, **changes), file)


@torch.no_grad()
def test_scripting_exports_any_batch_and_volumes(network, tmp_path):
    scripted = torch.jit.script(network)
    torch.jit.save(scripted, tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((1, 2, 64, 64), (3, 2, 64, 64), (2, 2, 64, 64, 3), (1, 2, 64, 64, 1)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-5, rtol=1e-5)


def test_exports_stay_quiet_in_this_package(network):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pgsam_monai")
        torch.jit.trace(network, torch.rand(1, 2, 64, 64, 2), check_trace=False)


@torch.no_grad()
def test_onnx(network, monkeypatch, tmp_path):
    everything = replace(SMALL, stem_widths=(4, 8, 8), neck_convolution=False, decoder_mlp_dim=64)
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", everything)
    network = make_network(seed=0)
    image, file = torch.rand(1, 2, 64, 64, 2), tmp_path / "model.onnx"
    write_onnx(network, file, image.shape)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(image), atol=1e-4, rtol=1e-3)


def make_pgsam(seed, **changes):
    """A PG-SAM whose adapters, on SAM and on both of CLIP's towers, and whose deformable offsets do something."""
    torch.manual_seed(seed)
    texts = [["The background."], ["The liver.", "A liver."], ["A tumour."]]
    arguments = {
        "num_classes": 2, "image_size": 64, "in_channels": 2, "backbone": "vit_small", "rank": 2, "texts": texts,
        "clip_model": "clip_tiny",
    }  # fmt: skip
    network = PGSAM(**(arguments | changes))
    for name, value in network.named_parameters():
        if "lora_B" in name or "rel_pos" in name or name.endswith("alignment.offsets.weight"):
            torch.nn.init.normal_(value, std=0.3)
    return network.eval()


@pytest.fixture
def pgsam(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "vit_small", replace(SMALL, decoder_mlp_dim=64))
    return make_pgsam(seed=0)


def megabytes(module):
    return sum(value.numel() * value.element_size() for value in module.parameters()) / 1e6


@torch.no_grad()
def test_pgsam_merged_keeps_the_output_and_loads_without_adapters(pgsam):
    image = torch.rand(2, 2, 64, 64)
    merged = merge_for_inference(pgsam.train())
    pgsam.eval()
    assert merged.description["rank"] == 0 and pgsam.description["rank"] == 2
    assert not any("lora" in name for name in merged.state_dict())
    torch.testing.assert_close(merged(image), pgsam(image), atol=1e-4, rtol=1e-4)
    plain = make_pgsam(seed=1, encoder_training="frozen", clip_training="frozen")
    plain.load_state_dict(merged.state_dict())
    torch.testing.assert_close(plain(image), merged(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pgsam_adapters_alone_restore_it(pgsam, tmp_path):
    file = save_adapters(pgsam, tmp_path / "adapters.safetensors")
    other = make_pgsam(seed=1)
    trained = trained_state(pgsam)
    assert {name.split(".")[0] for name in trained} == {
        "channel_mixer", "image_encoder", "mask_decoder", "clip", "aligner"
    }  # fmt: skip
    assert all("lora_" in name for name in trained if name.startswith(("image_encoder.", "clip.")))
    frozen = {name: value for name, value in pgsam.state_dict().items() if name not in trained}
    other.load_state_dict(frozen, strict=False)  # what SAM's and CLIP's weights would give
    load_adapters(other, file)
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(other(image), pgsam(image), atol=0, rtol=0)
    assert file.stat().st_size / 1e6 < megabytes(pgsam) - megabytes(pgsam.clip) * 0.9


@pytest.mark.parametrize(
    "changes", [{"clip_towers": "text"}, {"clip_model": "none"}, {"feature_fusion": False}]
)
def test_pgsam_adapters_of_another_kind_are_refused(pgsam, tmp_path, changes):
    file = save_adapters(pgsam, tmp_path / "adapters.safetensors")
    changes = {"prior_aligner": False} if changes == {"clip_model": "none"} else changes
    with pytest.raises(ValueError, match=r"another encoder_training|this network:"):
        load_adapters(make_pgsam(seed=0, **changes), file)


@torch.no_grad()
def test_pgsam_scripts_without_its_text_tower(pgsam, tmp_path):
    torch.jit.save(torch.jit.script(pgsam), tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((1, 2, 64, 64), (3, 2, 64, 64), (1, 2, 64, 64, 2)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), pgsam(image), atol=1e-4, rtol=1e-4)
    names = [name for name, _ in loaded.named_parameters()]
    assert any("image_tower" in name for name in names)
    assert not any("text_tower" in name or "lora" in name for name in names)
    assert (tmp_path / "model.ts").stat().st_size / 1e6 < megabytes(pgsam) - 0.9 * megabytes(
        pgsam.clip.text_tower
    )
    assert megabytes(pgsam.clip.text_tower) > 0  # the network itself keeps it


@torch.no_grad()
def test_pgsam_onnx_without_its_text_tower(pgsam, tmp_path):
    image, file = torch.rand(1, 2, 64, 64), tmp_path / "model.onnx"
    write_onnx(pgsam, file, image.shape)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), pgsam(image), atol=1e-3, rtol=1e-3)
    graph = onnx.load(file).graph
    assert "GridSample" in {
        node.op_type for node in graph.node
    }  # the deformable convolution's exact equivalent
    assert not any("text_tower" in weight.name for weight in graph.initializer)
