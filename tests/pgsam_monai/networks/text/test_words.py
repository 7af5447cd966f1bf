"""Texts word by word: which tokens are words, in which space they lie, and towers without images."""

import types

import open_clip
import pytest
import torch
from torch import nn

from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.tokens import Tokenizer
from pgsam_monai.networks.text.words import Words, project_words, trim

TEXTS = ["liver", "a CT of the left kidney", "! liver !"]


def make(model="clip_tiny", **changes):
    torch.manual_seed(0)
    options = {"weights": None, "training": "frozen", "towers": "text", "rank": 2, "image_tower": False}
    return ClipTowers(model=model, **(options | changes)).eval()


@pytest.fixture(scope="module")
def clip():
    return make()


@pytest.fixture(scope="module")
def biomedclip(biomedclip_folder):
    return make(f"local-dir:{biomedclip_folder}")


@torch.no_grad()
def test_clips_words_end_with_the_sentence(clip):
    tokens = clip.tokenize(TEXTS)
    words = clip.encode_words(tokens)
    assert words.vectors.shape == (3, 7, clip.dim)
    assert words.present.sum(dim=1).tolist() == [2, 7, 4]  # with the end of the text, without its start
    torch.testing.assert_close(words.sentence, clip.encode_text(tokens), atol=0, rtol=0)
    for vectors, present, sentence in zip(*words, strict=True):
        count = int(present.sum())
        assert present[:count].all() and vectors[count:].abs().sum() == 0
        torch.testing.assert_close(vectors[count - 1], sentence, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_word_of_clip_is_the_projection_of_its_token(clip):
    tower, tokens = clip.text_tower, clip.tokenize(["left kidney"])
    _, states = tower(tokens)
    assert states.shape == (1, 77, tower.width)
    wanted = states[0, 1:4] @ tower.text_projection
    torch.testing.assert_close(clip.encode_words(tokens).vectors[0], wanted, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_other_texts_in_the_call_change_no_word(clip):
    together, alone = (clip.encode_words(clip.tokenize(texts)) for texts in (TEXTS, TEXTS[:1]))
    assert alone.vectors.shape[1] == 2
    torch.testing.assert_close(together.vectors[:1, :2], alone.vectors, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_words_of_a_hugging_face_tower(biomedclip):
    tokens = biomedclip.tokenize(["a CT of the spleen", "left kidney"])
    words = biomedclip.encode_words(tokens)
    assert words.present.tolist() == [
        [True] * 6,
        [True] * 3 + [False] * 3,
    ]  # [SEP], but neither [CLS] nor [PAD]
    torch.testing.assert_close(words.sentence, biomedclip.encode_text(tokens), atol=0, rtol=0)
    tower = biomedclip.text_tower
    hidden = tower.transformer(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state
    torch.testing.assert_close(words.vectors[0], tower.proj(hidden[0, 1:7]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(words.vectors[1, :3], tower.proj(hidden[1, 1:4]), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_cut_text_has_words_to_the_end(clip):
    words = clip.encode_words(clip.tokenize(["liver " * 80, "liver"]))
    assert words.present.sum(dim=1).tolist() == [76, 2]
    torch.testing.assert_close(words.vectors[0, -1], words.sentence[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("training", ["lora", "full"])
def test_words_carry_gradients_to_all_that_is_trained(training):
    clip = make(training=training).train()
    words = clip.encode_words(clip.tokenize(TEXTS))
    words.vectors.square().sum().backward()
    trained = {name: value for name, value in clip.named_parameters() if value.requires_grad}
    assert trained and all(value.grad is not None for value in trained.values())
    assert (
        sum(value.grad.abs().sum() > 0 for value in trained.values()) >= len(trained) / 2
    )  # LoRA's A at the start


def stub(**marks):
    names = ("bos_token_id", "cls_token_id", "sep_token_id", "eos_token_id", "pad_token_id")
    return types.SimpleNamespace(tokenizer=types.SimpleNamespace(**{name: marks.get(name) for name in names}))


@pytest.mark.parametrize(
    ("encode", "tokens", "wanted"),
    [
        (stub(cls_token_id=2, sep_token_id=3, pad_token_id=0), [2, 7, 8, 3, 0, 0], "011100"),  # BERT
        (
            stub(cls_token_id=2, sep_token_id=3, pad_token_id=0),
            [2, 7, 8, 0, 0, 0],
            "011000",
        ),  # without its end
        (stub(eos_token_id=1, pad_token_id=1), [7, 8, 1, 1, 1, 1], "111000"),  # SigLIP pads with the end
        (stub(bos_token_id=2, eos_token_id=1, pad_token_id=0), [2, 7, 1, 0, 0, 0], "011000"),
        (
            types.SimpleNamespace(sot_token_id=8, eot_token_id=9),
            [8, 0, 5, 9, 0, 0],
            "011100",
        ),  # CLIP: 0 is "!"
    ],
)
def test_which_tokens_are_words(encode, tokens, wanted):
    present = Tokenizer(encode, 6).present(torch.tensor([tokens]))
    assert "".join(str(int(each)) for each in present[0]) == wanted


def test_trimming_by_hand():
    vectors = torch.arange(1.0, 11.0).reshape(2, 5, 1)
    present = torch.tensor([[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]]).bool()
    words = trim(vectors, present, torch.zeros(2, 1))
    assert words.vectors.squeeze(-1).tolist() == [[2, 3], [7, 0]]
    assert words.present.tolist() == [[True, True], [True, False]]
    chosen = words.rows(torch.tensor([1, 1, 1]))
    assert isinstance(chosen, Words)
    assert chosen.vectors.flatten().tolist() == [7, 7, 7] and chosen.sentence.shape == (3, 1)


@torch.no_grad()
def test_towers_that_norm_or_project_in_their_own_way():
    torch.manual_seed(0)
    sizes = {
        "context_length": 6,
        "vocab_size": 50,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "output_tokens": True,
    }
    tokens = torch.tensor([[8, 5, 9, 0, 0, 0]])
    coca = open_clip.transformer.TextTransformer(**sizes, output_dim=4, embed_cls=True).eval()
    states = coca(tokens)[1]
    wanted = coca.ln_final(states) @ coca.text_projection
    torch.testing.assert_close(project_words(coca, states), wanted)
    biased = open_clip.transformer.TextTransformer(
        **sizes, output_dim=4, proj_bias=True, pool_type="last"
    ).eval()
    pooled, states = biased(tokens)
    torch.testing.assert_close(project_words(biased, states)[:, -1], pooled)
    bare = open_clip.transformer.TextTransformer(**sizes, output_dim=16, proj_type="none").eval()
    assert project_words(bare, states) is states


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A whole open_clip network's state dict, and that network."""
    from pgsam_monai.networks.text.clip_models import find_clip_model

    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "clip.pt"
    network = open_clip.CLIP(**find_clip_model("clip_tiny", cache=path.parent).config).eval()
    torch.save(network.state_dict(), path)
    return path, network


@torch.no_grad()
def test_without_an_image_tower_whole_weights_still_load(file):
    path, network = file
    clip = make(weights=str(path))
    tokens = clip.tokenize(TEXTS)
    torch.testing.assert_close(clip.encode_text(tokens), network.encode_text(tokens), atol=1e-5, rtol=1e-5)
    both = make(weights=str(path), towers="both", image_tower=True)
    torch.testing.assert_close(clip.encode_words(tokens), both.encode_words(tokens), atol=0, rtol=0)
    kept = set(both.state_dict()) - set(clip.state_dict())
    assert kept and all(name.startswith(("image_tower.", "pixel_")) for name in kept)
    again = make()
    again.load_state_dict(clip.state_dict())
    torch.testing.assert_close(again.encode_text(tokens), clip.encode_text(tokens), atol=0, rtol=0)


@pytest.mark.parametrize("training", ["frozen", "lora", "full"])
def test_without_an_image_tower_training_is_the_text_towers(training, biomedclip_folder):
    for model in ("clip_tiny", f"local-dir:{biomedclip_folder}"):
        clip = make(model, training=training).train()
        assert clip.text_tower.training == (training != "frozen")
        assert any(value.requires_grad for value in clip.parameters()) == (training != "frozen")
        assert not any(isinstance(child, nn.Conv2d) for child in clip.modules())


def test_what_an_image_tower_is_needed_for(clip):
    with pytest.raises(ValueError, match="no image tower; build ClipTowers with image_tower=True"):
        clip.encode_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        ValueError, match="clip_towers must be 'text' where there is no image tower, got 'both'"
    ):
        make(towers="both")
