import time

import pytest
from chat_server import GOOD, ChatServer, as_json, completion

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.answers import BadAnswer
from pgsam_monai.texts.asking import ask_for_text
from pgsam_monai.texts.endpoint import Endpoint, read_api_key

TALK = [{"role": "user", "content": "Describe the spleen."}]
KEY = "sk-very-secret-123"


def endpoint(server, **options):
    return Endpoint(server.address, "tiny", backoff_s=0.01, **options)


def ask(asker, attempts=3):
    return ask_for_text(asker, TALK, attempts=attempts, clip_tokens=None)


def test_a_request_holds_the_schema_and_nothing_unasked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a server on this machine is asked past the proxy
    with ChatServer() as server:
        assert ask(endpoint(server)) == GOOD
    (request,) = server.requests
    assert set(request) == {"model", "messages", "temperature", "seed", "max_tokens", "response_format"}
    assert request["messages"] == TALK
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["text"]
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_without_schemas_is_asked_plainly_from_then_on(status):
    with ChatServer((status, {}, '{"error": "response_format"}')) as server:
        asker = endpoint(server)
        assert [ask(asker), ask(asker)] == [GOOD, GOOD]
    assert [set(request) > {"model", "messages"} for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_a_busy_or_broken_server_is_asked_again(status):
    with ChatServer((status, {}, "later")) as server:
        assert ask(endpoint(server)) == GOOD
    assert len(server.requests) == 2
    assert server.requests[0] == server.requests[1]


def test_retry_after_is_heeded():
    with ChatServer((429, {"Retry-After": "1"}, "slowly")) as server:
        started = time.monotonic()
        assert ask(endpoint(server)) == GOOD
    assert time.monotonic() - started >= 1


def test_a_bad_answer_is_told_its_fault_and_mended():
    with ChatServer("Here you are: it is grey.", as_json("too short"), as_json(GOOD)) as server:
        assert ask(endpoint(server)) == GOOD
    second, third = (request["messages"] for request in server.requests[1:])
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    assert second[1]["content"] == "Here you are: it is grey."
    assert "no JSON object" in second[2]["content"]
    assert len(third) == 3 and "has 2 words" in third[2]["content"]


def test_attempts_are_counted_and_an_empty_answer_is_bad():
    with ChatServer(*[(200, {}, completion(None))] * 3) as server:
        with pytest.raises(BadAnswer, match="no JSON object"):
            ask(endpoint(server), attempts=3)
    assert len(server.requests) == 3


def test_faults_of_the_server_are_sentences():
    plays = [
        ((404, {}, ""), "has no model 'tiny'; it offers: tiny, small."),
        ((401, {}, f"bad {KEY}"), "another API key .401, the key given was refused"),
        ((200, {}, "<html>login</html>"), "does not answer like an OpenAI-compatible server .got: <html>"),
        ((200, {}, '{"choices": []}'), "does not answer like"),
        ((418, {}, f"no tea for {KEY}"), r"answers 418 for model 'tiny'; it says: no tea for \(key\)$"),
        ((307, {"Location": "http://192.0.2.1/v1"}, ""), "redirects to http://192.0.2.1/v1, which is not followed"),
    ]  # fmt: skip
    with ChatServer(*[play for play, _ in plays]) as server:
        for _, said in plays:
            with pytest.raises(UserFault, match=said) as caught:
                ask(endpoint(server, api_key=KEY))
            assert KEY not in str(caught.value)
    assert len(server.requests) == len(plays)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_wrong_path_says_where_the_api_usually_is():
    with ChatServer() as server, pytest.raises(UserFault, match="lists no models; .* ends in /v1"):
        ask(Endpoint(f"http://{server.host}/api", "tiny", backoff_s=0.01))


def test_a_server_that_stays_busy_or_away_is_given_up():
    with ChatServer(*[(503, {}, "loading")] * 9) as server:
        with pytest.raises(UserFault, match="answers 503 .* it says: loading"):
            ask(endpoint(server, retries=2))
        assert len(server.requests) == 3
    with pytest.raises(UserFault, match="can't be reached .*refused; tried up to 2 times.; start the server"):
        ask(endpoint(server, retries=1))


def test_netrc_is_not_read(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ChatServer() as server:
        asker = endpoint(server)
        asker._session.trust_env = True  # as for another machine
        monkeypatch.setenv("no_proxy", "*")
        assert ask(asker) == GOOD
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "address",
    [
        "localhost:11434/v1",
        "ftp://host/v1",
        "http://",
        "http://me:pass@host/v1",
        "http://h/v1?key=1",
        "http://h:x/",
    ],
)
def test_addresses_are_checked(address):
    with pytest.raises(UserFault, match="--endpoint must be an address such as") as caught:
        Endpoint(address, "tiny")
    assert "pass@" not in str(caught.value)


def test_the_key_comes_from_file_or_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert read_api_key(None) == (KEY, "OPENAI_API_KEY")
    file = tmp_path / "key"
    file.write_text("other\n")
    assert read_api_key(str(file)) == ("other", str(file))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert read_api_key(None) == (None, "")
    file.write_text("\n")
    for name, said in ((str(file), "is empty"), (str(tmp_path / "none"), "can't be read .No such file")):
        with pytest.raises(UserFault, match=said):
            read_api_key(name)
    with pytest.raises(UserFault, match="must be one word") as caught:
        Endpoint("http://localhost/v1", "tiny", api_key="two words")
    assert "two" not in str(caught.value)
