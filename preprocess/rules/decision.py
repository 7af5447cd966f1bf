"""What a rule hands back: a value, and the sentence that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RULE = "rule"
RECIPE = "recipe"
OVERRIDE = "override"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One planning decision."""

    value: Any
    """JSON-ready: None, bool, int, float, str, list or dict"""

    reason: str
    """a sentence for the reader, with the numbers the value was taken from"""

    source: str = RULE
    """`rule`, `recipe` (a published setting) or `override` (the user's wish)"""

    planned: Decision | None = None
    """what rule or recipe decided, where the user overrode it"""

    set_by: str = ""
    """how the user's wish reached us, such as "--override"; "" without one"""

    def to_json(self) -> dict[str, Any]:
        record = {"value": self.value, "reason": self.reason, "source": self.source}
        if self.planned is not None:
            record |= {"set_by": self.set_by, "planned": self.planned.to_json()}
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Decision:
        planned = record.get("planned")
        return cls(
            value=record["value"],
            reason=record.get("reason", ""),
            source=record.get("source", RULE),
            planned=cls.from_json(planned) if planned else None,
            set_by=record.get("set_by", ""),
        )


def overridden(planned: Decision, value: Any, *, set_by: str) -> Decision:
    """The user's `value` in place of `planned`; `set_by` tells how the wish reached us ("--override")."""
    reason = f"Set by {set_by}; the {planned.source} said {_shown(planned.value)}: {planned.reason}"
    return Decision(value=value, reason=reason, source=OVERRIDE, planned=planned, set_by=set_by)


def shown_value(value: Any) -> str:
    """A decision's value for people: no braces, no trailing zeros."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown_value(item).rstrip('.')}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(shown_value(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if value != "" else "none"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
