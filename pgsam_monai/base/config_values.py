"""Data in MONAI configs: whatever a user, a plan or a path says stays what it is, and is never syntax.

MONAI evaluates strings that begin with `$`, looks up those that begin with `@` or `%`, rewrites `#` in every string
to `::`, splits keys at both, and builds what has a `_target_`. A value that could meet any of this is written as a
component that gives it back: {"_target_": "pgsam_monai.base.config_values.from_json", "text": "…"}, its special signs
escaped as JSON can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TARGET = "pgsam_monai.base.config_values.from_json"
SYNTAX = re.compile(r"^[$@%]|#|::|^\{\{.*\}\}$", re.DOTALL)
"""What gives a string a meaning in a config; the last is the templates' own."""
SIGNS = re.compile(r"[$@%#:{}]")
COMPONENT_KEYS = re.compile(r"^_\w+_$|^\+|^~")
"""Keys that MONAI reads itself: of components (_target_, _mode_, …), and of merging (+, ~)."""


def as_data(value: Any) -> Any:
    """`value` as it may stand in a MONAI config, which then gives it back; what is no JSON is let through."""
    return literal(value) if _is_special(value) else value


def literal(value: Any) -> dict[str, str]:
    """The component that gives back `value`."""
    return {"_target_": TARGET, "text": _json_text(value)}


def from_json(text: str) -> Any:
    """The value that `literal` wrote down."""
    return json.loads(text)


def _is_special(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_special_key, value)) or any(map(_is_special, value.values()))
    if isinstance(value, list):  # MONAI leaves tuples alone
        return any(map(_is_special, value))
    return isinstance(value, str) and bool(SYNTAX.search(value))


def _is_special_key(key: object) -> bool:
    return isinstance(key, str) and bool(SYNTAX.search(key) or COMPONENT_KEYS.search(key))


def _json_text(value: Any) -> str:
    """JSON whose strings hold none of MONAI's signs; the braces and colons between them mean nothing to it."""
    return re.sub(
        r'"(?:[^"\\]|\\.)*"', lambda found: _escaped(found.group()), json.dumps(value, ensure_ascii=False)
    )


def _escaped(string: str) -> str:
    return SIGNS.sub(lambda sign: f"\\u{ord(sign.group()):04x}", string)
