"""PG-SAM in other forms: its texts become numbers, whoever read them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pgsam_monai.networks.pgsam import PGSAM
from pgsam_monai.networks.text import sentences
from pgsam_monai.networks.traced import TracedNetwork

FORMS = [
    {"text_encoder": "words", "image_prior": "none", "text_match": "identity", "fusion": "attention"},
    {"image_prior": "patches", "text_match": "identity"},
]


@pytest.fixture(autouse=True)
def words_encoder(monkeypatch):
    def encode(texts, encoder):
        counts = [[text.count(letter) for letter in "aeilnrstv"] for text in texts]
        return F.normalize(torch.tensor(counts).float() + 0.1, dim=-1)

    monkeypatch.setattr(sentences, "_encode", encode)


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.no_grad()
def test_traces_hold_texts_as_numbers_and_no_tower_that_reads(form):
    torch.manual_seed(0)
    network = PGSAM(
        num_classes=2, image_size=64, backbone="vit_tiny", encoder_training="full", clip_model="clip_tiny",
        clip_training="full", texts=[["all else"], ["the liver"], ["a spleen"]], case_texts=[["a large liver"]], **form,
    ).eval()  # fmt: skip
    traced, image = TracedNetwork(network), torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(traced(image), network(image), atol=1e-5, rtol=1e-5)
    assert not any("text_tower" in name for name, _ in traced.named_parameters())
