"""An OpenAI-compatible server on the loopback interface that plays what a test tells it, and a bundle to describe."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GOOD = "The organ is a smooth grey oval beside the spine on CT images."
NAMES = ["background", "left kidney", "spleen", "unheard thing"]


class ChatServer:
    """Answers each POST with the next of `plays`, and with a good text once they are used up.

    A play is an answer's text, a (status, headers, body) triple (status 0 hangs up), or a function of the request
    that gives either.
    """

    def __init__(self, *plays: Any, models: tuple[str, ...] = ("tiny", "small")):
        self.plays, self.models = list(plays), models
        self.requests: list[dict[str, Any]] = []
        """the body of each POST"""
        self.headers: list[dict[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.address = f"http://{self.host}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def asked(self) -> list[str]:
        """The words of each request's first message."""
        contents = [request["messages"][0]["content"] for request in self.requests]
        return [content if isinstance(content, str) else content[0]["text"] for content in contents]

    def play(self, request: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        play = self.plays.pop(0) if self.plays else as_json(GOOD)
        play = play(request) if callable(play) else play
        return play if isinstance(play, tuple) else (200, {}, completion(play))


def as_json(text: str) -> str:
    return json.dumps({"text": text})


def completion(content: str | None) -> str:
    """The body of a chat completion."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


def _handler(chat: ChatServer) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            listed = {"data": [{"id": name} for name in chat.models]}
            self.reply(*((200, {}, json.dumps(listed)) if self.path == "/v1/models" else (404, {}, "")))

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.headers.append(dict(self.headers))
            chat.requests.append(request)
            self.reply(*(chat.play(request) if self.path == "/v1/chat/completions" else (404, {}, "")))

        def reply(self, status: int, headers: dict[str, str], body: str) -> None:
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def write_text_bundle(folder: Path) -> Path:
    """The three files of a bundle that `describe` reads when it sends no picture."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    decisions = {
        "label_names": NAMES, "modality": "CT", "slice_axis": "axial", "orientation": "PLS",
    }  # fmt: skip
    plan = {
        "decisions": {name: {"value": value} for name, value in decisions.items()},
        # a hub's tower has its own tokenizer: loading CLIP's would take most of the tests' time
        "configurations": {"pgsam": {"clip_model": {"value": "hf-hub:someone/BiomedCLIP"}}},
    }
    (configs / "plan.json").write_text(json.dumps(plan))
    texts = {name: f"The {name} on CT." for name in NAMES}
    (configs / "texts.json").write_text(json.dumps(texts))
    return folder


def texts_of(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs/texts.json").read_text())
