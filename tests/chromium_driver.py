"""Chromium without a window, driven over a pipe by its DevTools protocol; needs nothing but the browser itself."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-extensions",
    "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
READS, WRITES = 3, 4
"""The file descriptors on which Chromium expects its pipe."""
TIMEOUT_S = 60
HELD = {"": 0, "Alt": 1, "Control": 2, "Shift": 8}
KEY_CODES = {"Tab": 9, "Escape": 27}


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Chromium:
    """A browser that listens; see `chromium` for one that is started and ended."""

    def __init__(self, write_fd: int, read_fd: int) -> None:
        self._write_fd, self._read_fd = write_fd, read_fd
        self._pending, self._calls = b"", 0
        self.events: list[dict] = []

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        data = json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        while data:
            data = data[os.write(self._write_fd, data) :]
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._calls:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _receive(self, deadline: float, method: str) -> dict:
        while b"\0" not in self._pending:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._read_fd], [], [], left)[0], (
                f"Chromium is silent on {method}"
            )
            received = os.read(self._read_fd, 1 << 20)
            assert received, f"Chromium has ended on {method}"
            self._pending += received
        message, self._pending = self._pending.split(b"\0", 1)
        return json.loads(message)

    def open(
        self,
        file: Path,
        *,
        link: str = "",
        size: tuple[int, int] = (1000, 700),
        first: str = "",
        state: str = "ready",
    ) -> Page:
        """A page from disk, `link` after the #, in a window of (width, height); returns when it says to be in `state`.

        first: a script that runs before the page's own.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(size)
        if first:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=first)
        page.call("Page.navigate", url=file.absolute().as_uri() + (f"#{link}" if link else ""))
        page.wait(f"document.documentElement?.dataset.state === '{state}'")
        page.settle()
        return page


class Page:
    """A page in a browser; places are pixels of the window."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def call(self, method: str, **parameters: Any) -> dict:
        return self._browser.call(method, session=self._session, **parameters)

    def resize(self, size: tuple[int, int], *, scale: int = 1) -> None:
        """`scale`: pixels of the screen to one of the page's."""
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **screen)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, f"{condition} does not come true; {self.faults()}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until what has changed is drawn."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """left, top, width, height of an element."""
        rectangle = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        return tuple(self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])({rectangle})"))

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        self.press(left + width / 2, top + height / 2)
        self.settle()

    def press(
        self,
        x: float,
        y: float,
        *,
        to: tuple[float, float] | None = None,
        button: str = "left",
        held: str = "",
    ) -> None:
        """Press the mouse at a place and let it go there, or drag it `to` another, with the key `held` down."""
        buttons = {"left": 1, "right": 2, "middle": 4}[button]
        common = {"button": button, "buttons": buttons, "clickCount": 1, "modifiers": HELD[held]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **common)
        x, y = to or (x, y)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **common)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **common)
        self.settle()

    def wheel(self, x: float, y: float, down: float, *, held: str = "") -> None:
        turn = {"type": "mouseWheel", "deltaX": 0, "deltaY": down, "modifiers": HELD[held]}
        self.call("Input.dispatchMouseEvent", x=x, y=y, **turn)
        self.settle()

    def key(self, key: str) -> None:
        """A key by its DOM name: "ArrowUp", "f", …"""
        text = {"text": key} if len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": KEY_CODES[key]} if key in KEY_CODES else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)
        self.settle()

    def screenshot(self, file: Path | None = None) -> np.ndarray:
        """The window as (rows, columns, RGB) uint8."""
        self.settle()
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if file is not None:
            file.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def events(self, method: str) -> list[dict]:
        mine = (event for event in self._browser.events if event.get("sessionId") == self._session)
        return [event["params"] for event in mine if event["method"] == method]

    def requests(self) -> list[str]:
        """The addresses that were asked for, the page's own among them."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def faults(self) -> list[dict]:
        """What scripts have thrown and what the browser has complained of, such as breaches of the policy."""
        return self.events("Runtime.exceptionThrown") + self.events("Log.entryAdded")

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Start Chromium with a new `profile` folder; it is ended by its process id."""
    path = find_chromium()
    assert path is not None
    profile.mkdir(parents=True, exist_ok=True)
    inside_read, write_fd = os.pipe()
    read_fd, inside_write = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (inside_read, inside_write)]
    log = os.open(profile / "log.txt", os.O_WRONLY | os.O_CREAT)
    actions = [(os.POSIX_SPAWN_DUP2, high[0], READS), (os.POSIX_SPAWN_DUP2, high[1], WRITES)]
    actions += [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    words = [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    pid = os.posix_spawn(path, words, os.environ, file_actions=actions)
    for fd in (inside_read, inside_write, *high, log):
        os.close(fd)
    browser = Chromium(write_fd, read_fd)
    try:
        yield browser
        browser.call("Browser.close")
    finally:
        _end(pid)
        os.close(write_fd)
        os.close(read_fd)


def _end(pid: int) -> None:
    for sent in (0, signal.SIGTERM, signal.SIGKILL):
        if sent:
            os.kill(pid, sent)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
