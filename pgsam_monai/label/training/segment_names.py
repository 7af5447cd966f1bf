"""Labels that a client saved, by the names of their segments: which of their values is which class.

3D Slicer numbers the segments that are there, 1, 2, …, whatever their values in the data set, and tells their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.cases import case_name
from pgsam_monai.base.labels import check_labels
from pgsam_monai.bundle import Bundle
from pgsam_monai.prompts.click_names import find_class

BACKGROUND, SCRIBBLES = "background", "scribbles"


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A bundle's classes and what stands for them in label files."""

    values: Mapping[str, int]
    """foreground names as the user gave them -> the value written for them"""
    known: frozenset[int]
    """all values that mean one of them; several may mean the same"""
    background: int


@dataclass(frozen=True, kw_only=True)
class StudyLabel:
    """A study's label as the bundle is trained on it."""

    file: Path
    """the user's own, or a copy whose values are the data set's"""
    classes: frozenset[int]
    """foreground values in it, the data set's"""
    warnings: tuple[str, ...] = ()
    """a sentence for whatever is left out"""


def read_classes(root: Path) -> Classes:
    """What the bundle in `root` was planned for."""
    plan = Bundle(root, configs=()).decisions
    entries = check_labels(plan["labels"])
    written = [entry[0] for entry in entries]
    return Classes(
        values=dict(zip(plan["label_names"][1:], written[1:], strict=True)),
        known=frozenset(value for entry in entries[1:] for value in entry),
        background=written[0],
    )


def read_study_label(
    label: Path, info: Mapping[str, Any], classes: Classes, *, study: str, folder: Path
) -> StudyLabel:
    """The label of a study in the data set's values.

    Where the record tells the names of the segments, values follow the names, and a copy is written unless the file
    has the data set's values already. Where it doesn't, the file's values are taken as the data set's.

    Args:
        label: the saved file, which stays as it is.
        info: what the datastore knows of it.
        classes: of the bundle.
        study: what messages call it.
        folder: where copies go; one per label file, replaced when it is saved anew.

    Raises:
        ReadError: the file can't be read.
    """
    from pgsam_monai.base.volume import read_label_file

    voxels, affine = read_label_file(label)
    present = [int(value) for value in np.unique(voxels)]
    segments = segment_values(info)
    if segments is None:
        return _as_it_is(label, present, classes, study)
    meant, warnings = meaning_of(segments, present, classes, study=study)
    kept = frozenset(value for value in meant.values() if value != classes.background)
    if all(meant[value] == value for value in present):
        return StudyLabel(file=label, classes=kept, warnings=warnings)
    copy = _write_copy(voxels, meant, label, affine, folder)
    return StudyLabel(file=copy, classes=kept, warnings=warnings)


def segment_values(info: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """The names of a saved label's segments and their values in its file; None where the record tells none.

    `label_info` is what 3D Slicer sends: [{"name", "idx"}, …]. Its idx counts all segments from 1, but what it saves
    are the numbers of those that are neither background nor scribbles; so with such entries a value is the rank among
    the others, unless the background is 0, as voxels have it. `params` with `label_names` is what this server tells of
    its own results.
    """
    entries = info.get("label_info")
    if _names_segments(entries):
        others = [entry for entry in entries if not _is_no_structure(entry["name"])]
        left_out = [entry for entry in entries if _is_no_structure(entry["name"])]
        ranked = any(entry.get("idx") != 0 for entry in left_out)
        return [
            (entry["name"], rank if ranked else _index(entry, rank))
            for rank, entry in enumerate(others, start=1)
        ]
    params = info.get("params")
    names = params.get("label_names") if isinstance(params, Mapping) else None
    if isinstance(names, Mapping) and names and all(type(value) is int for value in names.values()):
        return [(str(name), value) for name, value in names.items() if not _is_no_structure(str(name))]
    return None


def meaning_of(
    segments: Sequence[tuple[str, int]], present: Sequence[int], classes: Classes, *, study: str
) -> tuple[dict[int, int], tuple[str, ...]]:
    """What each of the values present means in the data set, and a sentence for what means nothing there."""
    meant = {value: classes.background for value in (*present, 0)}
    named: dict[int, str] = {}
    warnings = []
    for name, value in segments:
        found = class_named(name, classes)
        if value not in present:
            continue
        if value in named:
            warnings.append(
                f"Study '{study}': its segments '{named[value]}' and '{name}' share the value {value}; it trains as "
                f"'{named[value]}'."
            )
            continue
        named[value] = name
        if found is None:
            warnings.append(
                f"Study '{study}': its segment '{name}' is left out, the bundle knows only "
                f"{', '.join(classes.values)}; rename it if it is one of them."
            )
        else:
            meant[value] = classes.values[found]
    nameless = sorted(value for value in present if value and value not in named)
    if nameless:
        warnings.append(
            f"Study '{study}': its values {nameless} are left out, none of its segments has them."
        )
    return meant, tuple(warnings)


def class_named(name: str, classes: Classes) -> str | None:
    """The bundle's class of that name, or else the only one that differs in capitals and outer blanks alone."""
    return find_class(name.strip(), list(classes.values))


def _as_it_is(label: Path, present: Sequence[int], classes: Classes, study: str) -> StudyLabel:
    unknown = sorted(set(present) - classes.known - {classes.background, 0})
    warnings = ()
    if unknown:
        warnings = (
            f"Study '{study}': its values {unknown} are left out, the bundle knows {sorted(classes.known)}; save it "
            "with the names of its segments, or with the data set's values.",
        )
    return StudyLabel(file=label, classes=classes.known & set(present), warnings=warnings)


def _write_copy(
    voxels: np.ndarray, meant: Mapping[int, int], label: Path, affine: np.ndarray, folder: Path
) -> Path:
    """At a path that depends on the label's own alone, so that what was made of an earlier copy is renewed."""
    import hashlib

    from pgsam_monai.voxels.saving import save_label_map

    values, places = np.unique(voxels, return_inverse=True)
    new = np.asarray([meant[int(value)] for value in values], dtype=np.int32)
    dtype = np.uint8 if new.max() < 1 << 8 else np.uint16 if new.max() < 1 << 16 else np.int32
    name = f"{case_name(label)}-{hashlib.sha256(str(label).encode()).hexdigest()[:10]}"
    remapped = new.astype(dtype)[places.reshape(voxels.shape)]
    return save_label_map(remapped, folder, name, label, affine=affine)


def _names_segments(entries: Any) -> bool:
    return (
        isinstance(entries, Sequence)
        and bool(entries)
        and all(isinstance(entry, Mapping) and isinstance(entry.get("name"), str) for entry in entries)
    )


def _index(entry: Mapping[str, Any], rank: int) -> int:
    return entry["idx"] if type(entry.get("idx")) is int else rank


def _is_no_structure(name: str) -> bool:
    return _plain(name) == BACKGROUND or SCRIBBLES in _plain(name)


def _plain(name: str) -> str:
    return name.strip().casefold()
