"""Over a socket, and what `pgsam click` checks."""

import http.client
import inspect
import threading

import numpy as np
import pytest
from answering_network import draw_blocks
from slicer_client import SlicerClient

from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands import main as cli
from pgsam_monai.commands.click import click
from pgsam_monai.nninteractive import answering as answering_module
from pgsam_monai.nninteractive import serving

IMAGE, LABEL = (array.transpose() for array in draw_blocks())


@pytest.fixture
def server(answering):
    with serving.make_click_server(answering, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client_of(server, prefix=""):
    def post(path, body, headers):
        line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        line.request("POST", path, body, headers)
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()

    return SlicerClient(post, prefix)


def test_it_answers_two_at_once(server):
    """Each sees its own clicks, whatever the other does meanwhile."""
    places, found = {"/anna": ([3, 8, 10], 3), "/ben": ([4, 20, 28], 7)}, {}

    def work(prefix, place):
        client = client_of(server, prefix)
        client.upload_image(IMAGE)
        client.upload_segment(np.zeros(IMAGE.shape, bool))
        found[prefix] = [client.point(place) for _ in range(3)][-1]

    threads = [threading.Thread(target=work, args=(prefix, place)) for prefix, (place, _) in places.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for prefix, (_, value) in places.items():
        assert (found[prefix] & (LABEL == value)).sum() > 0.8 * (LABEL == value).sum()
        assert not (found[prefix] & (LABEL == 10 - value)).any()


def test_it_lives_on_after_noise(server):
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    line.connect()
    line.sock.sendall(b"\x00\xff no request at all\r\n\r\n")
    line.close()
    assert client_of(server).upload_image(IMAGE) == {"status": "ok"}


def test_it_listens_to_this_machine_and_where_the_extension_looks(server):
    assert server.server_address[0] == "127.0.0.1"
    for command in (click, serving.make_click_server):
        defaults = inspect.signature(command).parameters
        assert defaults["host"].default == "127.0.0.1" and defaults["port"].default == serving.PORT == 1527
    assert serving.Handler.timeout == serving.PATIENCE_S


def test_a_port_in_use_is_told_before_anything_is_loaded(server, monkeypatch):
    monkeypatch.setattr(answering_module, "load_answering", pytest.fail)
    with pytest.raises(SystemExit, match=f"Port {server.server_port} of 127.0.0.1 is in use"):
        cli.main(["click", "--port", str(server.server_port)])
    with pytest.raises(UserFault, match="--port takes a whole number"):
        serving.require_address("127.0.0.1", 0)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_others_are_warned_of(answering, monkeypatch, capsys, host, warned):
    made = serving.make_click_server(answering, host="127.0.0.1", port=0)
    monkeypatch.setattr(made, "serve_forever", lambda: None)
    monkeypatch.setattr(serving, "make_click_server", lambda *_, **__: made)
    serving.serve(answering, host=host, port=1527)
    out, err = capsys.readouterr()
    assert ("warning: 0.0.0.0 is reached from other machines" in err) == warned
    assert f"http://{host}:{made.server_port}" in out and "module 'nnInteractive'" in out


def test_the_command_reads_its_words(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        answering_module, "load_answering", lambda *words, **named: asked.update(answers=words, **named)
    )
    monkeypatch.setattr(serving, "serve", lambda answering, **named: asked.update(named))
    monkeypatch.setattr(serving, "require_address", lambda *_: None)
    cli.main(
        [
            "click",
            "lite_medsam",
            "--window=-160,240",
            "--spacing",
            "0.8,0.8,3",
            "--port",
            "1600",
            "--plane",
            "coronal",
        ]
    )
    assert asked == {
        "answers": ("lite_medsam",), "label": None, "window": (-160, 240), "orientation": "LPS",
        "spacing": (0.8, 0.8, 3), "propagate": True, "plane": "coronal", "device": None, "host": "127.0.0.1",
        "port": 1600,
    }  # fmt: skip
