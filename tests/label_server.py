"""A real MONAI Label server on the loopback interface, started as users start it, and a client of it."""

from __future__ import annotations

import email
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from pgsam_monai.label.launch.environment import find_environment

START_S, STOP_S, REQUEST_S = 180, 60, 120


def require_label_environment() -> Path:
    """The Python that has MONAI Label; a test that needs it is skipped where there is none."""
    try:
        return find_environment().python
    except ValueError as fault:
        pytest.skip(f"needs MONAI Label's environment: {fault}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Reply:
    """What an inference sends."""

    params: dict[str, Any]
    name: str
    """of the file"""
    content: bytes

    def save(self, folder: Path) -> Path:
        file = Path(folder) / self.name
        file.write_bytes(self.content)
        return file


class LabelServer:
    """`with LabelServer(bundle, …, studies=folder, work=folder) as server:`; further options as `pgsam label` has them.

    Stopped by its process id; that it and its children are gone is asserted.
    """

    def __init__(
        self, *bundles: Path, studies: Path, work: Path, variables: dict | None = None, **options: Any
    ):
        self.port, self.app_dir = free_port(), Path(work) / "app"
        self.address = f"http://127.0.0.1:{self.port}"
        words = {"studies": studies, "port": self.port, "app_dir": self.app_dir, **options}
        flags = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        self.command = [
            sys.executable,
            "-m",
            "pgsam_monai.commands.main",
            "label",
            *map(str, bundles),
            *flags,
        ]
        self.variables = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
        self.output = Path(work) / "server.txt"
        self.headers: dict[str, str] = {}
        """sent with each request"""

    def __enter__(self) -> LabelServer:
        require_label_environment()
        began = time.monotonic()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.variables,
            )
        try:
            self._wait_for_health()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.start_s = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the server by its process id; its exit status, negative for a signal."""
        family = [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        family += family[0].children(recursive=True) if family else []
        if family:
            os.kill(self.process.pid, how)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"The server didn't stop within {STOP_S} s:\n{self.tail()}") from None
        _, alive = psutil.wait_procs(family[1:], timeout=5)
        assert not alive, f"processes of the server live on: {alive}"
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.port)), "something still listens at the server's port"
        return status

    def _wait_for_health(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended: {self.process.returncode}\n{self.tail()}"
            try:
                if self.get("/health").status_code == 200:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise AssertionError(f"no /health within {START_S} s:\n{self.tail()}")

    def tail(self, characters: int = 4000) -> str:
        """The end of what the server printed."""
        return self.output.read_text(errors="replace")[-characters:]

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", REQUEST_S)
        headers = {**self.headers, **options.pop("headers", {})}
        return requests.request(method, f"{self.address}{path}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> requests.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self.request("DELETE", path, **options)

    def info(self) -> dict[str, Any]:
        return good(self.get("/info/")).json()

    def infer(
        self, model: str, image: str = "", *, file: Path | None = None, session: str = "", **params: Any
    ) -> Reply:
        """As 3D Slicer asks: the reply has several parts."""
        query = {name: value for name, value in {"image": image, "session_id": session}.items() if value}
        files = {"file": (file.name, file.read_bytes())} if file else {"": ""}
        reply = self.post(f"/infer/{model}", params=query, data={"params": json.dumps(params)}, files=files)
        return parts_of(good(reply))

    def save_label(self, image: str, file: Path, *, tag: str | None = None, **params: Any) -> dict:
        query = {"image": image, **({"tag": tag} if tag else {})}
        files = {"label": (file.name, file.read_bytes())}
        reply = self.put("/datastore/label", params=query, data={"params": json.dumps(params)}, files=files)
        return good(reply).json()

    def train(self, model: str, **params: Any) -> dict:
        return good(self.post(f"/train/{model}", json=params)).json()

    def score(self, method: str, **params: Any) -> dict:
        return good(self.post(f"/scoring/{method}", json=params)).json()

    def next_sample(self, strategy: str, **params: Any) -> dict:
        return good(self.post(f"/activelearning/{strategy}", json=params)).json()

    def wait_until_running(self, what: str, *, seconds: float = 60) -> dict:
        """The task of "train" or "batch/infer" that was begun; MONAI Label answers 404 until its process is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            reply = self.get(f"/{what}/", params={"check_if_running": True})
            if reply.status_code == 200 and reply.json()["status"] == "RUNNING":
                return reply.json()
            time.sleep(0.05)
        raise AssertionError(f"{what} wasn't seen running within {seconds} s:\n{self.tail()}")

    def wait_for(self, what: str, *, seconds: float = 300) -> dict:
        """The last task of "train", "scoring" or "batch/infer", once it has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            task = good(self.get(f"/{what}/" if "/" not in what else f"/{what}")).json()
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task
            time.sleep(0.5)
        raise AssertionError(f"{what} didn't end within {seconds} s:\n{self.tail()}")


def good(reply: requests.Response) -> requests.Response:
    assert reply.status_code == 200, (
        f"{reply.request.method} {reply.url}: {reply.status_code} {reply.text[:1000]}"
    )
    return reply


def parts_of(reply: requests.Response) -> Reply:
    """A reply of several parts."""
    head = f"Content-Type: {reply.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + reply.content)
    parts = {
        re.search(r'[; ]name="([^"]*)"', part["Content-Disposition"])[1]: part
        for part in message.get_payload()
    }
    file = parts["image"]
    return Reply(
        json.loads(parts["params"].get_payload(decode=True)),
        file.get_filename(),
        file.get_payload(decode=True),
    )
