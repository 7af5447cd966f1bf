"""A sentence encoder for RefSAM3D's tests."""

from __future__ import annotations

import pytest
import torch

from pgsam_monai.networks.text import sentences

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def asked(monkeypatch):
    """The texts that the encoder was asked for: a word's vector counts its letters, a sentence's is their sum."""
    texts = []

    def count(text):
        return torch.tensor([text.lower().count(letter) for letter in LETTERS]).float()

    def encode(missing, encoder):
        texts.extend(missing)
        return torch.nn.functional.normalize(torch.stack([count(text) for text in missing]), dim=-1)

    def encode_words(missing, encoder):
        every = encode(missing, encoder)
        return [
            (sentence, torch.stack([count(word) for word in text.split()]))
            for text, sentence in zip(missing, every, strict=True)
        ]

    monkeypatch.setattr(sentences, "_encode", encode)
    monkeypatch.setattr(sentences, "_encode_words", encode_words)
    return texts
