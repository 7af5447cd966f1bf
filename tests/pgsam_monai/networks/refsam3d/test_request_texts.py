"""What can be asked in training, what is encoded once, and that names are nothing but names."""

import copy

import pytest
import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d.requests import Requests
from pgsam_monai.networks.refsam3d.texts import RequestTexts, SentenceRequests
from pgsam_monai.networks.text import sentences
from pgsam_monai.networks.text.class_texts import ClassTexts
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.traced import fix_texts

TEXTS = [["surroundings"], ["The liver, on the right."], ["The spleen, on the left.", "A small organ."]]
NAMES = ["background", "liver", "spleen"]
ASK = ("find {name}", "{name} or not {name}")


def make_clip(training="frozen"):
    torch.manual_seed(0)
    return ClipTowers(
        model="clip_tiny", weights=None, training=training, towers="text", rank=2, image_tower=False
    )


@pytest.fixture(scope="module")
def clip():
    return make_clip().eval()


@pytest.fixture
def calls(clip):
    """How many texts each pass of the text tower has read."""
    counts = []
    hook = clip.text_tower.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    yield counts
    hook.remove()


def make(clip, texts=TEXTS, names=NAMES):
    return RequestTexts(
        texts, Requests(texts, names, templates=ASK), clip.tokenize, num_classes=len(texts) - 1
    )


def one(words, index):
    """Text ``index`` without what fills up its row."""
    return words.vectors[index][words.present[index]]


@torch.no_grad()
def test_class_sentences_are_those_of_class_texts_and_kept(clip, calls):
    texts = make(clip)
    wanted = ClassTexts(TEXTS, clip.tokenize, num_classes=2)(clip)
    torch.testing.assert_close(texts(clip), wanted, atol=0, rtol=0)
    assert texts(clip) is texts(clip)
    assert calls == [4, 4]
    assert not texts.state_dict()


@torch.no_grad()
def test_requests_are_the_class_s_own_and_all_of_them_are_drawn(clip, calls):
    texts = make(clip)
    own = {
        1: [*TEXTS[1], "find liver", "liver or not liver"],
        2: [*TEXTS[2], "find spleen", "spleen or not spleen"],
    }
    torch.manual_seed(0)
    drawn = {1: [0, 0, 0], 2: [0, 0, 0, 0]}
    wanted = {index: clip.encode_words(clip.tokenize(requests)) for index, requests in own.items()}
    calls.clear()
    for _ in range(100):
        words = texts.asked(clip, torch.tensor([2, 1]))
        for row, index in enumerate((2, 1)):
            (match,) = (
                number
                for number, sentence in enumerate(wanted[index].sentence)
                if torch.allclose(sentence, words.sentence[row], atol=1e-5)
            )
            torch.testing.assert_close(one(words, row), one(wanted[index], match), atol=1e-5, rtol=1e-4)
            drawn[index][match] += 1
        assert words.present.any(dim=0).all()
    assert calls == [8], "all requests are encoded once"
    assert all(15 <= count <= 50 for counts in drawn.values() for count in counts), drawn


@torch.no_grad()
def test_the_same_seed_asks_the_same(clip):
    texts, classes = make(clip), torch.tensor([1, 2, 2])

    def sentences():
        torch.manual_seed(3)
        return torch.stack([texts.asked(clip, classes).sentence for _ in range(5)])

    torch.testing.assert_close(sentences(), sentences(), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["{}", "{name}", "$name {0} %s", "left {kidney", r"\1 \g<0>", "@label::#1"])
@torch.no_grad()
def test_names_are_data(clip, name):
    texts = make(clip, texts=[["a"], ["b"]], names=["{background}", name])
    wanted = clip.tokenize(["a", "b", f"find {name}", f"{name} or not {name}"])
    assert torch.equal(texts.request_tokens, wanted)


