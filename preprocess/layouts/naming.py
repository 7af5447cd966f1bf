"""What names say: the role of a file or folder, the key of its case, short names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath

IMAGE_WORDS = (
    "images imagestr imagests imagesva image imgs img imaging input inputs "
    "scans scan volumes volume originals original"
).split()
LABEL_WORDS = (
    "labels labelstr labelsts labelsva label lbl lbls masks mask segmentations segmentation seg segs groundtruth gt "
    "annotations annotation annot manual roi rois target targets"
).split()
NEITHER_WORDS = ("superpixels",)
"""Of files that lie among the images of a data set (ISIC 2017) and are neither image nor label."""
TEST_WORDS = {"test", "tests", "testing", "imagests", "labelsts"}
VALIDATION_WORDS = {"val", "valid", "validation"}
_BESIDE_THEM = "train training data dataset set part batch cases ground truth all full".split()
_KNOWN = {*IMAGE_WORDS, *LABEL_WORDS, *TEST_WORDS, *VALIDATION_WORDS, *_BESIDE_THEM}
"""TestData and TrainingGroundTruth are words written together; ConTest and BraTS are names."""
CHANNEL_WORDS = (
    "flair t1 t1w t1ce t1gd t1c t1n t2 t2w t2f adc dwi swi pd pet ct mr mri cbf cbv tmax ttp"
).split()


def short_name(folder_name: str) -> str:
    """Task04_Hippocampus -> hippocampus; Dataset004_Foo Bar -> foo_bar."""
    name = re.sub(r"^(task|dataset)_?\d+_", "", folder_name.strip(), flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9_\-]+", "_", name.lower()).strip("_-") or "dataset"


def words(text: str) -> list[str]:
    """The lower-case words of a name: A_TrainingInput1 -> a training input 1. Ground truth is one word.

    Capitals begin words only where all of them do: BraTS, SegTHOR and imagesTs are one word each.
    """
    found = [hump.lower() for run in _RUN.findall(text) for hump in _humps(run)]
    return ["groundtruth" if word == "ground" else word for word in found if word != "truth"]


_RUN = re.compile(r"[^\W\d_]+|\d+")
"""letters of any script, or digits"""


def _humps(run: str) -> list[str]:
    camel = re.fullmatch(r"[A-Z]?[a-z]{2,}(?:[A-Z][a-z]{2,})+", run)
    return re.findall(r"[A-Z]?[a-z]+", run) if camel else [run]


def _group_words(part: str) -> set[str]:
    """What may say that a folder tests or validates: whole words, never letters inside a name."""
    found = {part.lower()}
    for run in _RUN.findall(part):
        humps = [hump.lower() for hump in _humps(run)]
        found |= {run.lower(), *(humps if _KNOWN.issuperset(humps) else ())}
    return found


@lru_cache(maxsize=1 << 14)
def folder_role(folder: str) -> str | None:
    """ "image", "label" or None; the deepest telling component decides."""
    for part in reversed(PurePosixPath(folder).parts):
        if part.lower() in LABEL_WORDS or set(words(part)) & set(LABEL_WORDS):
            return "label"
        if part.lower() in IMAGE_WORDS or set(words(part)) & set(IMAGE_WORDS):
            return "image"
    return None


def folder_group(path: str) -> tuple[str, int | None]:
    """(group, fold) of a file by its folders: test/ is group "test", val/ is validated by fold 0."""
    return _group_below(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 14)
def _group_below(folder: str) -> tuple[str, int | None]:
    found = set().union(*map(_group_words, PurePosixPath(folder).parts))
    if TEST_WORDS & found or "ts" in PurePosixPath(folder.lower()).parts:
        return "test", None
    return "train", 0 if VALIDATION_WORDS & found else None


def has_word(stem: str, vocabulary: Iterable[str]) -> bool:
    return strip_words(stem, vocabulary) != stem


def strip_words(stem: str, vocabulary: Iterable[str]) -> str:
    """`stem` without the words of `vocabulary` that stand apart: case1_seg -> case1, img001 -> 001."""
    word = _standing_apart(tuple(vocabulary))
    while (shorter := word.sub(_seam, stem, count=1).strip("_-. ")) != stem:
        stem = shorter
    return stem


@lru_cache
def _standing_apart(vocabulary: tuple[str, ...]) -> re.Pattern[str]:
    pattern = "|".join(sorted(map(re.escape, vocabulary), key=len, reverse=True))
    return re.compile(rf"(?i)(?:^|[_\-. ])(?:{pattern})(?:[_\-. ]+|$)|^(?:{pattern})(?=\d)")


def _seam(match: re.Match[str]) -> str:
    """What stays between two neighbours of a removed word: one separator."""
    inside = match.start() > 0 and match.end() < len(match.string)
    return match.group()[0] if inside else ""


def unique_names(keys: list[str]) -> list[str]:
    """Case names for slash-separated keys: the last component where unique, else as many as needed."""
    depth = {key: 1 for key in keys}
    while True:
        names = {key: "_".join(key.split("/")[-depth[key] :]) for key in keys}
        often = Counter(names.values())
        longer = [key for key in keys if often[names[key]] > 1 and depth[key] < key.count("/") + 1]
        if not longer:
            return _numbered([names[key] for key in keys])
        for key in longer:
            depth[key] += 1


def _numbered(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
