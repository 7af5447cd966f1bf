"""Accepted answers on disk, so that an interrupted `pgsam describe` asks nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.texts.asking import Message

CACHE_FORMAT = 1


def request_key(model: str, messages: Sequence[Message]) -> str:
    """SHA-256 of the model's name and the whole request, pictures included; the key of its answer."""
    text = json.dumps([CACHE_FORMAT, model, list(messages)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_answers(file: Path) -> dict[str, dict[str, str]]:
    """{key: {"label", "model", "text"}}; empty without the file.

    Raises:
        UserFault: the file is something else.
    """
    if not file.is_file():
        return {}
    try:
        answers = json.loads(file.read_text(encoding="utf-8"))
        if not all(isinstance(answer["text"], str) for answer in answers.values()):
            raise TypeError("a text is no string")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserFault(
            f"Answers file '{file}' is damaged ({error}); delete it, then its answers are asked for again."
        ) from error
    return answers


def store_answers(file: Path, answers: Mapping[str, Mapping[str, str]]) -> None:
    """Write the answers, whole or not at all."""
    write_text(file, json.dumps(answers, indent=1, ensure_ascii=False))
