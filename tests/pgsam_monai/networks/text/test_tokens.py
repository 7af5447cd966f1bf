import copy
import logging

import pytest
import torch

from pgsam_monai.networks.text.clip_models import find_clip_model, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return load_tokenizer(find_clip_model("clip_tiny", cache=cache), cache=cache)


def test_tokens_are_clips_own(tokenizer):
    tokens = tokenizer(["spleen", ""])
    assert tokens.shape == (2, 77)
    assert tokens.dtype == torch.int64
    assert tokens[0, 0] == 49406 and 49407 in tokens[0].tolist()
    assert tokens[1, :3].tolist() == [49406, 49407, 0]


def test_a_text_that_is_cut_is_named(tokenizer, caplog):
    long = "liver " * 80
    with caplog.at_level(logging.WARNING):
        tokens = tokenizer(["spleen", long])
    assert tokens[1, -1] == 49407
    (record,) = caplog.records
    assert long in record.message and "82 tokens" in record.message and "spleen" not in record.message


def test_texts_that_just_fit_are_not_cut(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer(["liver " * 75])
    assert not caplog.records


@pytest.mark.parametrize("texts", ["spleen", [], [None]])
def test_only_lists_of_strings(tokenizer, texts):
    with pytest.raises(ValueError, match="list of at least one string"):
        tokenizer(texts)


def test_copies_share_it(tokenizer):
    assert copy.deepcopy(tokenizer) is tokenizer


def test_a_hugging_face_tokenizer_has_its_own_length(biomedclip_folder, tmp_path, caplog):
    found = find_clip_model(f"local-dir:{biomedclip_folder}", cache=tmp_path)
    tokenizer = load_tokenizer(found, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        tokens = tokenizer(["a CT of the spleen", "left kidney " * 6])
    assert tokens.shape == (2, 12)
    assert tokens[0].tolist() == [2, 5, 6, 7, 8, 9, 3, 0, 0, 0, 0, 0]
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "14 tokens" in record.message and "reads 12 tokens" in record.message
