"""What folders and names say of whom the cases show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from preprocess.layouts.naming import folder_group, folder_role, words
from preprocess.layouts.records import Case
from preprocess.layouts.tree import parent_of

FREE_FOLDERS = ("datalist", "dicom", "structures", "paired", "pictures")
"""Layouts whose folders may be anything; those of the others mean what the layout says."""
SIDES = "l r lt rt left right od os 2ch 3ch 4ch sax lax".split()
PHASES = "ed es systole diastole arterial venous portal delayed phase inspiration expiration insp exp".split()
TIMES = "pre post before after baseline follow[-_]?up".split()
NUMBERED = (
    "t tp time timepoint day week month year v visit follow[-_]?up fu post pre ses session scan run series exam study "
    "phase frame slice slc z img image"
).split()
"""Words that count in front of a number; all of these are parts of expressions."""
MOST_TAILS = 4
_DATE = r"(?:19|20)\d\d[-.]?(?:0[1-9]|1[0-2])[-.]?(?:0[1-9]|[12]\d|3[01])"
_TAIL = re.compile(
    rf"[_\-. ]+(?:{'|'.join(SIDES + PHASES + TIMES)}|(?:{'|'.join(NUMBERED)})[_\-. ]*\d+|{_DATE})$|(?<=\d)[lr]$",
    re.IGNORECASE,
)
_HEAD = re.compile(r"^(?:l|r|left|right)[_\-. ]+", re.IGNORECASE)
_PLACE = re.compile(
    r"(?:sites?|cent(?:er|re)|hospital|clinic|scanner|vendor|batch|part|cohort|set|dataset|group|class|grade|stage|fold"
    r"|folder|task)[_\-. ]?\w{0,3}",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_PARTS = set("train training data dataset set part batch cases all full".split())


def by_names(names: Sequence[str]) -> dict[str, str] | None:
    """Case -> what is left of its name without side, phase, time point and series, where others share that.

    None where that tells no people apart: see `_if_people`. One subject of all, where nothing else can be made of them.
    """
    disbelieved = None
    # The number of liver_scan_01_t0 is a person's, that of p1_scan_2_t0 isn't: the rest of the names tells.
    for most in range(MOST_TAILS, 0, -1):
        found = _if_people({name: _without_tails(name, most) for name in names}, _is_place)
        if found and len(set(found.values())) > 1:
            return found
        disbelieved = disbelieved or found
    return disbelieved


def by_folders(cases: Sequence[Case], training: Collection[str]) -> dict[str, str] | None:
    """Case -> the highest folder that is a person's, as far as its image lies below several of its own.

    None where no level of folders tells people apart: see `_if_people`. `training`: the cases that are to be split.
    """
    folders = {case.name: parent_of(case.images[0]).split("/") for case in cases}
    for depth in range(1, max(map(len, folders.values()), default=0) + 1):
        of = {name: "/".join(parts[:depth]) if len(parts) >= depth else "" for name, parts in folders.items()}
        found = _if_people(of, _is_part)
        if found and len({found[name] for name in training}) > 1:
            return found
    return None


def _without_tails(name: str, most: int) -> str:
    for _ in range(most):
        name = _TAIL.sub("", name) or name
    return _HEAD.sub("", name) or name


def _if_people(of: Mapping[str, str], is_other: Callable[[str], bool]) -> dict[str, str] | None:
    """`of` where names that several cases share may be people's; who shares none has the case's own name.

    People are numbered, and not by years, or they are at least as many as the one who has most cases has cases.
    `is_other`: what is no person's name.
    """
    cases: dict[str, list[str]] = defaultdict(list)
    for name, subject in of.items():
        cases[subject].append(name)
    several = {
        subject for subject, own in cases.items() if subject and len(own) > 1 and not is_other(subject)
    }
    if not several:
        return None
    told = {name: subject if subject in several else name for name, subject in of.items()}
    last = [subject.rpartition("/")[2] for subject in several]
    numbered = all(re.search(r"\d", name) for name in last) and not all(map(_YEAR.fullmatch, last))
    many = len(set(told.values())) >= max(len(cases[subject]) for subject in several)
    return told if numbered or many else None


def _is_place(name: str) -> bool:
    """Whether it names a site, a class or a part of a data set."""
    return bool(_PLACE.fullmatch(name))


def _is_part(folder: str) -> bool:
    """Whether a folder bears such a name, or that of a role or group of files."""
    name = folder.rpartition("/")[2]
    bare = {word for word in words(name) if not word.isdecimal()}
    has_role = folder_role(name) is not None and not re.search(r"\d", name)
    is_group = folder_group(f"{name}/x") != ("train", None)
    return has_role or is_group or bool(bare and bare <= _PARTS) or _is_place(name)
