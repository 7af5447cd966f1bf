"""Several data sets with different labels as one: classes by what their names mean, each case labelled for its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import foreground_of
from pgsam_monai.base.structures.meanings import meanings_of, sides_of
from preprocess.layouts.naming import short_name, unique_names
from preprocess.layouts.records import Case, Dataset, Part

LAYOUT = "merged"


@dataclass(frozen=True)
class Class:
    """A structure of the merged data set."""

    name: str
    """as the first data set that has it spells it"""
    own: dict[int, int]
    """number of a data set -> the value in its label files"""


def merge_datasets(datasets: Sequence[Dataset], *, name: str | None = None) -> Dataset:
    """One data set of all cases, whose folder is the parts' nearest common one.

    Labels that mean the same structure, however they are spelt, are one class; they are numbered from 1 on in the order
    of the parts. Each case is labelled for the structures of its own data set. A class without a side ("kidney") of a
    data set is not used where another one tells its sides apart: nobody knows which of them its voxels are, so neither
    counts as looked for there. A name that means several things ("tumor" of no known organ) stays its data set's own.

    Args:
        datasets: at least two, of one kind of files.
        name: short name; None joins the parts' names.

    Raises:
        UserFault: kinds of files that don't go together, a data set that names no structures, or regions.
    """
    _require_mergeable(datasets)
    names = _part_names(datasets)
    classes = _classes(datasets, names)
    ignored = any(dataset.ignore is not None for dataset in datasets)
    ignore = len(classes) + 1 if ignored else None
    folder = os.path.commonpath([dataset.folder for dataset in datasets])
    parts = tuple(
        Part(
            name=part,
            folder=Path(os.path.relpath(dataset.folder, folder)).as_posix(),
            layout=dataset.layout,
            background=dataset.background,
            values=_values(number, dataset, classes, ignore),
        )
        for number, (part, dataset) in enumerate(zip(names, datasets, strict=True))
    )
    own = [_cases(dataset, part, len(classes)) for dataset, part in zip(datasets, parts, strict=True)]
    label_names = {"background": 0} | {each.name: value for value, each in enumerate(classes, start=1)}
    channels = {dataset.channel_names for dataset in datasets}
    return Dataset(
        name=short_name(name or "_".join(names)),
        folder=folder,
        layout=LAYOUT,
        file_format=datasets[0].file_format,
        cases=_renamed(own, names),
        images_without_label=_placed(datasets, parts, "images_without_label"),
        labels_without_image=_placed(datasets, parts, "labels_without_image"),
        label_names=label_names | ({} if ignore is None else {"ignore": ignore}),
        channel_names=datasets[0].channel_names if len(channels) == 1 else None,
        parts=parts,
        notes=_notes(datasets, names, classes, differing=len(channels) > 1),
    )


def _require_mergeable(datasets: Sequence[Dataset]) -> None:
    formats = sorted({dataset.file_format for dataset in datasets})
    if len(formats) > 1 or formats == ["archive"]:
        raise UserFault(
            f"--merge: the data sets hold {' and '.join(formats)} files; only volumes with volumes go together, or "
            "pictures with pictures."
        )
    for dataset in datasets:
        if dataset.regions:
            raise UserFault(
                f"--merge: '{dataset.folder}' labels regions, which can't be merged; name each value of its label maps."
            )
        if not foreground_of(dataset.label_names):
            raise UserFault(
                f"--merge: '{dataset.folder}' names no structures, by which labels are told to be the same; write a "
                'labels.json into it: {"spleen": 1, …}.'
            )


def _part_names(datasets: Sequence[Dataset]) -> list[str]:
    """Their short names, with numbers where these are the same."""
    return unique_names([dataset.name for dataset in datasets])


def _classes(datasets: Sequence[Dataset], names: Sequence[str]) -> list[Class]:
    """By meaning, in the order of the data sets and their values."""
    told: list[dict[int, str]] = []
    for dataset in datasets:
        foreground = {value: name for name, value in foreground_of(dataset.label_names).items()}
        told.append(meanings_of(foreground, dataset.name))
    found: dict[str, Class] = {}
    for number, dataset in enumerate(datasets):
        for name, value in foreground_of(dataset.label_names).items():
            meaning = told[number].get(value)
            if meaning and _is_told_apart_elsewhere(meaning, number, told):
                continue
            key = meaning or f"{name} of {number}"
            found.setdefault(key, Class(name, {})).own[number] = value
    often = Counter(each.name for each in found.values())
    return [
        each if often[each.name] == 1 else replace(each, name=f"{each.name} ({names[min(each.own)]})")
        for each in found.values()
    ]


def _is_told_apart_elsewhere(meaning: str, number: int, told: Sequence[Mapping[int, str]]) -> bool:
    sides = set(sides_of(meaning))
    return not sides & set(told[number].values()) and any(sides & set(other.values()) for other in told)


def _values(number: int, dataset: Dataset, classes: Sequence[Class], ignore: int | None) -> dict[int, int]:
    values = {each.own[number]: value for value, each in enumerate(classes, start=1) if number in each.own}
    return values if dataset.ignore is None or ignore is None else values | {dataset.ignore: ignore}


def _cases(dataset: Dataset, part: Part, count: int) -> list[Case]:
    """Those of one part, with its paths, values and structures; `count`: classes in all."""
    classes = {own: value for own, value in part.values.items() if value <= count}
    made = []
    for case in dataset.cases:
        known = sorted(value for own, value in classes.items() if case.looked_for(own))
        label, values = _label(case, part)
        made.append(
            replace(
                case,
                images=tuple(_below(part.folder, path) for path in case.images),
                label=label,
                values=values,
                labelled=None if len(known) == count else tuple(known),
                subject=None if case.subject is None else f"{part.name}/{case.subject}",
            )
        )
    return made


def _label(case: Case, part: Part) -> tuple[Any, dict[int, int] | None]:
    """Masks change their values' names; a label map is read with other values."""
    if isinstance(case.label, dict):
        masks = {
            str(part.values[int(own)]): _below(part.folder, path)
            for own, path in case.label.items()
            if int(own) in part.values
        }
        first = next(iter(case.label.values()))
        return masks or {"0": _below(part.folder, first)}, None
    if case.label is None:
        return None, None
    return _below(part.folder, case.label), part.values


