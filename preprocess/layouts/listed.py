"""Cases from a JSON that lists its files (Decathlon, MONAI datalist, nnU-Net's "dataset" key)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgsam_monai.base.cases import stem_of
from preprocess.layouts.labelled import values_looked_for
from preprocess.layouts.naming import CHANNEL_WORDS, IMAGE_WORDS, LABEL_WORDS, strip_words, unique_names
from preprocess.layouts.records import CERTAIN, Case, Found, NoMatch
from preprocess.layouts.tree import Tree, natural_key, natural_sorted, parent_of

SUBJECT_KEYS = ("subject", "subject_id", "patient", "patient_id")
LABELLED = "labelled_structures"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One listed case, before the disk is asked."""

    images: tuple[str, ...]
    label: str | None
    group: str
    fold: int | None = None
    name: str | None = None
    subject: str | None = None
    labelled: Any = None
    """names of the structures that were looked for, as they stand there; None: all"""


@dataclass
class _Sorted:
    """Entries by what the disk says of them."""

    complete: list[Entry] = field(default_factory=list)
    lone_images: list[str] = field(default_factory=list)
    lone_labels: list[str] = field(default_factory=list)
    absent_tests: list[str] = field(default_factory=list)


def parse_entries(
    tree: Tree, listing: str, key: str, raw: Any, *, group: str, fold: int | None = None
) -> list[Entry]:
    """The entries under `key` of the JSON file `listing`; paths are relative to that file.

    An entry may also have "name", "fold" and "labelled_structures", the names of those that were looked for.

    Raises NoMatch when an entry isn't {"image": path or [paths], "label": path} (a test entry may be a path).
    """
    if not isinstance(raw, list):
        raise NoMatch(0.5, f'{listing}: "{key}" is not a list')
    entries = []
    for number, item in enumerate(raw):
        item = {"image": item} if isinstance(item, str) and group == "test" else item
        images = item.get("image", item.get("images")) if isinstance(item, dict) else None
        images = [images] if isinstance(images, str) else images
        if not isinstance(images, list) or not images or not all(isinstance(path, str) for path in images):
            raise NoMatch(0.6, f'{listing}: "{key}" entry {number} names no "image": {str(item)[:80]}')
        label = item.get("label")
        label = label[0] if isinstance(label, list) and len(label) == 1 else label
        if label is not None and not isinstance(label, str):
            got = f'{listing}: "{key}" entry {number}: "label" must be one path, got {str(label)[:80]}'
            raise NoMatch(0.6, got)
        name, fold_of_it = _name_and_fold(item, fold, f'{listing}: "{key}" entry {number}')
        entries.append(
            Entry(
                images=tuple(_relative(tree, listing, path) for path in images),
                label=_relative(tree, listing, label) if label else None,
                group=group,
                fold=fold_of_it,
                name=name,
                subject=_subject(item, f'{listing}: "{key}" entry {number}'),
                labelled=item.get(LABELLED),
            )
        )
    return entries


def _subject(item: dict[str, Any], entry: str) -> str | None:
    key = next((key for key in SUBJECT_KEYS if item.get(key) is not None), None)
    if key is None:
        return None
    subject = item[key]
    if isinstance(subject, bool) or not isinstance(subject, str | int) or not str(subject).strip():
        raise NoMatch(CERTAIN, f'{entry}: "{key}" must be a text, got {str(subject)[:80]}')
    return str(subject).strip()


def _name_and_fold(item: dict[str, Any], fold: int | None, entry: str) -> tuple[str | None, int | None]:
    name, fold = item.get("name"), item.get("fold", fold)
    if name is not None and not (isinstance(name, str | int) and str(name).strip("/. ")):
        raise NoMatch(CERTAIN, f'{entry}: "name" must be a text, got {str(name)[:80]}')
    if fold is not None and (not isinstance(fold, int) or isinstance(fold, bool) or fold < 0):
        raise NoMatch(CERTAIN, f'{entry}: "fold" must be a whole number from 0 on, got {str(fold)[:80]}')
    return None if name is None else str(name), fold


