"""Cases that a network was trained on are no measure of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.trained_on import trained_on


def require_unseen(cases: Sequence[Mapping[str, Any]], weights: str | Path, *, allowed: bool = False) -> None:
    """Refuse to measure a network on cases that it was trained on, and on no case at all.

    Args:
        cases: with their "name".
        weights: the network's file. One of an older version, which doesn't say what it was trained on, is let through
            with a line that says so.
        allowed: measure them all the same, as the training part is.

    Raises:
        MissingFile: no weights.
        UserFault: see above.
    """
    if not Path(weights).is_file():
        raise MissingFile(f"'{weights}' does not exist; train the bundle first.")
    if not cases:
        raise UserFault("evaluate: this part of this fold has no cases; choose another --part or --fold.")
    if allowed:
        return
    names = [case["name"] for case in cases]
    known = trained_on(weights, names)
    if known is None:
        print(f"'{weights}' doesn't say which cases it was trained on: take care that these are others.")
    elif known:
        raise UserFault(
            f"evaluate: '{weights}' was trained on {len(known)} of these {len(names)} cases ('{known[0]}', …), which "
            "would make it look too good; measure --part test, or the --fold that it was trained for, or say "
            "--allow_trained True."
        )