@torch.no_grad()
def test_free_texts_are_encoded_once_until_another_is_asked(clip, calls):
    texts = make(clip)
    words = texts.free(clip, ["where is the left kidney?"])
    texts.free(clip, ["where is the left kidney?"])
    assert calls == [1]
    wanted = clip.encode_words(clip.tokenize(["where is the left kidney?"]))
    torch.testing.assert_close(words.vectors, wanted.vectors, atol=0, rtol=0)
    both = texts.free(clip, ["spleen", "where is the left kidney?"])
    assert calls == [1, 1, 2]
    torch.testing.assert_close(one(both, 1), one(wanted, 0), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_other_weights_are_other_words():
    clip = make_clip().eval()
    texts, classes = make(clip, texts=[["a"], ["b"]], names=["c", "d"]), torch.tensor([1])

    def answers():
        torch.manual_seed(0)
        return texts(clip), texts.asked(clip, classes).vectors, texts.free(clip, ["e"]).vectors

    before = answers()
    clip.text_tower.ln_final.weight[:64].mul_(2)
    assert all((one - two).abs().max() > 1e-3 for one, two in zip(answers(), before, strict=True))
    kept = answers()
    texts.forget()
    for one_again, two in zip(answers(), kept, strict=True):
        torch.testing.assert_close(one_again, two, atol=0, rtol=0)


def test_a_text_tower_that_is_trained_reads_what_is_asked_and_learns():
    clip = make_clip("lora").train()
    texts = make(clip)
    seen = []
    clip.text_tower.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    for _ in range(2):
        words = texts.asked(clip, torch.tensor([1, 2, 1]))
    assert seen == [3, 3]
    (words.vectors.square().sum() + words.sentence.square().sum()).backward()
    assert all(value.grad is not None for value in clip.parameters() if value.requires_grad)


@torch.no_grad()
def test_exports_keep_the_sentences_only(clip):
    network = torch.nn.Module()
    network.clip, network.texts = copy.deepcopy(clip), make(clip)
    wanted = network.texts(network.clip)
    fix_texts(network)
    torch.testing.assert_close(network.texts(network.clip), wanted, atol=0, rtol=0)
    assert not list(network.clip.text_tower.parameters())


@torch.no_grad()
def test_drawn_sentences_are_one_request_of_each_class(clip):
    texts = make(clip)
    own = [
        TEXTS[0],
        [*TEXTS[1], *(template.replace("{name}", "liver") for template in ASK)],
        [*TEXTS[2], *(template.replace("{name}", "spleen") for template in ASK)],
    ]
    known = [
        torch.nn.functional.normalize(clip.encode_text(clip.tokenize(several)), dim=-1) for several in own
    ]
    torch.manual_seed(0)
    seen = [set() for _ in own]
    for _ in range(60):
        drawn = texts.drawn(clip)
        assert drawn.shape == (3, clip.dim)
        for index, sentence in enumerate(drawn):
            distances = (known[index] - sentence).norm(dim=1)
            assert distances.min() < 1e-5
            seen[index].add(int(distances.argmin()))
    assert [len(numbers) for numbers in seen] == [len(several) for several in own]
    torch.manual_seed(1)
    once = texts.drawn(clip)
    torch.manual_seed(1)
    torch.testing.assert_close(texts.drawn(clip), once)


def test_drawn_sentences_teach_a_trained_tower():
    clip = make_clip("full")
    make(clip).drawn(clip).sum().backward()
    assert any(
        parameter.grad is not None and parameter.grad.abs().max() > 0
        for parameter in clip.text_tower.parameters()
    )


def read_by_sentences(file, names=NAMES):
    requests = Requests(TEXTS, names, templates=ASK)
    return SentenceRequests(TEXTS, requests, "letters", num_classes=2, file=str(file))


def test_a_sentence_encoder_is_asked_once_and_needed_for_free_texts_alone(asked, tmp_path, monkeypatch):
    file = tmp_path / "embeddings.safetensors"
    texts = read_by_sentences(file)
    assert asked == [text for entry in TEXTS for text in entry] and not texts.state_dict()
    words = texts.asked(None, torch.tensor([2, 1]))
    assert set(asked) == set(texts.requests.texts) and len(asked) == 2 * 4 + 4
    assert words.vectors.shape[2] == 26 and words.present.any(dim=0).all()

    def refuse(missing, encoder):
        raise UserFault(f"no encoder for {missing}")

    monkeypatch.setattr(sentences, "_encode", refuse)
    monkeypatch.setattr(sentences, "_encode_words", refuse)
    again = read_by_sentences(file)
    torch.manual_seed(0)
    drawn, several = again.drawn(None), again.asked(None, torch.tensor([1, 2, 1]))
    torch.manual_seed(0)
    assert torch.equal(texts.drawn(None), drawn)
    assert torch.equal(texts.asked(None, torch.tensor([1, 2, 1])).vectors, several.vectors)
    assert again.free(None, ["find liver"]).present.tolist() == [[True, True]], (
        "a request of training is known"
    )
    with pytest.raises(UserFault, match="where is it"):
        again.free(None, ["where is it"])


def test_free_texts_come_word_by_word_and_are_kept_in_no_file(asked, tmp_path):
    file = tmp_path / "embeddings.safetensors"
    texts = read_by_sentences(file)
    before = file.read_bytes()
    words = texts.free(None, ["ab b", "cc"])
    texts.free(None, ["ab b", "cc"])
    assert asked[4:] == ["ab b", "cc"] and file.read_bytes() == before
    assert words.present.tolist() == [[True, True], [True, False]]
    assert words.vectors[0, :, :3].tolist() == [[1, 1, 0], [0, 1, 0]]
    assert not words.vectors[1, 1].any()
    assert words.sentence[0, :3].tolist() == pytest.approx([5**-0.5, 2 * 5**-0.5, 0])
