"""A mask per structure: TotalSegmentator's folders, folders per case or per structure, suffixes of the image's name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from pgsam_monai.base.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, stem_of
from preprocess.layouts.naming import (
    CHANNEL_WORDS,
    IMAGE_WORDS,
    LABEL_WORDS,
    folder_group,
    folder_role,
    has_word,
    strip_words,
)
from preprocess.layouts.pairing import (
    Key,
    Roles,
    assign_roles,
    found_from,
    key_without_channels,
    key_without_roles,
    neutral_folder,
    pair,
)
from preprocess.layouts.records import CERTAIN, Found, NoMatch
from preprocess.layouts.tree import Tree, natural_sorted, parent_of

_BETWEEN = re.compile(r"[_\-. ]+")
Reading = tuple[Key, str]
"""a mask's case, and its structure"""
_ANNOTATOR = re.compile(r"(?i)(rater|reader|annotator|observer|expert|grader|radiologist)[_\-. ]?\w{1,2}")
_ROLES_AND_CHANNELS = IMAGE_WORDS + LABEL_WORDS + CHANNEL_WORDS


def find_structures(tree: Tree) -> Found:
    """Masks that are named for a case and a structure, in folders or in their own names.

    s0001/ct.nii.gz and s0001/segmentations/liver.nii.gz (TotalSegmentator), images/a.nii.gz and masks/a/liver.nii.gz,
    masks/liver/a.nii.gz or masks/a_liver.nii.gz, a.nii.gz beside a_liver.nii.gz, a/image.nii.gz beside a/liver.nii.gz.
    The classes are the structures of all cases in natural order; one without a case's mask is absent there.
    """
    paths = tree.paths(VOLUME_SUFFIXES) or tree.paths(PICTURE_SUFFIXES)
    images, masks = _images_and_masks(paths)
    if not images or not masks:
        raise NoMatch(0.0, "no masks beside images that are named for a structure")
    if set(map(key_without_roles, images)) & set(map(key_without_roles, masks)):
        raise NoMatch(0.5, "labels that are named like their images, not for a structure")
    readings = {path: tuple(_readings(path)) for path in masks}
    by_image, held = max(
        (_assigned(images, readings, rule) for rule in _RULES), key=lambda found: _count(found[1])
    )
    _require(paths, by_image, held)
    names = natural_sorted({structure for own in held.values() for structure in own})
    values = {structure: str(value) for value, structure in enumerate(names, start=1)}
    found = found_from(by_image, {key: [next(iter(own.values()))] for key, own in held.items()})
    own_masks = {tuple(natural_sorted(by_image[key])): own for key, own in held.items()}
    cases = tuple(
        replace(case, label=_label(own_masks[case.images], values) if case.label else None)
        for case in found.cases
    )
    left = len(masks) - _count(held)
    notes = (f"{left} files are neither images nor masks of a structure: left out",) if left else ()
    numbers = {"background": 0, **{name: int(value) for name, value in values.items()}}
    return replace(found, cases=cases, label_names=numbers, notes=(*found.notes, *notes))


def _label(own: dict[str, str], values: dict[str, str]) -> dict[str, str]:
    return {values[name]: own[name] for name in values if name in own}


def _images_and_masks(paths: list[str]) -> tuple[list[str], list[str]]:
    """By folders that say masks; else masks lie beside an image that is called image, or like them but shorter."""
    if any(folder_role(parent_of(path)) == "label" for path in paths):
        roles = assign_roles(paths)
        return roles.images, roles.labels
    images = []
    for _, beside in groupby(sorted(paths, key=parent_of), key=parent_of):
        stems = {path: stem_of(path) for path in beside}
        called = [path for path, stem in stems.items() if not strip_words(stem, _ROLES_AND_CHANNELS)]
        starts = {stem[: match.start()] for stem in stems.values() for match in _BETWEEN.finditer(stem)}
        shorter = [path for path, stem in stems.items() if stem in starts]
        images += [path for path in called if not has_word(stems[path], LABEL_WORDS)] or shorter
    taken = set(images)
    return images, [path for path in paths if path not in taken]


