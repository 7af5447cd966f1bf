import json

import pytest


@pytest.fixture(scope="module")
def biomedclip_folder(tmp_path_factory):
    """A folder of BiomedCLIP's form, tiny: open_clip_config.json, timm image tower, BERT and its tokenizer."""
    from transformers import BertConfig, BertTokenizerFast

    folder = tmp_path_factory.mktemp("biomedclip")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a ct of the spleen liver kidney left right ##s".split()
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)
    BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    ).save_pretrained(folder)
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {
                "timm_model_name": "test_vit",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 160,
            },
            "text_cfg": {
                "hf_model_name": "organisation/not-here",
                "hf_tokenizer_name": "organisation/not-here",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 12,
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def no_hub(monkeypatch):
    """The hub's address is a closed port of this machine."""
    from huggingface_hub import constants

    from pgsam_monai.networks.text import hub

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()
