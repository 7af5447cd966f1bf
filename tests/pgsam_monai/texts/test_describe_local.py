"""Real models of `transformers`, tiny: one with random weights, one taught a single answer."""

import json
import shutil

import pytest
import torch
from chat_server import GOOD, as_json, texts_of, write_text_bundle

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.describe import describe
from pgsam_monai.texts.local_model import LocalModel
from pgsam_monai.texts.questions import ask_about, read_subject
from pgsam_monai.texts.wishes import ModelChoice, Wishes

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}<assistant>"
LABEL = "spleen"


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    subject = read_subject(write_text_bundle(tmp_path_factory.mktemp("asked") / "pgsam_some"))
    return list(ask_about(subject, LABEL).messages)


def save_tokenizer(folder, texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<eos>", "<user>", "<assistant>"]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    wrapped.save_pretrained(folder)
    return wrapped


def make_network(size=32, context=2048, vocab=500):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=size, intermediate_size=2 * size, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=vocab, max_position_embeddings=context, bos_token_id=None, eos_token_id=0,
        pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, question):
    folder = tmp_path_factory.mktemp("untrained")
    save_tokenizer(folder, [question[0]["content"]])
    make_network().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory, question):
    """Knows one answer by heart; its tokenizer has a chat template."""
    folder = tmp_path_factory.mktemp("taught")
    answer = as_json(GOOD)
    tokenizer = save_tokenizer(folder, [question[0]["content"], answer])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    network = make_network()
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True)["input_ids"]
    wanted = tokenizer(answer + "<eos>")["input_ids"]
    tokens = torch.tensor([asked + wanted])
    labels = torch.tensor([[-100] * len(asked) + wanted])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = network(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "pgsam_some")


def test_a_taught_model_writes_the_text(bundle, taught):
    said = []
    describe(bundle, ModelChoice(local=str(taught)), Wishes(classes=(LABEL,)), say=said.append)
    assert GOOD in str(texts_of(bundle)[LABEL])
    assert "on this machine; nothing is sent." in said[0]
    cache = json.loads((bundle / "configs/texts_cache.json").read_text())
    assert [entry["text"] for entry in cache.values()] == [GOOD]


def test_random_weights_fail_the_schema_and_change_nothing(bundle, untrained):
    before = (bundle / "configs/texts.json").read_bytes()
    with pytest.raises(UserFault, match="1 of 1 classes keep their old text. 'spleen': The answer"):
        describe(bundle, ModelChoice(local=str(untrained)), Wishes(classes=(LABEL,)), attempts=2, say=str)
    assert (bundle / "configs/texts.json").read_bytes() == before


def test_answers_repeat_and_leave_the_random_numbers_alone(untrained, question):
    model = LocalModel(untrained, max_new_tokens=8)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second = model.ask(question), model.ask(question)
    assert torch.equal(torch.rand(1), expected)
    assert first == second != ""


def test_a_request_beyond_the_context_is_told(untrained, tmp_path, question):
    shutil.copytree(untrained, tmp_path / "short")
    make_network(context=64).save_pretrained(tmp_path / "short")
    with pytest.raises(UserFault, match="tokens and leaves less than 256 .* in the 64"):
        LocalModel(tmp_path / "short").ask(question)


def test_folders_without_a_usable_model_are_told(untrained, tmp_path):
    with pytest.raises(UserFault, match="no transformers model .no config.json"):
        LocalModel(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    shutil.copytree(untrained, bare)
    state = make_network().state_dict()
    (bare / "model.safetensors").unlink()
    torch.save(state, bare / "pytorch_model.bin")
    with pytest.raises(UserFault, match="can't be loaded .* no file named model.safetensors"):
        LocalModel(bare)


def test_missing_weights_are_not_made_up(untrained, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "part"
    shutil.copytree(untrained, folder)
    state = load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserFault, match="lacks weights .*lm_head.weight, 1 in all"):
        LocalModel(folder)


def test_code_in_the_folder_is_not_run(untrained, tmp_path):
    folder = tmp_path / "coded"
    shutil.copytree(untrained, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Net"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserFault, match="custom code which must be executed"):
        LocalModel(folder)
    assert not (tmp_path / "ran").exists()
