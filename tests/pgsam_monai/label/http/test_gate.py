import asyncio
import json
from types import SimpleNamespace

import pytest

from pgsam_monai.label.http import bodies
from pgsam_monai.label.http.bodies import Bodies
from pgsam_monai.label.http.gate import Gate


async def echo(scope, receive, send):
    """Reads all of the body, as a server's application does, and tells its length."""
    taken, more = 0, True
    while more:
        message = await receive()
        taken, more = taken + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(taken).encode()})


async def forgiving(scope, receive, send):
    """Takes what goes wrong while it reads for the client's fault, as FastAPI does."""
    try:
        await echo(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"There was an error parsing the body"})


def ask(gate, headers, pieces=(b"",), method="POST"):
    """Status and body of a request in pieces."""
    waiting, sent = list(pieces), []

    async def receive():
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(gate(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"].decode()


HOST = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.8.0.1", ""])
def test_programs_of_this_machine_are_let_in(host):
    assert ask(Gate(inside=echo), {"host": host}, [b"abc"]) == (200, "3")


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "10.0.0.1"]
)
def test_a_strangers_name_for_this_machine_is_refused(host):
    status, body = ask(Gate(inside=echo), {"host": host})
    assert status == 403 and f"not called '{host}'" in json.loads(body)["detail"]
    assert ask(Gate(inside=echo, only_loopback=False), {"host": host})[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://127.0.0.1:8000",
        "https://[::1]",
        "https://viewer.example.org",
        "http://127.0.0.1",
    ],
)
def test_pages_that_may_ask(origin):
    gate = Gate(inside=echo, origins=["https://viewer.example.org"])
    assert ask(gate, HOST | {"origin": origin})[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "https://viewer.example.org:444",
     "http://viewer.example.org", "file://", "http://127.0.0.1@evil.example", "http://[", ""],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_that_may_not(origin, method):
    gate = Gate(inside=echo, origins=["https://viewer.example.org"])
    status, body = ask(gate, HOST | {"origin": origin}, method=method)
    assert status == 403 and "--allow_origin" in json.loads(body)["detail"]


def test_pages_of_the_server_itself_by_the_name_that_it_was_given():
    gate = Gate(inside=echo, origins=["https://label.example.org"])
    assert ask(gate, {"host": "label.example.org", "origin": "https://label.example.org"})[0] == 200
    beyond = Gate(inside=echo, only_loopback=False)
    assert ask(beyond, {"host": "scanner:8000", "origin": "http://scanner:8000"})[0] == 200
    assert ask(beyond, {"host": "scanner:8000", "origin": "http://other:8000"})[0] == 403


@pytest.mark.parametrize("inside", [echo, forgiving])
def test_large_uploads(inside):
    gate = Gate(inside=inside, max_bytes=10)
    assert ask(gate, HOST | {"content-length": "10"}, [b"0123456789"]) == (200, "10")
    assert ask(gate, HOST | {"content-length": "11"}, [b"x" * 11])[0] == 413
    status, body = ask(gate, HOST, [b"01234", b"56789", b"x", b"thrown away"])
    assert status == 413 and "At most 0 MB are taken" in json.loads(body)["detail"]
    assert ask(gate, HOST, [b"01234", b"56789"]) == (200, "10")


def test_other_kinds_of_scope_pass():
    seen = []

    async def inside(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Gate(inside=inside)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_packed_bodies_are_not_taken():
    status, body = ask(Gate(inside=echo), {**HOST, "content-encoding": "gzip"})
    assert status == 415 and "without Content-Encoding" in body


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "٣"])
def test_a_length_that_is_no_number(length):
    assert Gate(inside=echo).refusal_of({**HOST, "content-length": length})[0] == 400


def test_what_holds_no_file_is_small():
    """It is kept in memory."""
    pieces = [bytes(1 << 20)] * 3
    assert ask(Gate(inside=echo), HOST, pieces)[0] == 413
    assert (
        ask(Gate(inside=echo), {**HOST, "content-type": "multipart/form-data; boundary=x"}, pieces)[0] == 200
    )


def test_a_full_disk_is_told_before_an_upload(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(total=1, free=600 * 10**6))
    upload = {**HOST, "content-type": "multipart/form-data; boundary=x"}
    assert Gate(inside=echo).refusal_of({**upload, "content-length": "200000000"})[0] == 507
    assert Gate(inside=echo).refusal_of({**upload, "content-length": "90000000"}) is None


def test_many_requests_under_way_are_enough():
    gate = Gate(inside=echo)
    gate.bodies.under_way = 256
    status, body = ask(gate, HOST)
    assert status == 503 and "ask again" in body and gate.bodies.under_way == 256


@pytest.mark.parametrize("pieces_a_second", [0, 100], ids=["silent", "drop by drop"])
def test_a_body_that_comes_too_slowly(monkeypatch, pieces_a_second):
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.2)
    monkeypatch.setattr(bodies, "LOOK_S", 0.02)
    sent, gate = [], Gate(inside=forgiving)

    async def receive():
        await asyncio.sleep(1 / pieces_a_second if pieces_a_second else 60)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(asyncio.wait_for(gate(scope, receive, send), 10))
    assert sent[0]["status"] == 408 and b"too slowly" in sent[1]["body"]
    assert gate.bodies == Bodies(under_way=0, coming=0)


def test_where_many_are_sending_patience_is_short():
    assert Bodies(coming=65).patience_s < Bodies(coming=64).patience_s


def test_an_inference_may_take_longer_than_a_body(monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.01)

    async def slow(scope, receive, send):
        await receive()
        await asyncio.sleep(0.1)
        await echo(scope, gone, send)

    async def gone():
        return {"type": "http.request", "body": b"", "more_body": False}

    assert ask(Gate(inside=slow), HOST, [b"x"])[0] == 200
