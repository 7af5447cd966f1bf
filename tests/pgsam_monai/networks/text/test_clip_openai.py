"""OpenAI's own archives: known by name and hash, read without being run, and never with another GELU than theirs."""

from __future__ import annotations

import hashlib
import logging
import threading
import urllib.error
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import open_clip
import pytest
import torch

from pgsam_monai.base import weights as table
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import CLIP_RECORDS, Weights, clip_record
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.clip_models import find_clip_model
from pgsam_monai.networks.text.clip_weights import load_clip_weights, wants_quick_gelu
from pgsam_monai.weights.files import import_weights, load_weights

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Networks of clip_tiny's sizes with either GELU, and their archives in the form of OpenAI's."""
    folder = tmp_path_factory.mktemp("openai")
    made = {}
    for quick in (True, False):
        torch.manual_seed(3)
        config = find_clip_model("clip_tiny", cache=folder).config
        network = open_clip.CLIP(**{**config, "quick_gelu": quick}).eval().requires_grad_(False)
        made[quick] = network, folder / f"{'quick' if quick else 'plain'}.pt"
        tokens = open_clip.SimpleTokenizer()(
            ["a CT"], context_length=config["text_cfg"].get("context_length", 77)
        )
        network.register_buffer("input_resolution", torch.tensor(224))
        torch.jit.trace(network, (torch.zeros(1, 3, 224, 224), tokens), check_trace=False).save(
            made[quick][1]
        )
        del network.input_resolution
    return made


def make(weights, **changes):
    return ClipTowers(
        **({"model": "clip_tiny", "weights": str(weights), "training": "frozen"} | changes)
    ).eval()


def same_answers(towers, network):
    tokens = towers.tokenize(["a CT of the spleen", "a CT of the liver"])
    torch.testing.assert_close(towers.encode_text(tokens), network.encode_text(tokens), atol=1e-5, rtol=1e-5)
    image = torch.rand(1, 3, 224, 224)
    pixels = (image - towers.pixel_mean) / towers.pixel_std
    torch.testing.assert_close(towers.encode_image(image), network.encode_image(pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("quick", [True, False])
@torch.no_grad()
def test_an_archive_answers_as_the_network_that_it_holds_with_its_own_gelu(archives, quick):
    network, file = archives[quick]
    towers = make(file)
    assert towers.quick_gelu == quick
    same_answers(towers, network)


def test_another_models_archive_is_refused(archives, tmp_path):
    found = find_clip_model("clip_tiny", cache=tmp_path)
    other = open_clip.CustomTextCLIP(**{**found.config, "embed_dim": 64})
    with pytest.raises(UserFault, match="another model's.*size mismatch"):
        load_clip_weights(other, found, str(archives[True][1]), cache=tmp_path)
    file = tmp_path / "identity.pt"
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1)).save(file)
    with pytest.raises(UserFault, match="another model's.*Missing key"):
        make(file)


def test_of_a_plain_file_nobody_knows_the_gelu_and_that_is_said(tmp_path, caplog):
    file = tmp_path / "state.pt"
    torch.save({}, file)
    with caplog.at_level(logging.WARNING):
        assert not wants_quick_gelu("ViT-B-32", str(file))
    assert "doesn't say which GELU" in caplog.text and "clip_model ViT-B-32-quickgelu" in caplog.text
    caplog.clear()
    assert not wants_quick_gelu("clip_tiny", str(file)) and not caplog.text


def test_the_table_is_open_clips():
    for record in CLIP_RECORDS:
        published = open_clip.get_pretrained_url(record.backbone, "openai")
        assert record.url == published and record.sha256 == published.split("/")[-2]
        for model in (record.backbone, f"{record.backbone}-quickgelu"):
            assert clip_record(model, "openai") == clip_record(model, record.name) == record
            assert wants_quick_gelu(model, record.name) and wants_quick_gelu(model, "openai")
    assert clip_record("RN50", "openai") is None and clip_record("ViT-B-32", "laion2b_s34b_b79k") is None
    assert clip_record("ViT-B-32", None) is None


@pytest.fixture
def published(archives, monkeypatch):
    """clip_tiny's archive as a record of the table, behind a real socket; and what was asked of it."""
    monkeypatch.setenv("no_proxy", "*")
    network, file = archives[True]
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    server = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(file.parent)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    content = file.read_bytes()
    record = Weights(
        name="clip_test", url=f"http://127.0.0.1:{server.server_port}/{file.name}", backbone="clip_tiny",
        sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), licence="MIT", title="CLIP",
    )  # fmt: skip
    monkeypatch.setattr(table, "CLIP_RECORDS", (record,))
    monkeypatch.setitem(table.CLIP_WEIGHTS, record.name, record)
    yield network, file, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("weights", ["clip_test", "openai"])
@torch.no_grad()
def test_by_name_or_tag_it_is_downloaded_once_checked_and_kept(published, tmp_path, weights):
    network, file, asked = published
    for _ in range(2):
        towers = make(weights, weights_dir=str(tmp_path))
        assert towers.quick_gelu
        same_answers(towers, network)
    assert asked == ["/quick.pt"] and (tmp_path / "quick.pt").read_bytes() == file.read_bytes()


def test_what_was_imported_is_not_downloaded(published, tmp_path):
    _, file, asked = published
    import_weights(file, weights_dir=tmp_path)
    make("openai", weights_dir=str(tmp_path))
    assert not asked


def test_offline_it_says_what_to_fetch_and_to_import(monkeypatch, tmp_path):
    def offline(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    found = find_clip_model("ViT-B-32-quickgelu", tag="openai", cache=tmp_path)
    with pytest.raises(UserFault, match="clip_vit_b_32.*no network.*`pgsam weights import ViT-B-32.pt`"):
        load_clip_weights(torch.nn.Identity(), found, "openai", cache=tmp_path / "cache")


def test_clip_is_no_network_that_segments(archives, tmp_path):
    from pgsam_monai.networks.sam.checkpoint import load_sam_state
    from pgsam_monai.networks.samed import SAMed

    state = load_weights(archives[True][1])
    network = SAMed(num_classes=1, image_size=32, backbone="vit_tiny", encoder_training="full")
    with pytest.raises(ValueError, match="clip"):
        load_sam_state(network, state, source="clip.pt")
