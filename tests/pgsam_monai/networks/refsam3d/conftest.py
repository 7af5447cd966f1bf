"""A sentence encoder for RefSAM3D's tests."""

from __future__ import annotations

import letters_encoder
import pytest

from pgsam_monai.networks.text import sentences


@pytest.fixture
def asked(monkeypatch):
    """The texts that the encoder of letters was asked for."""
    texts = []

    def noting(answer):
        return lambda missing, encoder: texts.extend(missing) or answer(missing, encoder)

    monkeypatch.setattr(sentences, "_encode", noting(letters_encoder.encode))
    monkeypatch.setattr(sentences, "_encode_words", noting(letters_encoder.encode_words))
    return texts
