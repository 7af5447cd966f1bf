"""Asks a language model until its answer is good, whoever runs the model; accepted answers are kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.texts.answers import CLIP_TOKENS, BadAnswer, read_answer

Message = dict[str, Any]
"""{"role": "user" | "assistant", "content": text or OpenAI's list of text and image parts}"""
REPEATED_CHARACTERS = 2000
"""of a bad answer that are shown to the model again"""
Read = TypeVar("Read")


class Asker(Protocol):
    """A language model: `Endpoint` or `LocalModel`."""

    model: str

    def ask(self, messages: Sequence[Message]) -> str:
        """The raw answer to a conversation. Raises UserFault when there can't be any."""


def ask_for_text(
    asker: Asker, messages: Sequence[Message], *, attempts: int, clip_tokens: int | None = CLIP_TOKENS
) -> str:
    """One accepted text, see `ask_until_good`."""
    return ask_until_good(asker, messages, partial(read_answer, clip_tokens=clip_tokens), attempts=attempts)


def ask_until_good(
    asker: Asker, messages: Sequence[Message], read: Callable[[str], Read], *, attempts: int
) -> Read:
    """What `read` makes of an answer; after a bad one, of which it raises BadAnswer, the model is told its fault.

    Raises:
        BadAnswer: none of `attempts` answers was good; the message is the last one's fault.
        UserFault: the model can't be asked.
    """
    talk = list(messages)
    for left in reversed(range(attempts)):
        answer = asker.ask(talk)
        try:
            return read(answer)
        except BadAnswer as fault:
            if not left:
                raise
            talk = [*messages, *_complaint(answer, fault)]
    raise UserFault(f"ask_until_good: attempts must be at least 1, got {attempts}.")


def _complaint(answer: str, fault: BadAnswer) -> list[Message]:
    """Only the last bad answer is repeated, so that the talk does not outgrow a small model's context."""
    shown = answer[:REPEATED_CHARACTERS] or "(empty)"
    told = f"This answer was not accepted. {fault} Answer again, with the JSON alone."
    return [{"role": "assistant", "content": shown}, {"role": "user", "content": told}]


CACHE_FORMAT = 1


def request_key(model: str, messages: Sequence[Message]) -> str:
    """SHA-256 of the model's name and the whole request, pictures included; the key of its answer."""
    text = json.dumps([CACHE_FORMAT, model, list(messages)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_answers(file: Path) -> dict[str, dict[str, Any]]:
    """{key: {"label", "model", "text"} of a class or {"model", "texts": {class: text}} of a picture}; empty without
    the file.

    Raises:
        UserFault: the file is something else.
    """
    if not file.is_file():
        return {}
    try:
        answers = json.loads(file.read_text(encoding="utf-8"))
        texts = [text for answer in answers.values() for text in _texts_of(answer)]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is no string")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserFault(
            f"Answers file '{file}' is damaged ({error}); delete it, then its answers are asked for again."
        ) from error
    return answers


def _texts_of(answer: Mapping[str, Any]) -> list[Any]:
    return list(answer["texts"].values()) if "texts" in answer else [answer["text"]]


def store_answers(file: Path, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the answers, whole or not at all."""
    write_text(file, json.dumps(answers, indent=1, ensure_ascii=False))
