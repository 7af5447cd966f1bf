import json

import pytest
from chat_server import GOOD, NAMES, ChatServer, as_json, texts_of, write_text_bundle

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.describe import describe
from pgsam_monai.texts.endpoint import Endpoint
from pgsam_monai.texts.wishes import ModelChoice, Wishes

KEY = "sk-very-secret-123"


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "pgsam_some")


def run(bundle, server, *, model="tiny", said=None, **wishes):
    def quick(choice):
        return Endpoint(choice.endpoint, choice.model, backoff_s=0.01, retries=2)

    choice = ModelChoice(endpoint=server.address, model=model)
    say = (lambda line: None) if said is None else said.append
    return describe(bundle, choice, Wishes(**wishes), make_asker=quick, say=say)


def sentence(request):
    """A good answer that tells which class was asked about."""
    name = request["messages"][0]["content"].split("Structure: ")[1].split("\n")[0]
    return as_json(f"The {name} is a smooth grey oval on CT images.")


def test_every_class_but_the_background_gets_its_text(bundle):
    before, said = texts_of(bundle), []
    with ChatServer(*[sentence] * 3) as server:
        file = run(bundle, server, said=said, instructions="Name the vessels.")
    texts = texts_of(bundle)
    assert file == bundle / "configs/texts.json"
    assert list(texts) == NAMES
    assert texts["background"] == before["background"]
    for name in NAMES[1:]:
        assert name in str(texts[name]) and "smooth grey oval" in str(texts[name])
    assert json.loads((bundle / "configs/texts.json.bak").read_text()) == before
    assert "3 requests to model 'tiny' at 127.0.0.1" in said[0] and "this machine" in said[0]
    assert "Sent: class names, their texts, modality, plane, your instructions; no images." in said[0]


def test_a_request_tells_all_that_is_known_and_no_more(bundle):
    with ChatServer() as server:
        run(bundle, server, classes=("left kidney",), instructions="Name the vessels.")
    (asked,) = server.asked()
    for word in ("left kidney", "spleen, unheard thing", "The left kidney on CT.", "(CT), axial slices", "right is on",
                 "Also heed: Name the vessels.", "50 words", '{"text": "the sentence"}'):  # fmt: skip
        assert word in asked, word
    assert str(bundle.parent) not in json.dumps(server.requests)
    assert "Often taken for it by mistake: right kidney in mirrored images, " in asked


def test_the_background_is_described_when_named(bundle):
    with ChatServer() as server:
        run(bundle, server, classes=("background",))
    assert len(server.requests) == 1
    assert GOOD in str(texts_of(bundle)["background"])


def test_appended_texts_stand_beside_the_old_ones(bundle):
    with ChatServer() as server:
        run(bundle, server, classes=("spleen",), append=True)
    assert texts_of(bundle)["spleen"] == ["The spleen on CT.", GOOD]


def test_one_class_that_never_succeeds_keeps_its_text(bundle):
    def never_the_spleen(request):
        return (
            "It is grey." if "Structure: spleen" in request["messages"][0]["content"] else sentence(request)
        )

    with ChatServer(*[never_the_spleen] * 9) as server:
        with pytest.raises(UserFault, match="1 of 3 classes .*'spleen': .*no JSON.*--classes \"spleen\""):
            run(bundle, server)
    assert len(server.requests) == 1 + 3 + 1
    texts = texts_of(bundle)
    assert "The spleen on CT." in str(texts["spleen"])
    assert "smooth grey oval" in str(texts["left kidney"]) and "smooth grey oval" in str(
        texts["unheard thing"]
    )


def test_a_server_that_dies_and_comes_back_is_asked_the_rest_only(bundle):
    before = (bundle / "configs/texts.json").read_bytes()
    with ChatServer(sentence, (401, {}, "no more"), sentence, sentence) as server:
        with pytest.raises(UserFault, match="wants another API key.* Answers so far are kept"):
            run(bundle, server)
        assert (bundle / "configs/texts.json").read_bytes() == before
        said = []
        run(bundle, server, said=said)
    assert "3 requests (1 answered before)" in said[0]
    assert len(server.requests) == 4
    assert "unheard thing is a smooth" in str(texts_of(bundle)["unheard thing"])


