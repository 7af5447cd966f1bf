"""Connections to the server: whoever connects says soon what is wanted, and many who don't keep nobody else out."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20
"""from the connection, or from the answer before, to the end of a request's head"""
MOST_SILENT = 128
"""so many may wait with a head to come; of more, the one that has waited longest is closed"""
TOO_SLOW = f"A request's head must come within {HEAD_S} s; ask again."


class PatientConnection(H11Protocol):
    """uvicorn's own, which would wait for a head without end."""

    silent: OrderedDict[PatientConnection, asyncio.TimerHandle] = OrderedDict()
    """those without a request, longest first, of the whole server"""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_asked():
            self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_asked():
            self._watch()

    def _is_asked(self) -> bool:
        """Whether a request has come and isn't answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        self._rest()
        self.silent[self] = self.loop.call_later(HEAD_S, self._hang_up)
        if len(self.silent) > MOST_SILENT:
            next(iter(self.silent))._hang_up()

    def _rest(self) -> None:
        timer = self.silent.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _hang_up(self) -> None:
        self._rest()
        if not self.transport.is_closing():
            body = json.dumps({"detail": TOO_SLOW}).encode()
            head = (
                "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()
