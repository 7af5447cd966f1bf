"""Tries the layouts in order and says, when none fits, which came nearest."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgsam_monai.base.cases import file_format
from pgsam_monai.base.errors import UserFault, did_you_mean, nearest
from preprocess.layouts.atrium import find_atrium, find_atrium_archives
from preprocess.layouts.bids import find_bids
from preprocess.layouts.brats import find_brats
from preprocess.layouts.challenges import find_acdc, find_kits, find_lits, find_mmwhs, find_promise12
from preprocess.layouts.datalist import find_datalist
from preprocess.layouts.decathlon import find_decathlon
from preprocess.layouts.dicom import find_dicom
from preprocess.layouts.folders import find_paired, find_pictures, find_refuge
from preprocess.layouts.naming import short_name
from preprocess.layouts.nnunet import find_nnunet
from preprocess.layouts.records import CERTAIN, Dataset, Found, NoMatch
from preprocess.layouts.structures import find_structures
from preprocess.layouts.synapse import find_synapse, find_transunet
from preprocess.layouts.tree import Tree, count_files, list_tree


@dataclass(frozen=True)
class Layout:
    """How to find one layout, and what it looks like."""

    find: Callable[[Tree], Found]
    """raises NoMatch when the layout does not fit"""
    looks_like: str


LAYOUTS: dict[str, Layout] = {
    "nnunet": Layout(
        find_nnunet, "imagesTr/case_0000.nii.gz (one per channel), labelsTr/case.nii.gz, dataset.json"
    ),
    "msd": Layout(find_decathlon, "imagesTr/case.nii.gz, labelsTr/case.nii.gz, both listed in dataset.json"),
    "synapse": Layout(
        find_synapse, "img/img0001.nii.gz, label/label0001.nii.gz, also below RawData/Training"
    ),
    "transunet": Layout(find_transunet, "train_npz/case0005_slice000.npz, test_vol_h5/case0001.npy.h5"),
    "la": Layout(
        find_atrium, "Training Set/<case>/lgemri.nrrd and laendo.nrrd (2018 Atrial Segmentation Challenge)"
    ),
    "la_h5": Layout(find_atrium_archives, "<case>/mri_norm2.h5, train.list, test.list (UA-MT's form of LA)"),
    "promise12": Layout(
        find_promise12, "Case00.mhd, Case00_segmentation.mhd, also in TrainingData_Part1, TestData"
    ),
    "brats": Layout(
        find_brats,
        "<case>/<case>_flair, _t1, _t1ce, _t2 and _seg.nii.gz (BraTS 2012 to 2021), "
        "or <case>-t1n, -t1c, -t2w, -t2f and -seg.nii.gz (from 2023 on)",
    ),
    "acdc": Layout(
        find_acdc,
        "patient001/patient001_frame01.nii.gz and patient001_frame01_gt.nii.gz, also in training/, testing/",
    ),
    "kits": Layout(
        find_kits,
        "case_00000/imaging.nii.gz with aggregated_MAJ_seg.nii.gz (KiTS21) or segmentation.nii.gz (KiTS19, KiTS23)",
    ),
    "lits": Layout(find_lits, "volume-0.nii, segmentation-0.nii, also in Training Batch 1 and 2"),
    "mmwhs": Layout(
        find_mmwhs, "ct_train/ct_train_1001_image.nii.gz and _label.nii.gz, or mr_train/ (MM-WHS 2017)"
    ),
    "refuge": Layout(
        find_refuge,
        "Training400/Glaucoma/g0001.jpg, Disc_Cup_Masks/Glaucoma/g0001.bmp (0 cup, 128 disc, 255 background)",
    ),
    "bids": Layout(
        find_bids,
        "sub-01/anat/sub-01_T1w.nii.gz, derivatives/<name>/sub-01/anat/sub-01_dseg.nii.gz or _mask",
    ),
    "datalist": Layout(find_datalist, 'a JSON with "training": [{"image": path, "label": path}, ...]'),
    "dicom": Layout(find_dicom, "a folder of DICOM files per case, and label volumes named like the folders"),
    "structures": Layout(
        find_structures,
        "s0001/ct.nii.gz and s0001/segmentations/liver.nii.gz, spleen.nii.gz, ... (TotalSegmentator); "
        "masks/case/liver.nii.gz, masks/liver/case.nii.gz; case.nii.gz beside case_liver.nii.gz",
    ),
    "paired": Layout(
        find_paired, "images/case.nii.gz, labels/case.nii.gz or case_img.nrrd beside case_seg.nrrd"
    ),
    "pictures": Layout(find_pictures, "images/case.png, masks/case.png or case.jpg beside case_mask.png"),
}
"""In the order in which they are tried."""


def find_dataset(folder: str | Path, *, layout: str | None = None, name: str | None = None) -> Dataset:
    """Find the cases below `folder` (or of a datalist JSON), without opening any image.

    The first layout that yields a complete case wins; failing that, the first that recognises the images.
    `layout` forces one; `name` replaces the short name made from the folder's. An image without label or a
    label without image is recorded, not an error. Raises UserFault when nothing fits.
    """
    path = Path(os.path.abspath(Path(folder).expanduser()))
    if layout is not None and layout not in LAYOUTS:
        raise UserFault(_unknown_layout(layout))
    tree, listing = _listed(path)
    if listing is not None and layout not in (None, "datalist"):
        raise UserFault(f"{path}: layout {layout!r} needs a folder, got a file; pass its folder.")
    if listing is not None:
        finders = {"datalist": lambda tree: find_datalist(tree, listing)}
    else:
        finders = {key: LAYOUTS[key].find for key in ([layout] if layout else LAYOUTS)}
    chosen, found = _first_fit(path, tree, finders, forced=layout or ("datalist" if listing else None))
    return Dataset(
        name=short_name(name or tree.root.name),
        folder=str(tree.root),
        layout=chosen,
        file_format=_file_format(path, found),
        **{field: getattr(found, field) for field in Found.__dataclass_fields__},
    )


def _listed(path: Path) -> tuple[Tree, str | None]:
    """The tree of a folder; for a JSON file its folder's tree and the file's name."""
    try:
        if path.is_file():
            if path.suffix.lower() != ".json":
                raise UserFault(f"{path} is a file; pass the folder of the data set, or a datalist JSON.")
            return list_tree(path.parent), path.name
        if not path.exists():
            raise UserFault(f"{path} does not exist.{_similar(path)}")
        tree = list_tree(path)
    except OSError as error:
        raise UserFault(f"{path} can't be listed: {error}; check its permissions.") from error
    if not any(tree.files.values()):
        raise UserFault(f"{path} holds no files; pass the folder that contains the images and labels.")
    return tree, None


def _first_fit(
    path: Path, tree: Tree, finders: dict[str, Callable[[Tree], Found]], *, forced: str | None
) -> tuple[str, Found]:
    without_labels: tuple[str, Found] | None = None
    misses: dict[str, NoMatch] = {}
    for key, find in finders.items():
        try:
            found = find(tree)
        except NoMatch as miss:
            misses[key] = miss
            if miss.nearness >= CERTAIN:
                raise UserFault(f"{path}: {miss.found}.") from miss
            continue
        if any(case.label for case in found.cases):
            return key, found
        without_labels = without_labels or (key, found)
    if without_labels:
        return without_labels
    if forced:
        raise UserFault(_forced_miss(path, tree, forced, misses[forced]))
    raise UserFault(_no_fit(path, tree, misses))


def _no_fit(path: Path, tree: Tree, misses: dict[str, NoMatch]) -> str:
    nearest = max(misses, key=lambda key: misses[key].nearness)
    lines = [f"{path} fits no known layout."]
    if misses[nearest].nearness > 0:
        lines.append(f"Nearest: {nearest}: {misses[nearest].found}.")
    lines.append(f"The folder holds {count_files(tree)}.")
    lines.append("Looked for:")
    for key, miss in misses.items():
        lines.append(f"  {key:<10} {LAYOUTS[key].looks_like}\n{'':<13}-> {miss.found}")
    lines.append("Arrange the files like one of these, or write a datalist JSON and pass its path.")
    return "\n".join(lines)


def _forced_miss(path: Path, tree: Tree, layout: str, miss: NoMatch) -> str:
    return (
        f"{path} does not fit layout {layout!r}: {miss.found}.\n"
        f"{layout} looks like: {LAYOUTS[layout].looks_like}.\nThe folder holds {count_files(tree)}."
    )


def _file_format(path: Path, found: Found) -> str:
    images = [case.images[0] for case in found.cases] + list(found.images_without_label)
    formats = sorted({file_format(image) for image in images})
    if len(formats) > 1:
        examples = [next(image for image in images if file_format(image) == kind) for kind in formats]
        raise UserFault(f"{path} mixes {' and '.join(formats)} files ({', '.join(examples)}); keep one kind.")
    return formats[0] if formats else "volume"


def _unknown_layout(layout: str) -> str:
    hint = did_you_mean(layout.lower(), LAYOUTS, cutoff=0.5)
    return f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.{hint}"


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    near = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    return f" Did you mean {path.parent / near}?" if near else ""
