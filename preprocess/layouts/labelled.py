"""Which structures were looked for in which case: elsewhere their absence from a label map says nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import MissingFile, UserFault, did_you_mean
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.labels import foreground_of
from preprocess.layouts.records import Case, Dataset

NAMES = {"type": "array", "items": {"type": ["string", "integer"]}}
REMEDY = 'it must read {"case": ["structure", …], "*": […]}'
MASKS = "masks"
"""In a file's place: where each structure has a mask of its own, those of which a case has one were looked for in it"""
HEADING = "case"
"""The first cell of a table's first line, where that is no case"""


def values_looked_for(
    names: Sequence[Any],
    label_names: Mapping[str, int] | None,
    *,
    who: str,
    regions: Mapping[str, Sequence[int]] | None = None,
) -> tuple[int, ...] | None:
    """The values in the label files of the structures that were looked for; None where these are all that are named.

    Args:
        names: of the data set's structures, in any case of letters, or their values.
        label_names: name -> value, the background's left in; None where the data set names none.
        who: what messages call the list, at the beginning of a sentence.
        regions: further names, of several values each.

    Raises:
        UserFault: no list of names, an empty one, or a name that is none of the data set's.
    """
    if not isinstance(names, list | tuple) or not names:
        raise UserFault(
            f"{who} must list the structures that were looked for, at least one, got {str(names)[:80]}."
        )
    known = foreground_of(label_names)
    named = {name: (value,) for name, value in known.items()} | {
        n: tuple(v) for n, v in (regions or {}).items()
    }
    by_name = {name.strip().casefold(): own for name, own in named.items()}
    values: set[int] = set()
    for name in names:
        text = str(name).strip()
        if (own := by_name.get(text.casefold())) is not None:
            values.update(own)
        elif text.isdecimal() and (not known or int(text) in known.values()):
            values.add(int(text))
        else:
            raise UserFault(_unknown(text, named, who))
    return None if known and values >= set(known.values()) else tuple(sorted(values))


def with_labelled(dataset: Dataset, file: str | Path) -> Dataset:
    """The data set whose cases know which structures were looked for, as their masks say (`MASKS`), or a file.

    The file is that of `read_labelled`.

    A case's own line counts; without one the first line whose pattern (`siteA_*`) its name fits; without any what the
    data set itself says, and else every structure was looked for.

    Raises:
        UserFault: the file is misshapen, or names a case or a structure that isn't there.
    """
    if str(file) == MASKS:
        return _by_masks(dataset)
    stated = read_labelled(file)
    values = {
        case: values_looked_for(
            names, dataset.label_names, who=f"{file}: the entry of '{case}'", regions=dataset.regions
        )
        for case, names in stated.items()
    }
    cases = {case.name for case in dataset.cases}
    idle = [key for key in stated if key not in cases and not any(fnmatchcase(name, key) for name in cases)]
    if idle:
        raise UserFault(
            f"{file}: '{idle[0]}' is no case of '{dataset.name}'.{did_you_mean(idle[0], cases)}"
            " Correct it, or take the line away."
        )
    return replace(dataset, cases=tuple(_stated(case, values) for case in dataset.cases))


def _by_masks(dataset: Dataset) -> Dataset:
    if not any(isinstance(case.label, dict) for case in dataset.cases):
        raise UserFault(
            f"--labelled {MASKS}: '{dataset.name}' has no mask for each structure, whose absence could say something; "
            "give a file."
        )
    everything = {
        int(value) for case in dataset.cases if isinstance(case.label, dict) for value in case.label
    }
    cases = []
    for case in dataset.cases:
        own = {int(value) for value in case.label} if isinstance(case.label, dict) else everything
        cases.append(case if own == everything else replace(case, labelled=tuple(sorted(own))))
    return replace(dataset, cases=tuple(cases))


def _stated(case: Case, values: Mapping[str, tuple[int, ...] | None]) -> Case:
    fitting = [key for key in values if fnmatchcase(case.name, key)]
    key = case.name if case.name in values else next(iter(fitting), None)
    return case if key is None else replace(case, labelled=values[key])


def read_labelled(file: str | Path) -> dict[str, list[Any]]:
    """Case or pattern -> names of the structures that were looked for.

    A JSON file reads {"case01": ["spleen", "liver"], "*": ["liver"]}; any other is a table (CSV) with the case in the
    first cell of a line and a structure in each further one.

    Raises:
        UserFault: it is missing or misshapen, or names a case twice.
    """
    path = Path(file)
    if path.suffix.lower() == ".json":
        schema = {"type": "object", "additionalProperties": NAMES}
        return read_json(path, remedy=REMEDY, schema=schema)
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError as error:
        raise MissingFile(f"'{file}' does not exist; correct the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserFault(
            f"'{file}' can't be read as a table ({error}); write a case and its structures per line."
        ) from error
    stated: dict[str, list[Any]] = {}
    for number, line in enumerate(lines):
        case, *names = [cell.strip() for cell in line] or [""]
        if not case or (number == 0 and case.lower() == HEADING):
            continue
        if case in stated:
            raise UserFault(f"'{file}' has two lines for '{case}'; keep one of them.")
        stated[case] = [name for name in names if name]
    return stated


def looked_for(dataset: Dataset) -> dict[int, int]:
    """Value -> labelled training cases in which it was looked for, of those structures for which these aren't all."""
    cases = [case for case in dataset.cases if case.group == "train" and case.label is not None]
    named = set(foreground_of(dataset.label_names).values())
    values = named or {value for case in cases for value in case.labelled or ()}
    counts = {value: sum(case.looked_for(value) for case in cases) for value in sorted(values)}
    return {value: count for value, count in counts.items() if count < len(cases)}


def told(counts: Mapping[str, int], total: int) -> str:
    """For people: "spleen in 9, liver in 12 of 18 cases"."""
    return f"{', '.join(f'{name} in {count}' for name, count in counts.items())} of {total} cases"


def by_name(counts: Mapping[int, int], label_names: Mapping[str, int] | None) -> dict[str, int]:
    """What `looked_for` counted, by the structures' names; `label_5` for one that has none."""
    names = {value: name for name, value in (label_names or {}).items()}
    return {names.get(value, f"label_{value}"): count for value, count in counts.items()}


def _unknown(name: str, known: Iterable[str], who: str) -> str:
    if not known:
        return (
            f"{who}: '{name}' can't be found, since the data set names no structures; give their values, or name them "
            "in a labels.json."
        )
    return f"{who}: '{name}' is none of the data set's structures ({', '.join(known)}).{did_you_mean(name, known)}"
