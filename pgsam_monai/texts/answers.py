"""What an answer of a language model must be before it becomes a class's text."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator

from pgsam_monai.base.errors import UserFault, did_you_mean

MIN_WORDS, MAX_WORDS = 5, 60
CLIP_TOKENS = 77
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
MARKDOWN = re.compile(r"\*\*|__|`|^\s*(?:#|[-*•]\s|\d+[.)]\s)|\]\(")
REFUSAL = re.compile(
    r"\bas an? (?:ai|language model)\b|\bI(?:'|’)?m sorry\b|\bI am sorry\b|\bI apologi[sz]e\b"
    r"|\bI (?:can(?:no|'|’)t|am unable|am not able|won(?:'|’)t)\b|\bI(?:'|’)m (?:un|not )able\b",
    re.IGNORECASE,
)
_VALIDATOR = Draft202012Validator(SCHEMA)


class BadAnswer(UserFault):
    """An answer that can't be taken; the message is told to the model, which may try again."""


def read_answer(answer: str, *, clip_tokens: int | None = CLIP_TOKENS) -> str:
    """The text of a raw answer `{"text": "…"}`, blanks normalised.

    Around the JSON a model may think aloud or put a code fence; that is dropped. `clip_tokens` is the context
    length of CLIP's own tokenizer, None where the bundle's text tower has another one; the words are counted
    in any case.

    Raises:
        BadAnswer: no JSON, another schema, or a text that breaks a rule.
    """
    data = _json_of(THOUGHTS.sub("", answer))
    problem = next(_VALIDATOR.iter_errors(data), None)
    if problem is not None:
        raise BadAnswer(f'The JSON must be {{"text": "one sentence"}} and nothing else: {problem.message}.')
    fault = text_fault(data["text"], clip_tokens=clip_tokens)
    if fault:
        raise BadAnswer(fault)
    return " ".join(data["text"].split())


def seen_schema(names: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer on a picture: a sentence per class, null for those that aren't seen.

    Servers that hold models to a schema strictly want every property there; `read_seen` doesn't.
    """
    return {
        "type": "object",
        "properties": {name: {"type": ["string", "null"]} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


def read_seen(answer: str, names: Sequence[str], *, clip_tokens: int | None = CLIP_TOKENS) -> dict[str, str]:
    """The texts of a raw answer `{"<class>": "…", …}` on a picture, in the order of `names`, blanks normalised.

    Classes that are left out, or null, aren't seen in it; there may be none that is.

    Raises:
        BadAnswer: no JSON object of texts, a name that isn't one of `names`, or a text that breaks a rule.
    """
    data = _json_of(THOUGHTS.sub("", answer))
    for name, text in data.items():
        if name not in names:
            raise BadAnswer(f"'{name}' is none of the structures.{did_you_mean(name, names)} They are: "
                            f"{', '.join(names)}.")  # fmt: skip
        if not isinstance(text, str | None):
            raise BadAnswer(f"'{name}' must have one sentence, or null if it is not seen.")
        fault = "" if text is None else text_fault(text, clip_tokens=clip_tokens)
        if fault:
            raise BadAnswer(f"'{name}': {fault}")
    return {name: " ".join(data[name].split()) for name in names if data.get(name) is not None}


def text_fault(text: str, *, clip_tokens: int | None = CLIP_TOKENS) -> str:
    """The first rule that a text breaks, as a sentence; '' for a good text."""
    text = text.strip()
    words = len(text.split())
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return "The text is empty."
    if "\n" in text or not all(character.isprintable() for character in text.replace("\t", " ")):
        return "The text must be one paragraph of plain characters, without line breaks."
    if MARKDOWN.search(text):
        return "The text must be plain, without markdown, bullets or numbering."
    if REFUSAL.search(text):
        return "The text must describe the structure; it speaks of the writer or refuses."
    if sum(character.isascii() for character in letters) < 0.9 * len(letters):
        return "The text must be English."
    if not MIN_WORDS <= words <= MAX_WORDS:
        return f"The text has {words} words; it must have {MIN_WORDS} to {MAX_WORDS}, best at most 50."
    return _token_fault(text, clip_tokens) if clip_tokens else ""


def _json_of(answer: str) -> dict[str, Any]:
    start = answer.find("{")
    if start < 0:
        raise BadAnswer("The answer must be the JSON that was asked for; it holds no JSON object.")
    try:
        return json.JSONDecoder().raw_decode(answer[start:])[0]
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"The answer is no valid JSON: {error}.") from error


def _token_fault(text: str, limit: int) -> str:
    """CLIP cuts what exceeds its context, silently; numbers and rare words take several tokens each."""
    length = len(_clip_tokenizer().encode(text)) + 2  # start and end of text
    return (
        f"The text has {length} tokens for CLIP, which reads {limit}; shorten it." if length > limit else ""
    )


@functools.cache
def _clip_tokenizer():
    from open_clip.tokenizer import SimpleTokenizer  # takes seconds: it brings torch along

    return SimpleTokenizer()
