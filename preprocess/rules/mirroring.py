"""Along which axes training samples are mirrored, and `pgsam predict --mirror auto` the volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.mirroring import AXES, mirrored_axes, sided_names
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, takes

MIRROR = Kind(
    what=f"a list of {', '.join(AXES)}",
    # a list of names, since what JSON can hold can't always be hashed
    fits=lambda value: (
        isinstance(value, list) and all(axis in [*AXES] and value.count(axis) == 1 for axis in value)
    ),
)


@takes(MIRROR)
def choose_mirror(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Axes along which half of the training samples are mirrored; none by default."""
    if not decided["orientation"]:
        return Decision(value=[], reason="The files state no orientation: nobody knows which axis is which.")
    names = decided["label_names"]
    sided = sided_names(names, context=_words(names, evidence.dataset_words))
    if sided:
        reason = (
            f"None, and left-right is refused: left and right stay apart, for classes are told by their side "
            f"({', '.join(sided[:3])}{', …' if len(sided) > 3 else ''})."
        )
        return Decision(value=[], reason=reason)
    reason = "None: scans lie as bodies do. No class is told by its side, so any axis may be asked for."
    return Decision(value=[], reason=reason)


def mirror_fault(decided: Mapping[str, Any], dataset: Mapping[str, Any]) -> str | None:
    """A sentence where axes can't be mirrored, given orientation and names of the classes."""
    sided = is_sided(decided["label_names"], dataset)
    try:
        mirrored_axes(decided["mirror"], decided["orientation"], sided=sided)
    except UserFault as fault:
        return str(fault)
    return None


def is_sided(names: Sequence[str], dataset: Mapping[str, Any]) -> bool:
    """Whether classes are told by their side; all names and the data set's decide what such as "LV" mean."""
    return bool(
        sided_names(names, context=_words(names, f"{dataset['name']} {Path(dataset['folder']).name}"))
    )


def _words(names: Sequence[str], dataset_words: str) -> str:
    return " ".join((dataset_words, *names))