_RULES = (key_without_roles, key_without_channels)
"""how images are named by their cases"""


def _assigned(
    images: list[str], masks: Mapping[str, Sequence[Reading]], rule: Callable[[str], Key]
) -> tuple[dict[Key, list[str]], dict[Key, dict[str, str]]]:
    """Images by case; masks by case and structure."""
    by_image: dict[Key, list[str]] = defaultdict(list)
    for path in images:
        by_image[rule(path)].append(path)
    held: dict[Key, dict[str, str]] = defaultdict(dict)
    spelled: dict[str, str] = {}
    for path, readings in masks.items():
        for key, name in readings:
            if key in by_image:
                structure = spelled.setdefault(name.casefold(), name)  # Liver and liver are one
                if structure in held[key]:
                    both = f"{held[key][structure]} and {path}"
                    raise NoMatch(
                        0.9, f"the masks {both} are both '{structure}' of one case; remove or rename one"
                    )
                held[key][structure] = path
                break
    return dict(by_image), {key: own for key, own in held.items() if own}


def _readings(path: str) -> Iterator[Reading]:
    """Whose mask, and of what, a path may be: a folder or its name is the structure, or a part of its name."""
    group = folder_group(path)[0]
    folder, stem = neutral_folder(parent_of(path)), strip_words(stem_of(path), LABEL_WORDS)
    parts = [*filter(None, folder.split("/")), stem]
    for at in reversed(range(len(parts))):
        if _is_structure(parts[at]):
            yield (group, "/".join(parts[:at] + parts[at + 1 :])), parts[at]
    for match in reversed(list(_BETWEEN.finditer(stem))):
        before, after = stem[: match.start()], stem[match.end() :]
        for case, structure in ((before, after), (after, before)):
            if _is_structure(structure):
                yield (group, "/".join([*parts[:-1], case])), structure


@lru_cache(maxsize=1 << 14)
def _is_structure(name: str) -> bool:
    """Numbers count instances or frames, T1 is a sequence, and background is what no mask is of."""
    letters = re.sub(r"[\W\d_]", "", name)
    return bool(letters) and bool(strip_words(name, _ROLES_AND_CHANNELS)) and name.lower() != "background"


def _count(held: dict[Key, dict[str, str]]) -> int:
    return sum(map(len, held.values()))


def _require(paths: list[str], images: dict[Key, list[str]], held: dict[Key, dict[str, str]]) -> None:
    """NoMatch unless the masks are of structures that come again, and no plainer reading fits."""
    if not held or len(held) < len(images) / 2:
        raise NoMatch(
            0.5 if held else 0.0, f"masks named for a structure in {len(held)} of {len(images)} cases"
        )
    often = Counter(structure for own in held.values() for structure in own)
    if len(often) > 1 and all(_ANNOTATOR.fullmatch(name) for name in often):
        who = ", ".join(natural_sorted(often)[:4])
        raise NoMatch(CERTAIN, f"label maps of several annotators ({who}) for one image; keep one of them")
    if len(held) > 2 and max(often.values()) == 1:
        raise NoMatch(0.5, f"masks of {len(often)} names, each in one case only ({next(iter(often))})")
    many = next((files for files in images.values() if len(files) > 1), None)
    if many and not all(has_word(stem_of(file), CHANNEL_WORDS) for file in many):
        raise NoMatch(0.9, f"the images {' and '.join(many[:2])} claim the same case; remove or rename one")
    if max(map(len, held.values())) == 1 and _pairs_up(assign_roles(paths)):
        raise NoMatch(0.5, "a label for each image, not a mask for each structure")


def _pairs_up(roles: Roles) -> bool:
    try:
        return bool(roles.images and roles.labels and pair(roles).cases)
    except NoMatch:
        return False