def _renamed(own: Sequence[Sequence[Case]], names: Sequence[str]) -> tuple[Case, ...]:
    """Training cases first; a name that comes again gets its data set's before it."""
    often = Counter(case.name for cases in own for case in cases)
    called = [
        replace(case, name=case.name if often[case.name] == 1 else f"{part}_{case.name}")
        for part, cases in zip(names, own, strict=True)
        for case in cases
    ]
    unique = unique_names([case.name for case in called])
    cases = [replace(case, name=name) for case, name in zip(called, unique, strict=True)]
    return tuple(sorted(cases, key=lambda case: case.group == "test"))


def _placed(datasets: Sequence[Dataset], parts: Sequence[Part], field: str) -> tuple[str, ...]:
    return tuple(
        _below(part.folder, path)
        for dataset, part in zip(datasets, parts, strict=True)
        for path in getattr(dataset, field)
    )


def _below(folder: str, path: str) -> str:
    return path if folder == "." or path.startswith("/") else f"{folder}/{path}"


def _notes(
    datasets: Sequence[Dataset], names: Sequence[str], classes: Sequence[Class], *, differing: bool
) -> tuple[str, ...]:
    shared = "; ".join(f"{each.name}: {', '.join(names[number] for number in each.own)}" for each in classes)
    notes = [
        f"{name}: {note}" for name, dataset in zip(names, datasets, strict=True) for note in dataset.notes
    ]
    for number, (name, dataset) in enumerate(zip(names, datasets, strict=True)):
        used = {each.own[number] for each in classes if number in each.own}
        for structure, value in foreground_of(dataset.label_names).items():
            if value not in used:
                notes.append(
                    f"{structure} of {name} isn't used: another data set tells right and left apart, there nobody knows"
                )
    if differing:
        notes.append("the data sets call their channels differently; they are taken to be the same")
    return (f"classes and who labels them: {shared}; values without a name are background", *notes)
