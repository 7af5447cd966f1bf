"""What went wrong with a request, as an HTTP status and one sentence."""

from __future__ import annotations

from pgsam_monai.base.errors import MissingFile, UserFault, root_of
from pgsam_monai.bundle import WeightsFault

OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")
NOT_THERE = ("ImageNotFoundException", "LabelNotFoundException")
LONGEST = 400
"""characters of a fault's own words that a client gets; the log has them all"""


class RequestFault(UserFault):
    """A request that can't be answered; the message is the sentence that the client gets."""

    def __init__(self, sentence: str, *, status: int = 400) -> None:
        """status: 400 malformed, 404 not there, 413 too large, 422 out of range."""
        super().__init__(sentence)
        self.status = status


def status_and_sentence(fault: BaseException) -> tuple[int, str]:
    """How a fault is told to a client.

    Faults of MONAI Label and torch are known by their names, so that this module needs neither of them.

    Returns:
        400 to 499: what the client can mend, which is every `UserFault` but of a bundle in service. 503: what the
        operator can mend, or waiting. 500: a bug or a broken installation; whoever calls this logs the traceback.
    """
    fault = root_of(fault)
    kinds = {kind.__name__ for kind in type(fault).__mro__}
    if isinstance(fault, RequestFault):
        return fault.status, sendable(str(fault))
    if isinstance(fault, WeightsFault):
        return 503, _words(fault)
    if isinstance(fault, UserFault):
        return (404 if isinstance(fault, MissingFile) else 422), _words(fault)
    if kinds & set(NOT_THERE):
        return 404, f"{_words(fault)}; GET /datastore/?output=all lists images and labels."
    if "MONAILabelException" in kinds and getattr(fault.error, "name", "") == "INVALID_INPUT":
        return 404, f"{_words(fault)}; GET /info/ lists what is served."
    if kinds & set(OUT_OF_MEMORY):
        return 503, 'The image needs more memory than there is; ask again with {"device": "cpu"}, or crop it.'
    return 500, f"{type(fault).__name__}: {_words(fault)}; see the server's log."


def is_unexpected(fault: BaseException) -> bool:
    """True for faults whose traceback belongs in the log."""
    return status_and_sentence(fault)[0] in (500, 503)


def _words(fault: BaseException) -> str:
    """The first line of a fault's message; MONAI Label keeps its own in `msg`."""
    lines = str(getattr(fault, "msg", None) or fault).strip().splitlines() or [type(fault).__name__]
    return sendable(cut(lines[0], LONGEST).rstrip(".;"))


def sendable(text: str) -> str:
    """Text as it can be sent, whatever halves of signs a client's own words had."""
    return text.encode(errors="replace").decode()


def short(value: object) -> str:
    """A value as sentences show it, cut where it is long."""
    return cut(repr(value), 80)


def cut(text: str, limit: int) -> str:
    """Text of at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
