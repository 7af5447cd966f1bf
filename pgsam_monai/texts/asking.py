"""Asks a language model until its answer is good, whoever runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.answers import CLIP_TOKENS, BadAnswer, read_answer

Message = dict[str, Any]
"""{"role": "user" | "assistant", "content": text or OpenAI's list of text and image parts}"""
REPEATED_CHARACTERS = 2000
"""of a bad answer that are shown to the model again"""


class Asker(Protocol):
    """A language model: `Endpoint` or `LocalModel`."""

    model: str

    def ask(self, messages: Sequence[Message]) -> str:
        """The raw answer to a conversation. Raises UserFault when there can't be any."""


def ask_for_text(
    asker: Asker, messages: Sequence[Message], *, attempts: int, clip_tokens: int | None = CLIP_TOKENS
) -> str:
    """One accepted text; after a bad answer the model is told what is wrong with it.

    Raises:
        BadAnswer: none of `attempts` answers was good; the message is the last one's fault.
        UserFault: the model can't be asked.
    """
    talk = list(messages)
    for left in reversed(range(attempts)):
        answer = asker.ask(talk)
        try:
            return read_answer(answer, clip_tokens=clip_tokens)
        except BadAnswer as fault:
            if not left:
                raise
            talk = [*messages, *_complaint(answer, fault)]
    raise UserFault(f"ask_for_text: attempts must be at least 1, got {attempts}.")


def _complaint(answer: str, fault: BadAnswer) -> list[Message]:
    """Only the last bad answer is repeated, so that the talk does not outgrow a small model's context."""
    shown = answer[:REPEATED_CHARACTERS] or "(empty)"
    told = f"This answer was not accepted. {fault} Answer again, with the JSON alone."
    return [{"role": "assistant", "content": shown}, {"role": "user", "content": told}]
