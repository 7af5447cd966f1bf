"""Folders of images and labels with agreeing names: volumes ("paired"), 2-D pictures ("pictures"), and REFUGE's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from pgsam_monai.base.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, stem_of
from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.naming import words
from preprocess.layouts.pairing import Roles, assign_roles, pair
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import Tree, parent_of


def find_paired(tree: Tree) -> Found:
    """images/a.nii.gz and labels/a.nii.gz, or a_img.mha beside a_seg.mha, or a/image.mha and a/label.mha."""
    return _find(tree, VOLUME_SUFFIXES, "volumes")


def find_pictures(tree: Tree) -> Found:
    """images/a.png and masks/a.png, or a.jpg beside a_mask.png (also _segmentation, _label)."""
    return _find(tree, PICTURE_SUFFIXES, "pictures")


def _find(tree: Tree, endings: tuple[str, ...], kind: str) -> Found:
    paths = tree.paths(endings)
    if not paths:
        raise NoMatch(0.0, f"no {kind} ({', '.join(endings)})")
    roles = assign_roles(paths)
    if not roles.labels or not roles.images:
        raise NoMatch(0.6, _one_sided(roles))
    found = pair(roles)
    notes = list(found.notes)
    if roles.others:
        folders = sorted({parent_of(path) or "the top folder" for path in roles.others})
        notes.append(
            f"{len(roles.others)} {kind} in {', '.join(folders)} are neither images nor labels: left out"
        )
    return replace(found, label_names=read_label_names(tree), notes=tuple(notes))


def _one_sided(roles: Roles) -> str:
    """Which half is missing."""
    if roles.images:
        return (
            f"found {_where(roles.images)} but no labels/ (or masks/, segmentations/, ...) beside it "
            f"and no file named like {stem_of(roles.images[0])}_seg or {stem_of(roles.images[0])}_mask"
        )
    return f"found {_where(roles.labels)} but no images/ (or imagesTr/, img/, scans/, ...) beside it"


def _where(paths: list[str]) -> str:
    folders = sorted({parent_of(path) for path in paths})
    shown = ", ".join(f"{folder}/" if folder else "the top folder" for folder in folders[:3])
    more = f" and {len(folders) - 3} folders more" if len(folders) > 3 else ""
    return f"{shown}{more} with {len(paths)} file{'s' if len(paths) != 1 else ''}"


REFUGE_LABELS = {"optic cup": 0, "optic disc rim": 128, "background": 255}
"""The cup is darkest in the masks and lies in the disc: what is called rim is the disc without its cup."""

_ASSUMED_NAMES = "label names are REFUGE's, assumed from the layout; write a labels.json to change them"


def find_refuge(tree: Tree) -> Found:
    """Training400/Glaucoma/g0001.jpg and Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp, matched by name.

    Folders that say validation are validated by fold 0, those that say test are test cases, which may lack masks.
    """
    paths = tree.paths(PICTURE_SUFFIXES)
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
