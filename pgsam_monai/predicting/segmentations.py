"""`pgsam predict --format dicom-seg`: predictions of DICOM series as DICOM-SEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai import __version__
from pgsam_monai.base.dicom.headers import DicomError, is_dicom_file
from pgsam_monai.base.dicom.series import read_series
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of
from pgsam_monai.dicom.seg import read_headers, write_segmentation
from pgsam_monai.dicom.segments import Maker

ENDING = ".seg.dcm"


def segmentation_of(
    series: str | Path,
    label_map: str | Path,
    names: Mapping[str, int],
    *,
    bundle: str | Path,
    file: str | Path | None = None,
    background: int | None = 0,
    guided: bool = False,
) -> Path:
    """Write the DICOM-SEG of a label map that a bundle made of a series.

    Args:
        series: its folder, or a single file.
        label_map: a file on the series' grid.
        names: class names and their values in the label map.
        bundle: the bundle's folder, or the name of what made the label map.
        file: where it goes; None: <name of the label map>.seg.dcm beside it.
        background, guided: see `seg.write_segmentation` and `segments.Maker`.

    Raises:
        ValueError: the series can't be read, or the label map isn't on its grid; the message names the series.
    """
    from pgsam_monai.base.volume import read_label_file
    from pgsam_monai.predicting.inputs import stem

    label_map = Path(label_map)
    labels, affine = read_label_file(label_map)
    file = label_map.with_name(stem(label_map) + ENDING) if file is None else Path(file)
    maker = Maker(bundle=Path(bundle).name, version=__version__, weights=fingerprint(bundle), guided=guided)
    try:
        return write_segmentation(
            labels, series, names, file, maker=maker, affine=affine, background=background
        )
    except DicomError as error:
        raise UserFault(f"{series}: {error}.") from error


def require_dicom(image: str | Path | Sequence[str]) -> None:
    """Raises ValueError unless `image` is a DICOM series, or one of its files, that a segmentation can refer to."""
    path = Path(image) if isinstance(image, str | Path) else Path(image[0])
    if not path.is_dir() and not is_dicom_file(path):
        raise UserFault(
            f"--format dicom-seg refers to DICOM images, and '{path}' is none; give the folder of a series, or leave "
            "--format out."
        )
    try:
        read_headers(read_series(path))
    except DicomError as error:
        raise UserFault(f"{path}: {error}.") from error


def fingerprint(bundle: str | Path) -> str:
    """The first 16 hex digits of the SHA-256 of a bundle's weights; "unknown" for what is no folder of a bundle."""
    weights = Path(bundle) / "models/model.pt"
    if not weights.is_file():
        return "unknown"
    return sha256_of(weights)[:16]
