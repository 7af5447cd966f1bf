"""Reaching the Hugging Face hub, without waiting for it where it can't be reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

TIMEOUT_S = 5
REMEMBER_S = 60


@contextmanager
def hub_access() -> Iterator[None]:
    """A block in which the hub's client uses what it has downloaded before, and the hub if that answers.

    The client itself tries each file six times, over 23 seconds, before it gives up; so the hub is asked once
    whether it is there, and the client is set to its offline mode if not. HF_HUB_OFFLINE=1 spares even that.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT, int(time.monotonic() // REMEMBER_S))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@lru_cache(maxsize=8)
def _answers(endpoint: str, minute: int) -> bool:
    """Whether a request to `endpoint` gets any answer; asked once in each `minute`."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=TIMEOUT_S)
    except Exception:  # the HTTP library differs between releases of the hub's client, and so do its errors
        return False
    return True
