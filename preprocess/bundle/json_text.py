"""Configs as text that people read: the outline entry by entry, details side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

LINE = 120
"""Most characters of a line, unless a single value is longer."""
OUTLINE = 2
"""Levels of a config whose components stand argument by argument; in deeper ones short arguments share lines."""


def json_text(content: Mapping[str, Any]) -> str:
    """JSON in which whatever fits into one line is one, but for the outermost entries; ends with a newline."""
    return _broken(content, depth=0) + "\n"


def _text(content: Any, taken: int, depth: int) -> str:
    """`content`, which starts after `taken` characters of a line."""
    line = json.dumps(content, ensure_ascii=False)
    if taken + len(line) < LINE or not _is_nested(content):
        return line
    return _broken(content, depth)


def _broken(content: Mapping[str, Any] | list[Any], depth: int) -> str:
    """An object or a list over several lines, at this depth of the config."""
    inner = "    " * (depth + 1)
    lines = ",\n".join(inner + line for line in _lines(content, len(inner), depth))
    first, last = "{}" if isinstance(content, Mapping) else "[]"
    return f"{first}\n{lines}\n{inner[4:]}{last}"


def _lines(content: Mapping[str, Any] | list[Any], taken: int, depth: int) -> Iterator[str]:
    """Entries without their indentation of `taken` characters; several that are short, where they may share a line."""
    is_component = isinstance(content, Mapping) and "_target_" in content
    share = depth >= OUTLINE if is_component else depth > 0
    line = ""
    for key, item in content.items() if isinstance(content, Mapping) else enumerate(content):
        name = f"{json.dumps(key, ensure_ascii=False)}: " if isinstance(content, Mapping) else ""
        entry = name + _text(item, taken + len(name), depth + 1)
        joined = f"{line}, {entry}"
        if line and share and _is_detail(item) and taken + len(joined) < LINE:
            line = joined
            continue
        if line:
            yield line
        line = entry
        if not _is_detail(item) or key == "_target_":
            yield line
            line = ""
    if line:
        yield line


def _is_nested(content: Any) -> bool:
    return isinstance(content, Mapping | list) and bool(content)


def _is_detail(item: Any) -> bool:
    """A value, or a list of values."""
    return not _is_nested(item) or (isinstance(item, list) and not any(map(_is_nested, item)))
