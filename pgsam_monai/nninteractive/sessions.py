"""Which client has which image open.

Of version 2 a client has a lease, whose token it was given and nobody else knows. Version 1 names no client. Told apart
are addresses, and on one address the names that the server is asked by: who enters http://127.0.0.1:1527/anna in the
extension has another session than who enters /ben, or nothing behind the port. Two programs with one address and one
name share a session, each seeing what the other does; so do all that come through one proxy or tunnel without names.
Names are no passwords: who knows one can use it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pgsam_monai.nninteractive.session import PointingSession

MOST_OPEN = 4
"""images, each with its embeddings; of more, the one that was not used for longest is closed"""


class Client(NamedTuple):
    """Who asks."""

    address: str
    name: str = ""
    """what stands before the endpoint in the path"""


@dataclass
class Held:
    """What the server keeps for a client; use it under its lock, so that a client's requests are answered in order."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    session: PointingSession | None = None
    refusal: str | None = None
    """why there is no session, where the client's image was refused"""
    sent: np.ndarray | None = None
    """the mask (z, y, x) of bool that a client with a lease has"""


class Sessions:
    """By client, of any thread."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._held: OrderedDict[Client, Held] = OrderedDict()
        self._lock = threading.Lock()

    def opened(self, client: Client) -> Held:
        """For a client who sends an image, made if need be; the longest unused of others may go."""
        with self._lock:
            held = self._held.setdefault(client, Held())
            self._held.move_to_end(client)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return held

    def known(self, client: Client) -> Held | None:
        """For a client who goes on; None where nothing was opened, or it was closed."""
        with self._lock:
            if client in self._held:
                self._held.move_to_end(client)
            return self._held.get(client)

    def close(self, client: Client) -> None:
        """For a client who goes, if there is one."""
        with self._lock:
            self._held.pop(client, None)
