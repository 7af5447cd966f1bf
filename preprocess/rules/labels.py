"""Labels, their names and frequencies, and the post-processing."""

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.labels import foreground_of, values_of
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, is_whole, numbers, takes


def _is_labels(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return False
    entries = [item if isinstance(item, list) else [item] for item in value]
    listed = [number for entry in entries for number in entry]
    if not all(entries) or not all(is_whole(number) and number >= 0 for number in listed):
        return False
    foreground = [entry[0] for entry in entries[1:]]
    return 0 in listed and len(set(listed)) == len(listed) and foreground == sorted(foreground)


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, str) for item in value)
        and len(set(value)) == len(value)
    )


LABELS = Kind(
    what="a rising list of whole numbers that starts with 0, as in [0,1,2], where [2,3] for 2 merges both; another "
    "background than 0 stands first, and 0 then further on",
    fits=_is_labels,
)
NAMES = Kind(what="a list of different names, one per label", fits=_is_names)


@takes(LABELS)
def choose_labels(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Original label values, background first, the others in numeric order; their places are the class indices."""
    background = evidence.background
    found = sorted(value for value in evidence.labels if value != background)
    named = sorted(
        foreground_of({name: value for value, name in (evidence.label_names or {}).items()}).values()
    )
    absent = [value for value in named if value not in found]
    values = [background, *([value for value in named if value in found] or found)]
    gaps = values != list(range(len(values)))
    reason = f"{len(values) - 1} foreground classes"
    reason += " named by the data set" if named else " found in the label files"
    reason += ", mapped to 0..K in numeric order and back on the way out." if gaps else ", in numeric order."
    if absent:
        names = _listed([evidence.label_name(value) for value in absent])
        reason += f" Left out, since no case holds it to learn from: {names}."
    if named and set(found) - set(named):
        reason += (
            f" Values {_listed(sorted(set(found) - set(named)))} have no name there and become background."
        )
    if partial := [value for value in values if value in evidence.looked_for]:
        counts = [f"{evidence.label_name(value)} in {evidence.looked_for[value]}" for value in partial]
        reason += (
            f" Not looked for in all of {len(evidence.cases)} cases, but {_listed(counts)}; elsewhere neither loss nor "
            "metrics count it."
        )
    return Decision(value=values, reason=reason)


@takes(NAMES)
def choose_label_names(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """One name per entry of `labels`."""
    names = [evidence.label_name(values_of(entry)[0]) for entry in decided["labels"]]
    if evidence.label_names:
        return Decision(value=names, reason="The data set's own names.")
    reason = "The data set names no labels; edit these (the text prompts follow the names)."
    return Decision(value=names, reason=reason)


@takes(numbers(None, "a list of shares, one per label", or_null=True))
def choose_class_frequencies(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Share of each class among all label voxels of the training cases, summing to 1."""
    frequencies = [
        sum((evidence.labels[v].frequency for v in values_of(entry) if v in evidence.labels), 0.0)
        for entry in decided["labels"][1:]
    ]
    value = [round(1.0 - sum(frequencies), 9), *(round(f, 9) for f in frequencies)]
    reason = (
        f"Counted over all voxels of {len(evidence.cases)} label maps; foreground is {sum(frequencies):.3%}."
    )
    return Decision(value=value, reason=reason)


POSTPROCESSING = Kind(
    what='{} or {"largest_component":[labels]}',
    fits=lambda value: (
        isinstance(value, dict)
        and set(value) <= {"largest_component"}
        and all(is_whole(label) for labels in value.values() for label in labels)
    ),
)


@takes(POSTPROCESSING)
def choose_postprocessing(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """{}: what is done to predictions is chosen by what networks get wrong; or, overridden, {"largest_component":
    [labels]}."""
    pieces = []
    for entry, name in list(zip(decided["labels"], decided["label_names"], strict=True))[1:]:
        label, *merged = values_of(entry)
        held = evidence.labels[label].cases if label in evidence.labels else 0
        single = 0 if merged else evidence.single_component_cases.get(label, 0)  # pieces are counted by value
        pieces.append(f"{name} {single}/{held}")
    reason = (
        "Nothing: that a structure is one piece in the labels doesn't tell which piece of a prediction it is. pgsam "
        "train --folds all chooses by what networks get wrong. Cases whose labels hold one piece: "
        f"{_listed(pieces, most=12)}."
    )
    return Decision(value={}, reason=reason)


def _listed(items: list, most: int = 6) -> str:
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
