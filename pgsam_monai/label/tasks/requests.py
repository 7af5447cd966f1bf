"""What a client asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgsam_monai.base.errors import nearest
from pgsam_monai.label.faults import RequestFault

CONSECUTIVE, ORIGINAL = LABEL_VALUES = ("consecutive", "original")
"""Values of the label map: 1..K in the order of the classes (3D Slicer numbers segments so), or the data set's."""
TEXT_LIMIT = 1000
"""characters"""
TEXT_PREFIX = "text:"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the result is to be sent."""

    extension: str | None = None
    """".nii.gz", ".nii", ".nrrd" or ".mha"; None for what `pgsam predict` writes"""
    dtype: str | None = None
    """numpy type; None for the smallest that holds all values"""
    values: str = CONSECUTIVE
    """of ``LABEL_VALUES``"""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked for in words."""

    text: str | None = None
    """of a bundle that reads any request"""
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """class name -> alternative texts, where they differ from the bundle's own"""


def read_delivery(request: Mapping[str, Any]) -> Delivery:
    """How the result is to be sent.

    Raises:
        RequestFault: no text where text is needed, or an unknown kind of label values.
    """
    values = text_of(request, "label_values") or CONSECUTIVE
    if values not in LABEL_VALUES:
        raise RequestFault(f"label_values must be one of {', '.join(LABEL_VALUES)}, got {values!r}.")
    return Delivery(
        extension=text_of(request, "result_extension"),
        dtype=text_of(request, "result_dtype"),
        values=values,
    )


def read_request_text(request: Mapping[str, Any]) -> Asking:
    """`text` for a bundle that reads any request; empty means its classes.

    Raises:
        RequestFault: no text, or a huge one.
    """
    text = request.get("text")
    if text is None or text == "":
        return Asking()
    return Asking(text=_checked_text(text, "text"))


def read_class_texts(request: Mapping[str, Any], own: Mapping[str, Sequence[str]], *, source: str) -> Asking:
    """`text:<class>` and `texts` {class: text or alternative texts} for a bundle that reads a text per class.

    A `text:<class>` that equals the first of the class's own texts, which clients show, means them all.

    Args:
        request: what the client sent.
        own: the bundle's texts by class name, background first.
        source: what messages call the bundle.

    Raises:
        RequestFault: an unknown class, no text, or a huge one.
    """
    found: dict[str, Sequence[str]] = {}
    for key, text in request.items():
        if key.startswith(TEXT_PREFIX):
            name = _class_of(key.removeprefix(TEXT_PREFIX), own, key=TEXT_PREFIX, source=source)
            if text != own[name][0]:
                found[name] = [_checked_text(text, f"{TEXT_PREFIX}{name}")]
    given = request.get("texts") or {}
    if not isinstance(given, Mapping):
        raise RequestFault(f"texts must be an object, class name to text, got {short(given)}.")
    for key, texts in given.items():
        name = _class_of(key, own, key="texts", source=source)
        several = texts if isinstance(texts, list | tuple) else [texts]
        if not several:
            raise RequestFault(f"texts, '{name}': give a text, or leave the class out.")
        found[name] = [_checked_text(text, f"texts, '{name}'") for text in several]
    return Asking(texts={name: texts for name, texts in found.items() if list(texts) != list(own[name])})


def refuse_texts(request: Mapping[str, Any], *, source: str) -> Asking:
    """For a bundle that reads nothing: empty fields are fine, words are not.

    Raises:
        RequestFault: the client expects words to count.
    """
    for key, text in request.items():
        if (
            text
            and isinstance(text, str | Mapping)
            and (key in ("text", "texts") or key.startswith(TEXT_PREFIX))
        ):
            raise RequestFault(f"{source} reads no texts; leave {short(key)} out.", status=422)
    return Asking()


def text_of(request: Mapping[str, Any], key: str) -> str | None:
    """A parameter that is text; None where it is missing or empty. Of a list of choices, as `info` has them, the first.

    Raises:
        RequestFault: it is something else.
    """
    value = request.get(key)
    value = value[0] if isinstance(value, list) and value else value
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RequestFault(f"{key} must be text, got {short(value)}.")
    return value


def short(value: Any) -> str:
    """A value as messages show it, cut where it is long."""
    return cut(repr(value), 80)


def cut(text: str, limit: int) -> str:
    """Text of at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _checked_text(text: Any, key: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise RequestFault(f"{key} must be a text with words, got {short(text)}.", status=422)
    if len(text) > TEXT_LIMIT:
        raise RequestFault(f"{key} has {len(text)} characters; a text has at most {TEXT_LIMIT}.", status=413)
    return text.strip()


def _class_of(given: Any, own: Mapping[str, Any], *, key: str, source: str) -> str:
    if given in own:
        return given
    near = nearest(given, own)
    hint = f"did you mean '{near}'?" if near else f"there are {', '.join(own)}."
    raise RequestFault(f"{key.rstrip(':')}: {source} has no class {short(given)}; {hint}", status=422)
