"""Matches images with labels by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath

from pgsam_monai.base.cases import stem_of
from preprocess.layouts.naming import (
    CHANNEL_WORDS,
    IMAGE_WORDS,
    LABEL_WORDS,
    NEITHER_WORDS,
    folder_group,
    folder_role,
    has_word,
    strip_words,
    unique_names,
    words,
)
from preprocess.layouts.records import Case, Found, NoMatch
from preprocess.layouts.tree import natural_key, natural_sorted, parent_of

Key = tuple[str, str]
"""(group, slash-separated name)"""


@dataclass(frozen=True)
class Roles:
    """Which files are images, which are labels, which are neither."""

    images: list[str]
    labels: list[str]
    others: list[str]


def assign_roles(paths: list[str]) -> Roles:
    """By folder names if one of them says labels, else by words in file names (case_img, case_seg)."""
    strange = [path for path in paths if has_word(stem_of(path), NEITHER_WORDS)]
    if strange:
        roles = assign_roles([path for path in paths if path not in set(strange)])
        return replace(roles, others=[*roles.others, *strange])
    by_folder = {folder: folder_role(folder) for folder in {parent_of(path) for path in paths}}
    role = {path: by_folder[parent_of(path)] for path in paths}
    if "label" in by_folder.values():
        labels = [path for path in paths if role[path] == "label"]
        images = [path for path in paths if role[path] == "image"]
        neutral = [path for path in paths if role[path] is None]
        return Roles(images, labels, neutral) if images else Roles(neutral, labels, [])
    labels = [path for path in paths if has_word(stem_of(path), LABEL_WORDS)]
    taken = set(labels)
    return Roles([path for path in paths if path not in taken], labels, [])


def pair(roles: Roles) -> Found:
    """Match by the strictest rule for names that joins the most pairs.

    Raises NoMatch when no two names agree, or when two labels (or images that aren't channels) fit one case.
    """
    best, clash = None, None
    for key_of, channels in _KEY_RULES:
        images, labels = _grouped(roles.images, key_of), _grouped(roles.labels, key_of)
        doubles = [paths for paths in labels.values() if len(paths) > 1]
        if not channels:
            doubles += [paths for paths in images.values() if len(paths) > 1]
        if doubles:
            clash = clash or doubles[0]
            continue
        matches = len(images.keys() & labels.keys())
        if best is None or matches > best[0]:
            best = (matches, images, labels)
    if best is None:
        raise NoMatch(0.9, f"the files {' and '.join(clash or [])} claim the same case; remove or rename one")
    if best[0] == 0:
        raise NoMatch(
            0.8,
            f"{len(roles.images)} images and {len(roles.labels)} labels, but no names agree "
            f"(for example {roles.images[0]} and {roles.labels[0]})",
        )
    return found_from(best[1], best[2])


def found_from(images: dict[Key, list[str]], labels: dict[Key, list[str]]) -> Found:
    """Cases for the keys that have both; test images may stay alone."""
    keys = [key for key in images if key in labels or key[0] == "test"]
    keys.sort(key=lambda key: (key[0] == "test", natural_key(key[1])))
    # A single case's folder may hold nothing but image.nii.gz and label.nii.gz: no name is left then.
    names = unique_names([name or "case" for _, name in keys])
    cases = tuple(
        Case(
            name=name,
            images=tuple(natural_sorted(images[key])),
            label=labels[key][0] if key in labels else None,
            group=key[0],
            fold=folder_group(images[key][0])[1],
        )
        for name, key in zip(names, keys, strict=True)
    )
    lone = [key for key in images if key not in labels and key[0] != "test"]
    lone_labels = [path for key, paths in labels.items() if key not in images for path in paths]
    return Found(
        cases=cases,
        images_without_label=tuple(natural_sorted(natural_sorted(images[key])[0] for key in lone)),
        labels_without_image=tuple(natural_sorted(lone_labels)),
        channel_names=_channel_names(cases),
    )


def _grouped(paths: list[str], key_of: Callable[[str], Key]) -> dict[Key, list[str]]:
    groups: dict[Key, list[str]] = defaultdict(list)
    for path in paths:
        groups[key_of(path)].append(path)
    return groups


@lru_cache(maxsize=1 << 14)
def neutral_folder(folder: str) -> str:
    """`folder` without the words that tell roles: train/images -> train, Training_Input -> training."""
    roles = set(IMAGE_WORDS + LABEL_WORDS)
    parts = []
    for part in PurePosixPath(folder).parts:
        found = words(part)
        if part.lower() in roles:
            continue
        parts.append("_".join(word for word in found if word not in roles) if roles & set(found) else part)
    return "/".join(filter(None, parts))


def _key_by_stem(path: str) -> Key:
    return _key(path, stem_of(path))


def key_without_roles(path: str) -> Key:
    return _key(path, strip_words(stem_of(path), IMAGE_WORDS + LABEL_WORDS))


def key_without_channels(path: str) -> Key:
    return _key(path, strip_words(stem_of(path), IMAGE_WORDS + LABEL_WORDS + CHANNEL_WORDS))


def _key_without_folder(path: str) -> Key:
    return folder_group(path)[0], strip_words(stem_of(path), IMAGE_WORDS + LABEL_WORDS)


def _key(path: str, stem: str) -> Key:
    folder = neutral_folder(parent_of(path))
    return folder_group(path)[0], "/".join(filter(None, (folder, stem)))


_KEY_RULES = (
    (_key_by_stem, False),
    (key_without_roles, False),
    (_key_without_folder, False),
    (key_without_channels, True),
)
"""(rule, whether images of one key are channels), strict ones first"""


def _channel_names(cases: tuple[Case, ...]) -> tuple[str, ...] | None:
    """The channel words of the file names, if every case with all channels agrees on them."""
    most = max((len(case.images) for case in cases), default=1)
    if most == 1:
        return None
    found = {tuple(_channel_word(path) for path in case.images) for case in cases if len(case.images) == most}
    return found.pop() if len(found) == 1 else None


def _channel_word(path: str) -> str:
    stem = strip_words(stem_of(path), IMAGE_WORDS + LABEL_WORDS).lower()
    bare = strip_words(stem, CHANNEL_WORDS)
    return stem.replace(bare, "").strip("_-. ") if bare else stem