def test_an_interrupted_run_asks_nothing_twice(bundle):
    class Interrupted(Endpoint):
        def ask(self, messages):
            if len(server.requests) == 2:
                raise KeyboardInterrupt
            return super().ask(messages)

    with ChatServer(*[sentence] * 3) as server:
        choice = ModelChoice(endpoint=server.address, model="tiny")
        with pytest.raises(KeyboardInterrupt):
            describe(bundle, choice, Wishes(), make_asker=lambda c: Interrupted(c.endpoint, c.model), say=str)
        assert not (bundle / "configs/texts.json.bak").exists()
        run(bundle, server)
    assert [asked.split("Structure: ")[1].split("\n")[0] for asked in server.asked()] == NAMES[1:]
    assert sorted(path.name for path in (bundle / "configs").iterdir()) == [
        "plan.json", "texts.json", "texts.json.bak", "texts_cache.json",
    ]  # fmt: skip


def test_another_model_or_other_instructions_are_other_requests(bundle):
    before = (bundle / "configs/texts.json").read_bytes()
    with ChatServer() as server:
        for wishes in ({}, {}, {"model": "small"}, {"instructions": "Briefly."}):
            (bundle / "configs/texts.json").write_bytes(before)
            run(bundle, server, classes=("spleen",), **wishes)
    assert len(server.requests) == 3


def test_the_key_is_named_by_its_source_and_kept_nowhere(bundle, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatServer() as server:
        describe(bundle, ModelChoice(endpoint=server.address, model="tiny"), Wishes(classes=("spleen",)))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    shown = capsys.readouterr()
    assert "the API key from OPENAI_API_KEY" in shown.out
    assert KEY not in shown.out + shown.err
    assert not any(KEY in file.read_text() for file in (bundle / "configs").iterdir())


def test_another_machine_is_named_and_plain_http_warned_of(bundle):
    said = []
    choice = ModelChoice(endpoint="http://llm.example.org:8000/v1", model="tiny")
    assert describe(bundle, choice, Wishes(dry_run=True), say=said.append) is None
    assert "at llm.example.org:8000 (another machine)" in said[0]
    assert "not encrypted" in said[0]
    assert len(said) == 1 + 3 and "--- left kidney" in said[1]


def test_nothing_is_sent_before_an_endpoint_is_named(bundle, monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = {path: path.read_bytes() for path in (bundle / "configs").iterdir()}
    with pytest.raises(UserFault, match="asks no model of its own accord"):
        describe(bundle, ModelChoice(), Wishes(), say=str)
    describe(bundle, ModelChoice(), Wishes(dry_run=True), say=str)
    describe(bundle, ModelChoice(endpoint="http://h.example/v1", model="m"), Wishes(dry_run=True), say=str)
    assert {path: path.read_bytes() for path in (bundle / "configs").iterdir()} == before


HERE = {"endpoint": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("choice", "wishes", "said"),
    [
        ({**HERE, "model": "m", "local": "/m"}, {}, "either --endpoint or --local"),
        (HERE, {}, "--endpoint needs --model"),
        ({"local": "/m"}, {"pictures": 2}, "--pictures needs a model that sees"),
        ({"local": "/m"}, {"each": "case"}, "--each case needs a model that sees"),
        ({**HERE, "model": "m"}, {"pictures": -1}, "0 or more, got -1"),
        ({**HERE, "model": "m"}, {"each": "slices"}, "--each is case or slice, got 'slices'.* mean 'slice'"),
        ({**HERE, "model": "m"}, {"each": "case", "pictures": 2}, "give one"),
        ({**HERE, "model": "m"}, {"classes": ("spleeen",)}, "no class 'spleeen'. Did you mean 'spleen'"),
        ({**HERE, "model": "m", "api_key_file": "/none"}, {}, "--api_key_file '/none' can't be read"),
    ],
)
def test_wishes_that_can_not_be_met_are_told(bundle, choice, wishes, said):
    with pytest.raises(UserFault, match=said):
        describe(bundle, ModelChoice(**choice), Wishes(**wishes), say=str)


def test_bundles_without_texts_are_told(bundle):
    choice = ModelChoice(**HERE, model="m")
    (bundle / "configs/texts.json").unlink()
    with pytest.raises(UserFault, match="has no configs/texts.json: its network reads no text"):
        describe(bundle, choice, Wishes(), say=str)
    with pytest.raises(UserFault, match="is no bundle"):
        describe(bundle.parent, choice, Wishes(), say=str)


def test_a_damaged_store_of_answers_is_told(bundle):
    (bundle / "configs/texts_cache.json").write_text('{"a": {"text": 3}}')
    with ChatServer() as server, pytest.raises(UserFault, match="is damaged .*delete it"):
        run(bundle, server)
    assert not server.requests
