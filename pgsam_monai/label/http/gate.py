"""Before the server's application: which web pages may ask it, how much may be sent, and how slowly."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pgsam_monai.base.addresses import is_loopback_url
from pgsam_monai.label.http.bodies import Bodies, TooLarge, TooSlow, drain

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


FREE_BYTES = 500 * 10**6
"""of the disk, which uploads leave to others"""
FORM, MOST_WITHOUT_FILE = "multipart/form-data", 2 * 10**6
"""What holds files is kept on the disk while it comes; everything else, in memory."""
MOST_UNDER_WAY = 256
"""requests, those included that wait for others"""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """An ASGI application before another one.

    Any page that is open in a browser on this machine can send requests to a server on loopback. Browsers say in
    `Origin` where the page is from, and in `Host` by which name it found the server: pages of strangers are refused,
    and so are names of strangers that were made to mean 127.0.0.1. Programs, such as 3D Slicer, send no Origin.
    """

    inside: Application
    origins: Collection[str] = ()
    """allowed beside those of this machine, as scheme://host[:port]"""
    only_loopback: bool = True
    """the server is reached from this machine only, so it has no other name"""
    max_bytes: int = 2000 * 10**6
    bodies: Bodies = field(default_factory=Bodies)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.inside(scope, receive, send)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self.refusal_of(headers)
        if refusal is None:
            return await self._pass(scope, headers, receive, send)
        if refusal[0] == 413:
            await drain(receive)
        await answer(send, *refusal)

    def refusal_of(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and sentence for a request that is not let in; names of `headers` in lower case."""
        host, origin = headers.get("host", ""), headers.get("origin")
        known = not host or is_loopback_url(f"http://{host}") or host in self._hosts()
        if self.only_loopback and not known:
            return 403, (
                f"This server is not called '{host}'; ask for it as 127.0.0.1, or start it with --allow_origin "
                f"http://{host}."
            )
        if origin is not None and not self.allows(origin, host):
            return 403, (
                f"Pages from {origin} may not ask this server; start it with --allow_origin {origin} to let them."
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            return 415, "Requests are taken as they are; send the body without Content-Encoding."
        if self.bodies.under_way >= MOST_UNDER_WAY:
            return 503, f"{MOST_UNDER_WAY} requests are under way already; ask again in a minute."
        return self._refusal_of_length(headers)

    def _refusal_of_length(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, f"Content-Length takes a whole number, got '{length[:40]}'."
        if int(length) > self._most(headers):
            return 413, self._too_large(headers)
        if (
            shutil.disk_usage(tempfile.gettempdir()).free < int(length) + FREE_BYTES
            and int(length) > FREE_BYTES // 10
        ):
            return 507, "The server's disk is too full for this upload; ask who runs it to make room."
        return None

    def _most(self, headers: Mapping[str, str]) -> int:
        """Bytes that a body may have."""
        with_files = headers.get("content-type", "").strip().lower().startswith(FORM)
        return self.max_bytes if with_files else min(self.max_bytes, MOST_WITHOUT_FILE)

    def allows(self, origin: str, host: str) -> bool:
        """May a page from `origin` ask, by way of `host`?"""
        own = (f"http://{host}", f"https://{host}") if host else ()
        return origin in self.origins or origin in own or is_loopback_url(origin)

    def _hosts(self) -> set[str]:
        return {urlsplit(origin).netloc for origin in self.origins}

    def _too_large(self, headers: Mapping[str, str]) -> str:
        most = self._most(headers)
        if most < self.max_bytes:
            return f"At most {most // 10**6} MB are taken without a file; send files as {FORM}."
        return f"At most {most // 10**6} MB are taken in one request; put the image into the studies folder instead."

    async def _pass(
        self, scope: dict[str, Any], headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        """What comes is counted and timed; for what is too much or too slow, the answer is ours."""
        fault: tuple[int, str] | None = None
        answered = False

        async def counted() -> dict[str, Any]:
            nonlocal fault
            try:
                return await body.receive()
            except TooLarge:
                fault = 413, self._too_large(headers)
                raise
            except TooSlow as slow:
                fault = 408, str(slow)
                raise

        async def noted(message: dict[str, Any]) -> None:
            nonlocal answered
            if fault is None or answered:
                answered = True
                await send(message)
            # else: FastAPI's own word for what failed in `counted`

        with self.bodies.under_way_with(receive, self._most(headers)) as body:
            with suppress(TooLarge, TooSlow):
                await self.inside(scope, counted, noted)
            if fault is not None and not answered:
                await answer(send, *fault)


async def answer(send: Send, status: int, sentence: str) -> None:
    """Send {"detail": sentence}, as FastAPI does."""
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
