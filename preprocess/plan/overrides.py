"""What the user wants otherwise: "name=value" wishes, read and checked before anything is measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pgsam_monai.base.errors import UserFault, did_you_mean
from preprocess.networks import NETWORK_RULES
from preprocess.plan.kinds import kind_of
from preprocess.rules import SHARED_RULES

FLAG = "--override"
BETWEEN_WISHES = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")


@dataclass(frozen=True, kw_only=True)
class Override:
    """One wish."""

    name: str
    value: Any
    network: str | None = None
    """None: all networks (or a shared decision)"""

    set_by: str = FLAG

    def applies_to(self, name: str, network: str | None) -> bool:
        return self.name == name and self.network in (None, network)


def parse_overrides(wishes: str | Iterable[str] | None) -> tuple[Override, ...]:
    """Reads "image_size=512", "samed.rank=8", several in a list or separated by commas; values are
    JSON or text.

    Raises:
        UserFault: no "=", an unknown name (the nearest is told) or a value out of range.
    """
    if wishes is None:
        return ()
    texts = [wishes] if isinstance(wishes, str) else list(wishes)
    parts = [part.strip() for text in texts for part in BETWEEN_WISHES.split(str(text)) if part.strip()]
    return tuple(_parse(part) for part in parts)


def make_override(name: str, value: Any, *, network: str | None = None, set_by: str = FLAG) -> Override:
    """A checked wish.

    Raises:
        UserFault: as `parse_overrides`.
    """
    _check_name(name, network)
    return Override(name=name, value=_checked(name, value, network, set_by), network=network, set_by=set_by)


def _parse(text: str) -> Override:
    path, equals, raw = text.partition("=")
    if not equals:
        raise UserFault(f"{FLAG} {text}: write name=value, as in {FLAG} image_size=512.")
    network, _, name = path.strip().rpartition(".")
    return make_override(name, _value(raw.strip()), network=network or None)


def _value(raw: str) -> Any:
    try:
        return json.loads(raw)
    except json.JSONDecodeError:
        return {"None": None, "True": True, "False": False}.get(raw, raw)


def _check_name(name: str, network: str | None) -> None:
    if network is not None and network not in NETWORK_RULES:
        raise UserFault(f"{FLAG} {network}.{name}: networks are {', '.join(NETWORK_RULES)}.")
    if network is not None:
        known = list(NETWORK_RULES[network])
    else:
        known = [*SHARED_RULES, *(rule for rules in NETWORK_RULES.values() for rule in rules)]
    if name in known:
        return
    hint = did_you_mean(name, known, cutoff=0.4) or f" Decisions are: {', '.join(known)}."
    raise UserFault(f"{FLAG} {name}: there is no decision of that name.{hint}")


def _checked(name: str, value: Any, network: str | None, set_by: str) -> Any:
    kind = kind_of(name, network)
    if not kind.allows(value):
        shown = value if isinstance(value, str) else json.dumps(value)
        where = f"{set_by} {name}={shown}" if set_by == FLAG else f"{set_by} {shown}"
        raise UserFault(f"{where}: {name} must be {kind.what}.")
    return value
