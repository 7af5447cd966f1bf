import logging

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.text import clip_models
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.clip_models import HUB, find_clip_model
from pgsam_monai.networks.text.clip_weights import OWN_FILES, load_clip_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An open_clip network of clip_tiny's sizes, and its state dict in open_clip's layout as two files."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    found = find_clip_model("clip_tiny", cache=folder)
    network = open_clip.CLIP(**found.config).eval()
    torch.save({"state_dict": network.state_dict()}, folder / "clip.pt")
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, folder / "clip.safetensors"
    )
    return network, folder


def make(weights, **changes):
    return ClipTowers(**({"model": "clip_tiny", "weights": weights, "training": "frozen"} | changes)).eval()


@pytest.mark.parametrize("name", ["clip.pt", "clip.safetensors"])
@torch.no_grad()
def test_a_file_gives_the_outputs_of_the_network_that_it_was_saved_from(saved, name, no_hub):
    network, folder = saved
    towers = make(str(folder / name))
    tokens = towers.tokenize(["a CT of the spleen", "a CT of the liver"])
    torch.testing.assert_close(towers.encode_text(tokens), network.encode_text(tokens), atol=1e-5, rtol=1e-5)
    image = torch.rand(2, 3, 224, 224)
    normalised = (image - towers.pixel_mean) / towers.pixel_std
    torch.testing.assert_close(
        towers.encode_image(image), network.encode_image(normalised), atol=1e-5, rtol=1e-5
    )


def test_no_weights_are_said_to_be_random(caplog):
    with caplog.at_level(logging.INFO):
        make(None)
    assert "clip_tiny starts from random weights (clip_weights: null)" in caplog.text


def test_another_models_file_is_refused(saved, tmp_path):
    network, _ = saved
    file = tmp_path / "other.pt"
    state = network.state_dict()
    torch.save({**state, "text_projection": torch.zeros(128, 64)}, file)
    with pytest.raises(UserFault, match=r"another model's.*size mismatch.*Save the state dict of this very"):
        make(str(file))
    torch.save({key: value for key, value in state.items() if "ln_final" not in key}, file)
    with pytest.raises(UserFault, match=r"another model's.*Missing key.*ln_final"):
        make(str(file))


def test_files_that_hold_more_than_tensors_are_refused(tmp_path):
    file = tmp_path / "objects.pt"
    torch.save({"state_dict": open}, file)
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        make(str(file))
    file.write_bytes(b"not weights")
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        make(str(file))


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("clip_tiny", "missing.pt", "'missing.pt' does not exist; give the path"),
        ("clip_tiny", "openai", r"published for 'clip_tiny' \(which has none\).*'openai' belongs to"),
        ("ViT-B-32", "laion2b_s34b_b79", "Did you mean 'laion2b_s34b_b79k'"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "'laion2b_s34b_b79k' belongs to ViT-B-32"),
    ],
)
def test_unknown_weights_are_named_with_a_remedy(model, weights, message, tmp_path):
    found = find_clip_model(model, cache=tmp_path)
    with pytest.raises(UserFault, match=message):
        load_clip_weights(torch.nn.Identity(), found, weights, cache=tmp_path)


def test_offline_a_tag_says_at_once_what_to_fetch_and_from_where(no_hub, tmp_path):
    remedy = r"from https://huggingface\.co/laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
    found = find_clip_model("ViT-B-32-256", cache=tmp_path)
    with pytest.raises(UserFault, match=remedy):  # the hub's own retries would take 46 s
        load_clip_weights(torch.nn.Identity(), found, "datacomp_s34b_b86k", cache=tmp_path)


def test_offline_models_of_the_hub_say_what_to_fetch(no_hub, tmp_path):
    with pytest.raises(UserFault, match=r"https://huggingface\.co/organisation/model on a machine that can"):
        find_clip_model("hf-hub:organisation/model", cache=tmp_path)
    with pytest.raises(UserFault, match=r"tokenizer\.json.*https://huggingface\.co/roberta-base"):
        make(None, model="roberta-ViT-B-32")


def test_a_download_goes_to_the_cache(saved, monkeypatch, tmp_path):
    network, folder = saved
    asked = []

    def download(record, cache_dir):
        asked.append((record["hf_hub"], cache_dir))
        return str(folder / "clip.safetensors")

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    monkeypatch.setattr("pgsam_monai.networks.text.hub._answers", lambda *_: True)
    found = find_clip_model("clip_tiny", cache=tmp_path)
    model = clip_models.ClipModel(**{**vars(found), "name": f"{HUB}organisation/tiny"})
    other = clip_models.build_clip(model)
    load_clip_weights(other, model, "pretrained", cache=tmp_path)
    assert asked == [("organisation/tiny/", str(tmp_path))]
    torch.testing.assert_close(other.text.token_embedding.weight, network.token_embedding.weight)


def test_a_folders_own_weights(biomedclip_folder, tmp_path, no_hub):
    name = f"local-dir:{biomedclip_folder}"
    found = find_clip_model(name, cache=tmp_path)
    with pytest.raises(UserFault, match=OWN_FILES[0]):
        make("pretrained", model=name)
    network = clip_models.build_clip(found)
    file = biomedclip_folder / "open_clip_pytorch_model.bin"
    torch.save(network.state_dict(), file)
    towers = make("pretrained", model=name)
    file.unlink()
    torch.testing.assert_close(towers.text_tower.proj[0].weight, network.text.proj[0].weight, atol=0, rtol=0)
