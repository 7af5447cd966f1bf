"""The layout of REFUGE and REFUGE2, the challenges of optic disc and cup in colour fundus photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import words
from preprocess.layouts.pairing import Roles, pair
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import PICTURE_ENDINGS, Tree, parent_of

REFUGE_LABELS = {"optic cup": 0, "optic disc rim": 128, "background": 255}
"""The cup is darkest in the masks and lies in the disc: what is called rim is the disc without its cup."""

_ASSUMED_NAMES = "label names are REFUGE's, assumed from the layout; write a labels.json to change them"


def find_refuge(tree: Tree) -> Found:
    """Training400/Glaucoma/g0001.jpg and Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp, matched by name.

    Folders that say validation are validated by fold 0, those that say test are test cases, which may lack masks.
    """
    paths = tree.paths(PICTURE_ENDINGS)
    masks = [path for path in paths if _holds_disc_and_cup(parent_of(path))]
    if not masks:
        raise NoMatch(0.0, "no folder Disc_Cup_Masks with pictures")
    found = pair(Roles([path for path in paths if path not in set(masks)], masks, []))
    names = read_label_names(tree)
    return replace(
        found,
        label_names=names or REFUGE_LABELS,
        notes=(*found.notes, *(() if names else (_ASSUMED_NAMES,))),
    )


def _holds_disc_and_cup(folder: str) -> bool:
    return any({"disc", "cup"} <= set(words(part)) for part in PurePosixPath(folder).parts)
