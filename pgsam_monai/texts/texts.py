"""The texts of a bundle: `configs/texts.json`, a file that people edit.

    {"background": "Everything else.", "spleen": ["Crescent-shaped organ ...", "The spleen on CT."]}

One entry per class, background first. Several texts of a class are alternatives: the network averages their
embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault, nearest
from pgsam_monai.base.files import write_text


def read_texts(file: str | Path, names: Sequence[str]) -> list[list[str]]:
    """The texts of every class, in the order of `names`: K+1 lists of at least one text each.

    Args:
        file: the bundle's `configs/texts.json`.
        names: the plan's label names, background first.

    Raises:
        UserFault: no such file, no JSON, a class without text, or a text for no class.
    """
    texts = _load(Path(file))
    missing = [name for name in names if name not in texts]
    extra = [name for name in texts if name not in names]
    if missing or extra:
        raise UserFault(
            f"Texts file '{file}' must name the classes of the plan, {_listed(names)}; {_differences(missing, extra)}"
        )
    return [_alternatives(file, name, texts[name]) for name in names]


def write_texts(file: str | Path, texts: Mapping[str, str | Sequence[str]]) -> None:
    """Write the texts of every class, in the mapping's order, whole or not at all.

    Args:
        file: the bundle's `configs/texts.json`; its folder is made.
        texts: class name -> its text, or its alternative texts; background first.

    Raises:
        UserFault: a class without text.
    """
    checked = {name: _alternatives(file, name, given) for name, given in texts.items()}
    content = {name: given[0] if len(given) == 1 else given for name, given in checked.items()}
    write_text(file, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def _load(file: Path) -> dict[str, Any]:
    try:
        texts = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_no_repeats)
    except OSError as error:
        raise UserFault(
            f"Texts file '{file}' can't be read ({error.strerror}); plan the data set again, or write it: a JSON "
            "object with one text per class, background first."
        ) from error
    except ValueError as error:
        raise UserFault(f"Texts file '{file}' is no JSON with one entry per class: {error}.") from error
    if not isinstance(texts, dict):
        raise UserFault(
            f"Texts file '{file}' must hold a JSON object, class name to text; got {_kind(texts)}."
        )
    return texts


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    texts = dict(pairs)
    if len(texts) < len(pairs):
        twice = sorted({name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1})
        raise UserFault(f"{_listed(twice)} stands twice; give several texts of a class as a list")
    return texts


def _alternatives(file: str | Path, name: str, given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not texts:
        raise UserFault(
            f"Texts file '{file}', class '{name}': write a text or a list of texts; got {_kind(given)}."
        )
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserFault(
                f"Texts file '{file}', class '{name}': a text must have words; got {json.dumps(text)}."
            )
    return [text.strip() for text in texts]


def _differences(missing: Sequence[str], extra: Sequence[str]) -> str:
    parts = [f"it lacks {_listed(missing)}; add a text for each"] if missing else []
    for name in extra:
        near = nearest(name, missing)
        hint = f"did you mean '{near}'?" if near else "take it out"
        parts.append(f"it has '{name}', which is no class; {hint}")
    return ". ".join(part[0].upper() + part[1:] if n else part for n, part in enumerate(parts)) + "."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _kind(value: Any) -> str:
    return "an empty list" if value in ([], ()) else f"{json.dumps(value)[:60]} ({type(value).__name__})"
