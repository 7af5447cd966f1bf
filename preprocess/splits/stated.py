"""Whom the cases show, as the user says with `--subjects`: a file, or a regular expression."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.cases import case_name, stem_of
from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.json_files import MOST_BYTES, read_json
from pgsam_monai.base.regular import why_no_file
from preprocess.layouts.records import Case, Dataset

FLAG = "--subjects"
SUFFIXES = (".csv", ".tsv", ".txt", ".json")
CASE_COLUMNS = ("case", "name", "image", "file", "filename", "id")
SUBJECT_COLUMNS = ("subject", "subject_id", "patient", "patient_id", "participant", "participant_id")
TABLE = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}

Stated = Mapping[str, str] | re.Pattern[str]
"""(case or image file -> subject), or an expression whose group is the subject"""


def read_stated(text: str) -> Stated:
    """What the user typed, read: a table, or an expression with one group.

    Raises:
        UserFault: a table that isn't there or isn't one, an expression that can't be read or has no single group.
    """
    if Path(text).is_file() or Path(text).suffix.lower() in SUFFIXES:
        if reason := why_no_file(text):
            raise UserFault(f"{FLAG} {text}: {reason}; give a table of cases and subjects, REGEX or none.")
        return _read_json(Path(text)) if Path(text).suffix.lower() == ".json" else _read_table(Path(text))
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserFault(
            f"{FLAG} {text}: neither a file nor a regular expression ({error}); write none, a table's path, or an "
            "expression with one group, as in '(patient[0-9]+)_'."
        ) from error
    if pattern.groups != 1:
        raise UserFault(
            f"{FLAG} {text}: no such file, and an expression needs one group, not {pattern.groups}: put what names the "
            "subject into parentheses, as in '(patient[0-9]+)_'."
        )
    return pattern


def stated_subjects(dataset: Dataset, stated: Stated) -> dict[str, str]:
    """Case -> subject, for every case of the data set.

    Raises:
        UserFault: a case is left out, or there is none of a name that the table has.
    """
    if isinstance(stated, re.Pattern):
        return _by_expression(dataset, stated)
    return _by_table(dataset, stated)


def _by_expression(dataset: Dataset, pattern: re.Pattern[str]) -> dict[str, str]:
    """By the names of all cases, else by the paths of all their images."""
    places: tuple[Callable[[Case], str], ...] = (lambda case: case.name, lambda case: case.images[0])
    for text_of in places:
        found = {case.name: pattern.search(text_of(case)) for case in dataset.cases}
        if all(match and match[1] for match in found.values()):
            return {name: match[1] for name, match in found.items() if match}
    lacking = [case for case in dataset.cases if not ((match := pattern.search(case.name)) and match[1])]
    first = lacking[0]
    raise UserFault(
        f"{FLAG} {pattern.pattern}: it finds no subject in {len(lacking)} of {len(dataset.cases)} case names, such as "
        f"'{first.name}' ({first.images[0]}); it must fit all names, or all images' paths."
    )


def _by_table(dataset: Dataset, table: Mapping[str, str]) -> dict[str, str]:
    known = _known_as(dataset)
    left_out = {key for path in dataset.images_without_label for key in _keys_of(path)}
    if unknown := [key for key in table if key not in known and key not in left_out]:
        hint = did_you_mean(unknown[0], known)
        raise UserFault(
            f"{FLAG}: {len(unknown)} of its names are of no case or image, the first is '{unknown[0]}'.{hint}"
        )
    found: dict[str, str] = {}
    for key, subject in table.items():
        cases = known.get(key, [])
        if len(cases) > 1:
            raise UserFault(f"{FLAG}: '{key}' may be {' or '.join(cases[:3])}; write the cases' names.")
        if cases and found.setdefault(cases[0], subject) != subject:
            raise UserFault(f"{FLAG}: case '{cases[0]}' has two subjects, {found[cases[0]]} and {subject}.")
    if missing := [case.name for case in dataset.cases if case.name not in found]:
        raise UserFault(
            f"{FLAG} names no subject of {len(missing)} of {len(dataset.cases)} cases, the first is '{missing[0]}'; "
            "add a line for each."
        )
    return found


def _known_as(dataset: Dataset) -> dict[str, list[str]]:
    """What a case may be called -> those called so; its own name counts before others' files."""
    known: dict[str, list[str]] = {}
    for case in dataset.cases:
        for key in {key for path in case.images for key in _keys_of(path)}:
            known.setdefault(key, []).append(case.name)
    return known | {case.name: [case.name] for case in dataset.cases}


def _keys_of(path: str) -> tuple[str, ...]:
    return path, Path(path).name, stem_of(path), case_name(path)


def _read_json(file: Path) -> dict[str, str]:
    remedy = 'write {"case": "subject", ...}'
    table = read_json(file, remedy=remedy, schema=TABLE)
    return _filled({name: str(subject).strip() for name, subject in table.items()}, file)


def _read_table(file: Path) -> dict[str, str]:
    """Two columns, cases and subjects, or the two that a first line calls so; commas, semicolons or tabs between."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        mark = max("\t,;", key=(lines[0] if lines else "").count)
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark) if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserFault(f"{FLAG} {file}: no readable table ({error}); save it as UTF-8 text.") from error
    case, subject, rows = _columns(rows, file)
    if short := next((row for row in rows if len(row) <= max(case, subject)), None):
        raise UserFault(
            f"{FLAG} {file}: the line '{mark.join(short)}' lacks a column; give case and subject."
        )
    table: dict[str, str] = {}
    for row in rows:
        if table.setdefault(row[case], row[subject]) != row[subject]:
            raise UserFault(
                f"{FLAG} {file}: '{row[case]}' has two subjects, {table[row[case]]} and {row[subject]}."
            )
    return _filled(table, file)


def _columns(rows: Sequence[list[str]], file: Path) -> tuple[int, int, Sequence[list[str]]]:
    """Places of case and subject, and the rows below a heading, if there is one."""
    heading = [cell.lower() for cell in rows[0]] if rows else []
    subject = next((heading.index(word) for word in SUBJECT_COLUMNS if word in heading), None)
    case = next((heading.index(word) for word in CASE_COLUMNS if word in heading), None)
    if subject is not None and case is not None:
        return case, subject, rows[1:]
    if len(heading) != 2:
        raise UserFault(
            f"{FLAG} {file}: give two columns, case and subject, or a first line that calls two of them so."
        )
    return (0, 1, rows) if subject is None else (1 - subject, subject, rows[1:])


def _filled(table: dict[str, str], file: Path) -> dict[str, str]:
    empty = next((name for name, subject in table.items() if not subject), None)
    if empty is not None or not table:
        what = "no lines" if empty is None else f"no subject beside '{empty}'"
        raise UserFault(f"{FLAG} {file}: {what}; give a subject for every case.")
    return table
