"""Folders of images and labels with agreeing names: volumes ("paired") and 2-D pictures ("pictures")."""

from __future__ import annotations

from dataclasses import replace

from preprocess.layouts.labelnames import read_label_names
from preprocess.layouts.pairing import Roles, assign_roles, pair
from preprocess.layouts.records import Found, NoMatch
from preprocess.layouts.tree import PICTURE_ENDINGS, VOLUME_ENDINGS, Tree, parent_of, stem_of


def find_paired(tree: Tree) -> Found:
    """images/a.nii.gz and labels/a.nii.gz, or a_img.mha beside a_seg.mha, or a/image.mha and a/label.mha."""
    return _find(tree, VOLUME_ENDINGS, "volumes")


def find_pictures(tree: Tree) -> Found:
    """images/a.png and masks/a.png, or a.jpg beside a_mask.png (also _segmentation, _label)."""
    return _find(tree, PICTURE_ENDINGS, "pictures")


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
