"""What is done with a label server: asks it for a label map, trains, asks again, and stops it."""

from __future__ import annotations

import email
import json
import signal
import subprocess
import time
from pathlib import Path

import requests

WAIT_S = 240


def use(server: subprocess.Popen, address: str, model: str, image: str, answer: Path) -> None:
    """The answer after a training that starts anew goes to `answer`; ends early, without it, if the server does."""
    try:
        _wait(server, lambda: requests.get(f"{address}/health", timeout=10).status_code == 200)
        infer(address, model, image)
        wish = {"max_epochs": 1, "iterations_per_epoch": 2, "pretrained": False, "device": "cpu"}
        requests.post(f"{address}/train/{model}", json=wish, timeout=WAIT_S).raise_for_status()
        _wait(server, lambda: requests.get(f"{address}/train/", timeout=10).json()["status"] == "DONE")
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_bytes(infer(address, model, image))
    except (requests.RequestException, ConnectionError, TimeoutError):
        pass  # it was killed, or what it did is told by what is missing
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)


def infer(address: str, model: str, image: str) -> bytes:
    """The label map that the server sends."""
    params = {"label_values": "original", "device": "cpu"}
    reply = requests.post(
        f"{address}/infer/{model}", params={"image": image}, data={"params": json.dumps(params)},
        files={"": ""}, timeout=WAIT_S,
    )  # fmt: skip
    reply.raise_for_status()
    message = email.message_from_bytes(
        b"Content-Type: " + reply.headers["Content-Type"].encode() + b"\r\n\r\n" + reply.content
    )
    return max((part.get_payload(decode=True) or b"" for part in message.get_payload()), key=len)


def _wait(server: subprocess.Popen, ready) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if ready():
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise TimeoutError
