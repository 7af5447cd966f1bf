"""Before the server's application: which web pages may ask it, and how much may be sent."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pgsam_monai.base.addresses import is_loopback_url

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class TooLarge(Exception):
    """More was sent than is taken."""


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

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.inside(scope, receive, send)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self.refusal_of(headers)
        if refusal is None:
            return await self._pass(scope, receive, send)
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
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_bytes:
            return 413, self._too_large()
        return None

    def allows(self, origin: str, host: str) -> bool:
        """May a page from `origin` ask, by way of `host`?"""
        own = (f"http://{host}", f"https://{host}") if host else ()
        return origin in self.origins or origin in own or is_loopback_url(origin)

    def _hosts(self) -> set[str]:
        return {urlsplit(origin).netloc for origin in self.origins}

    def _too_large(self) -> str:
        megabytes = self.max_bytes // 10**6
        return (
            f"At most {megabytes} MB are taken in one request; put the image into the studies folder instead."
        )

    async def _pass(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Counts what comes in pieces, whose length nobody says beforehand."""
        taken, answered = 0, False

        async def counted() -> dict[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_bytes:
                if message.get("more_body"):
                    await drain(receive)
                raise TooLarge
            return message

        async def noted(message: dict[str, Any]) -> None:
            nonlocal answered
            if taken > self.max_bytes and not answered:  # FastAPI's own word for what failed in `counted`
                if message["type"] == "http.response.start":
                    answered = True
                    await answer(send, 413, self._too_large())
            elif taken <= self.max_bytes:
                await send(message)

        try:
            await self.inside(scope, counted, noted)
        except TooLarge:
            if not answered:
                await answer(send, 413, self._too_large())


async def drain(receive: Receive) -> None:
    """Let a client finish what it sends, because most read no answer before."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def answer(send: Send, status: int, sentence: str) -> None:
    """Send {"detail": sentence}, as FastAPI does."""
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
