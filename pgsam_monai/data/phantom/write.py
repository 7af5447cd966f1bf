"""Writes phantoms as a data set in the raw layout of Synapse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.progress import track

from pgsam_monai.base.files import whole
from pgsam_monai.data.phantom.draw import ORGANS, make_phantom

NOTICE = "README.txt"
FORMAT_VERSION = 1  # raise it when the same seed gives other voxels


def write_phantom(
    folder: str | Path,
    *,
    cases: int = 30,
    seed: int = 0,
    in_plane: tuple[int, int] = (160, 160),
    slices: int | None = None,
    progress: bool = True,
) -> Path:
    """Write `cases` phantom abdomens as img/img0001.nii.gz (int16, HU) and label/label0001.nii.gz (uint8),
    with the organs' names in labels.json.

    These are drawn shapes, not patients. Case n depends on (seed, n) and the size only, so a larger set
    contains the smaller one. `slices` None draws 24 to 40 per case. Files are renamed into place when
    complete, and a set written with the same settings is continued. Raises FileExistsError when `folder`
    holds images that this function did not write, or wrote with other settings. Returns the folder.
    """
    folder = Path(folder)
    _claim(folder, _notice(seed, in_plane, slices))
    numbers = range(1, cases + 1)
    for number in track(numbers, "Drawing phantom abdomens", disable=not progress, transient=False):
        image_file = folder / "img" / f"img{number:04d}.nii.gz"
        label_file = folder / "label" / f"label{number:04d}.nii.gz"
        if image_file.exists() and label_file.exists():
            continue
        case_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        phantom = make_phantom(case_seed, None if slices is None else (*in_plane, slices), in_plane=in_plane)
        _save(phantom.image, phantom.affine, image_file)
        _save(phantom.label, phantom.affine, label_file)
    return folder


def _notice(seed: int, in_plane: tuple[int, int], slices: int | None) -> str:
    organs = ", ".join(f"{value} {name}" for name, value in sorted(ORGANS.items(), key=lambda item: item[1]))
    return (
        "Phantom abdomens: shapes drawn by pgsam-monai, not patients. For trying the software only.\n"
        f"Labels: {organs}.\n"
        f"Settings: version {FORMAT_VERSION}, seed {seed}, in plane {in_plane[0]} x {in_plane[1]}, "
        f"slices {'24 to 40' if slices is None else slices}.\n"
    )


def _claim(folder: Path, notice: str) -> None:
    notice_file = folder / NOTICE
    if (folder / "img").exists() or (folder / "label").exists():
        found = notice_file.read_text() if notice_file.is_file() else "no phantom notice"
        if found != notice:
            raise FileExistsError(
                f"{folder}: write_phantom only continues a phantom data set of the same settings, "
                f"found img/ or label/ with {found.strip().splitlines()[-1]!r}; choose another folder."
            )
    for name in ("img", "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = {"background": 0, **ORGANS}
    (folder / "labels.json").write_text(json.dumps(names, indent=1) + "\n")
    notice_file.write_text(notice)


def _save(voxels: np.ndarray, affine: np.ndarray, file: Path) -> None:
    nifti = nib.Nifti1Image(voxels, affine)
    nifti.header.set_xyzt_units("mm")
    with whole(file) as partial, gzip.open(partial, "wb", compresslevel=1) as stream:
        nifti.to_stream(stream)
