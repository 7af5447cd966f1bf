"""Files from elsewhere, which may name nobody's files but their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pgsam_monai.base.cases import suffix_among
from pgsam_monai.base.volume.metaimage import read_metaimage_header
from pgsam_monai.base.volume.nifti import image_of, is_pair
from pgsam_monai.base.volume.nrrd import read_nrrd_header
from pgsam_monai.base.volume.records import ReadError


def require_own_data(files: Iterable[Path]) -> None:
    """Raises ReadError unless each file's voxels lie in itself, or in another of `files`: of files from elsewhere."""
    files = list(files)
    known = {file.resolve() for file in files}
    for file in files:
        suffix = suffix_among(file.name).lower()
        data: tuple[Path, ...] = ()
        if suffix in (".mha", ".mhd"):
            data = read_metaimage_header(file).files
        elif suffix in (".nrrd", ".nhdr"):
            data = read_nrrd_header(file).files
        elif suffix in (".nii", ".nii.gz", ".hdr", ".hdr.gz") and is_pair(file):
            data = (image_of(file),)
        if foreign := [item.name for item in data if item.resolve() not in known]:
            raise ReadError(
                file, f"its voxels lie in another file ({foreign[0]}); send one that holds them itself"
            )
