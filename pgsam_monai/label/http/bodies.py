"""What clients send, while it comes: not more than is taken, and not so slowly that others wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SLOWEST = 20_000
"""bytes a second, on the whole"""
PATIENCE_S, LITTLE_PATIENCE_S = 30.0, 3.0
"""before the slowest pace counts; and where many are sending"""
MANY = 64
"""bodies that are coming"""
LOOK_S = 0.5

Receive = Callable[[], Awaitable[dict[str, Any]]]


class TooLarge(Exception):
    """More was sent than is taken."""


class TooSlow(Exception):
    """It takes so long that others would wait; the message is the sentence."""


@dataclass
class Bodies:
    """All bodies that are coming to a server."""

    under_way: int = 0
    """requests that aren't answered yet"""
    coming: int = 0
    """those of them whose body isn't whole yet"""

    @contextmanager
    def under_way_with(self, receive: Receive, most: int) -> Iterator[Body]:
        """A request's body, until it is answered."""
        body = Body(bodies=self, inner=receive, most=most)
        self.under_way += 1
        self.coming += 1
        try:
            yield body
        finally:
            self.under_way -= 1
            body.end()

    @property
    def patience_s(self) -> float:
        return PATIENCE_S if self.coming <= MANY else LITTLE_PATIENCE_S


@dataclass
class Body:
    """The body of one request."""

    bodies: Bodies
    inner: Receive
    most: int
    """bytes that are taken"""
    taken: int = 0
    began: float = field(default_factory=time.monotonic)
    is_coming: bool = True

    async def receive(self) -> dict[str, Any]:
        """The next ASGI message; after the last of the body they are waited for without a limit of time.

        Raises:
            TooLarge: after all of a body that is too large was read.
            TooSlow: it comes too slowly.
        """
        message = await (self._in_time() if self.is_coming else self.inner())
        self.taken += len(message.get("body", b""))
        if not message.get("more_body"):
            self.end()
        if self.taken > self.most:
            await drain(self.inner, more=self.is_coming)
            raise TooLarge
        return message

    def end(self) -> None:
        """It is whole, or nobody wants it any more."""
        if self.is_coming:
            self.is_coming = False
            self.bodies.coming -= 1

    async def _in_time(self) -> dict[str, Any]:
        task = asyncio.ensure_future(self.inner())
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=LOOK_S)
                self._look_at_pace()
                if done:
                    return task.result()
        finally:
            task.cancel()

    def _look_at_pace(self) -> None:
        seconds = time.monotonic() - self.began
        if seconds > self.bodies.patience_s + self.taken / SLOWEST:
            raise TooSlow(
                f"The body comes too slowly, {self.taken} bytes in {seconds:.0f} s; ask again on a faster line."
            )


async def drain(receive: Receive, *, more: bool = True) -> None:
    """Let a client finish what it sends, `more` if there is more, because most read no answer before; for a while."""

    async def rest() -> None:
        coming = more
        while coming:
            message = await receive()
            coming = message["type"] == "http.request" and bool(message.get("more_body"))

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rest(), PATIENCE_S)
