"""BraTS, of every year: a folder per case with its MR sequences, a file each, and the segmentation."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from pgsam_monai.base.cases import NIFTI_SUFFIXES, stem_of
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import words
from preprocess.layouts.pairing import found_from
from preprocess.layouts.records import CERTAIN, Found, NoMatch
from preprocess.layouts.tree import Tree, natural_sorted, parent_of

SEQUENCES = {
    "t1": "T1", "t1n": "T1", "t1ce": "T1 contrast-enhanced", "t1gd": "T1 contrast-enhanced",
    "t1c": "T1 contrast-enhanced", "t2": "T2", "t2w": "T2", "flair": "FLAIR", "t2f": "FLAIR",
}  # fmt: skip
"""what a file's name says -> the channel; FLAIR comes last in every year"""
CHANNELS = tuple(dict.fromkeys(SEQUENCES.values()))
LABELS = ("seg", "gtv")
"""gtv: of meningiomas before radiotherapy"""
_FILE = re.compile(rf"(?P<case>brats.+)[_-](?P<kind>{'|'.join((*SEQUENCES, *LABELS))})", re.IGNORECASE)

UNTIL_2021, SINCE_2023, AFTER_TREATMENT = "BraTS until 2021", "BraTS since 2023", "BraTS after treatment"
RADIOTHERAPY, PAEDIATRIC = "BraTS-MEN-RT", "BraTS-PED"
_TUMOR = {"background": 0, "necrotic tumor core": 1, "edema": 2}
LABEL_NAMES = {
    UNTIL_2021: {**_TUMOR, "enhancing tumor": 4},
    SINCE_2023: {**_TUMOR, "enhancing tumor": 3},
    AFTER_TREATMENT: {**_TUMOR, "enhancing tumor": 3, "resection cavity": 4},
    RADIOTHERAPY: {"background": 0, "gross tumor volume": 1},
}


def find_brats(tree: Tree) -> Found:
    """The channels are T1, T1 contrast-enhanced, T2 and FLAIR, as far as the cases have them, in this order.

    A case without segmentation below a folder of validation or test cases is a test case. The names of the labels go by
    the year's naming of files; children's tumours (PED) have none, since their values changed from year to year.
    """
    images: dict[str, dict[str, str]] = defaultdict(dict)
    labels: dict[str, str] = {}
    for path in tree.paths(NIFTI_SUFFIXES):
        match = _FILE.fullmatch(stem_of(path))
        if match is None:
            continue
        kind, case = match["kind"].lower(), match["case"]
        told = labels if kind in LABELS else images[case]
        key = case if kind in LABELS else SEQUENCES[kind]
        if key in told:
            raise NoMatch(0.9, f"the files {told[key]} and {path} claim the same case; remove or rename one")
        told[key] = path
    images = {case: files for case, files in images.items() if files}
    _require(images, labels)
    channels = [channel for channel in CHANNELS if any(channel in files for files in images.values())]
    found = _found(images, labels, channels)
    own = read_label_names(tree)
    names, note = (own, ()) if own else _assumed_names(tree, labels)
    return replace(found, label_names=names, channel_names=tuple(channels), notes=(*found.notes, *note))


def _require(images: dict[str, dict[str, str]], labels: dict[str, str]) -> None:
    """NoMatch unless segmentations lie beside MR sequences."""
    if not images.keys() & labels.keys():
        what = f"{len(images)} cases of MR sequences and {len(labels)} segmentations, none of one name"
        raise NoMatch(
            0.7 if images or labels else 0.0, what if images or labels else "no files called BraTS…"
        )


def _found(images: dict[str, dict[str, str]], labels: dict[str, str], channels: list[str]) -> Found:
    keyed_images, keyed_labels = {}, {}
    for case, files in images.items():
        above = words(parent_of(next(iter(files.values()))))
        held_back = case not in labels and {"validation", "test", "testing"} & set(above)
        key = ("test" if held_back else "train", case)
        keyed_images[key] = [files[channel] for channel in channels if channel in files]
        if case in labels:
            keyed_labels[key] = [labels[case]]
    keyed_labels |= {("train", case): [path] for case, path in labels.items() if case not in images}
    found = found_from(keyed_images, keyed_labels)
    # found_from puts channels into the order of their names
    cases = tuple(
        replace(
            case, images=tuple(keyed_images[case.group, case.name]), fold=None, subject=_subject(case.name)
        )
        for case in found.cases
    )
    return replace(found, cases=cases)


def _subject(case: str) -> str | None:
    """BraTS-GLI-00000-001 is the second visit of BraTS-GLI-00000."""
    match = re.fullmatch(r"(BraTS-.+-\d+)-\d+", case, re.IGNORECASE)
    return match[1] if match else None


def _assumed_names(tree: Tree, labels: dict[str, str]) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """By what all cases' names have in common."""
    styles = {_style(case, path, tree.root.name) for case, path in labels.items()}
    if AFTER_TREATMENT in styles:
        styles.discard(SINCE_2023)  # the same values, and one more
    if len(styles) > 1:
        raise NoMatch(
            CERTAIN, f"label maps of {' and '.join(natural_sorted(styles))}, whose values differ; pass one"
        )
    style = styles.pop()
    if style == PAEDIATRIC:
        return None, (f"{style}'s values changed from year to year: name them in a labels.json",)
    note = (
        f"label names are those of {style}, assumed from the files' names; write a labels.json to change them"
    )
    return LABEL_NAMES[style], (note,)


def _style(case: str, path: str, root: str) -> str:
    if stem_of(path).lower().endswith("gtv"):
        return RADIOTHERAPY
    if re.match(r"BraTS-PED", case, re.IGNORECASE):
        return PAEDIATRIC
    if not re.match(r"BraTS-", case, re.IGNORECASE):
        return UNTIL_2021
    treated = re.fullmatch(r"BraTS-GLI-\d+-1\d\d", case, re.IGNORECASE) or "2024" in f"{root}/{path}"
    return AFTER_TREATMENT if treated and "-GLI-" in case.upper() else SINCE_2023