def found_from_entries(
    tree: Tree, listing: str, entries: list[Entry], label_names: Mapping[str, int] | None
) -> Found:
    """Sort `entries` by what lies on disk. Raises NoMatch when none of the files does.

    `label_names`: the listing's own, which say what `labelled_structures` are. An entry whose files are all absent
    stays a case, so that the reader names the missing file.
    """
    sorted_ = _sort(tree, entries)
    if not any(_exists(tree, path) for entry in entries for path in (*entry.images, entry.label) if path):
        example = entries[0].images[0] if entries else "-"
        raise NoMatch(
            0.9,
            f"{listing} lists {len(entries)} cases but none of their files exist (for example {example}); "
            "its paths must be relative to the folder it lies in",
        )
    complete = sorted(sorted_.complete, key=lambda e: (e.group == "test", natural_key(_entry_key(e))))
    names = unique_names([_entry_key(entry) for entry in complete])
    notes = []
    if sorted_.absent_tests:
        notes.append(f"{len(sorted_.absent_tests)} test images of {listing} are not on disk: left out")
    return Found(
        cases=tuple(
            Case(
                name=name,
                images=entry.images,
                label=entry.label,
                group=entry.group,
                fold=entry.fold,
                subject=entry.subject,
                labelled=None
                if entry.labelled is None
                else values_looked_for(entry.labelled, label_names, who=f"{listing}: {LABELLED} of '{name}'"),
            )
            for name, entry in zip(names, complete, strict=True)
        ),
        images_without_label=tuple(natural_sorted(sorted_.lone_images)),
        labels_without_image=tuple(natural_sorted(sorted_.lone_labels)),
        notes=tuple(notes),
    )


def unlisted_note(listing: str, files: Iterable[str], entries: list[Entry]) -> list[str]:
    """A note on `files` that no entry names, none if there are none."""
    listed = {path for entry in entries for path in (*entry.images, entry.label)}
    extra = natural_sorted(path for path in files if path not in listed)
    if not extra:
        return []
    shown = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
    return [f"{len(extra)} files are not listed in {listing}: left out ({shown})"]


def _sort(tree: Tree, entries: list[Entry]) -> _Sorted:
    result = _Sorted()
    for entry in entries:
        image_there = _exists(tree, entry.images[0])
        label_there = entry.label is not None and _exists(tree, entry.label)
        if entry.group == "test":
            if image_there:
                result.complete.append(entry)
            else:
                result.absent_tests.append(entry.images[0])
        elif image_there and not label_there:
            result.lone_images.append(entry.images[0])
        elif label_there and not image_there:
            result.lone_labels.append(entry.label or "")
        elif entry.label is None:
            result.lone_images.append(entry.images[0])
        else:
            result.complete.append(entry)
    return result


def _exists(tree: Tree, path: str) -> bool:
    return path in tree.files or tree.has(path)


def _relative(tree: Tree, listing: str, path: str) -> str:
    """`path` of a listing, relative to the data set; absolute if it leaves it."""
    if Path(path).is_absolute():
        inside = Path(path).is_relative_to(tree.root)
        return Path(path).relative_to(tree.root).as_posix() if inside else Path(path).as_posix()
    joined = posixpath.normpath(posixpath.join(parent_of(listing), path))
    return posixpath.normpath((tree.root / joined).as_posix()) if joined.startswith("..") else joined


def _entry_key(entry: Entry) -> str:
    """What tells the case: its name if listed, else its first image's path without ending and role words."""
    if entry.name:
        return entry.name.replace("/", "_")
    first = entry.images[0]
    roles = IMAGE_WORDS + LABEL_WORDS
    stem = strip_words(stem_of(first), roles)
    if len(entry.images) > 1:
        stem = re.sub(r"_\d{4}$", "", strip_words(stem, CHANNEL_WORDS))
    return "/".join(filter(None, (parent_of(first).lstrip("/"), stem))) or stem_of(first)
