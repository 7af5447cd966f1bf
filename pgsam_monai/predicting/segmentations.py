"""`pgsam predict --format dicom-seg`: predictions of DICOM series as DICOM-SEG."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pgsam_monai import __version__
from pgsam_monai.base.dicom.headers import DicomError, is_dicom_file
from pgsam_monai.base.dicom.series import read_series
from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import ASKED, Bundle
from pgsam_monai.dicom.seg import read_headers, write_segmentation
from pgsam_monai.dicom.segments import Maker

if TYPE_CHECKING:
    from pgsam_monai.predicting.prompted import PromptWishes

ENDING = ".seg.dcm"


def predict_segmentations(
    run: Callable[[Path], list[Path]],
    bundle: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    text: str | None = None,
    wishes: PromptWishes | None = None,
) -> list[Path]:
    """Predict DICOM series and write <name>.seg.dcm for each; label maps are kept only while that is done.

    Args:
        run: predicts `source` with `bundle` into the folder it is given; returns the label maps, one per case.
        bundle, source, output: as of `predicting.predict.predict` and `predicting.prompted.predict_prompted`.
        text: what is asked for in words, if anything.
        wishes: clicks and boxes, if any.

    Returns:
        the segmentations, in the order of the cases. Pages and pictures that `run` wrote lie beside them.

    Raises:
        ValueError: an input is no DICOM, or nothing can refer to it; told before anything is predicted.
    """
    from pgsam_monai.predicting.predict import list_inputs

    output, cases = Path(output), list_inputs(source)
    for case in cases:
        require_dicom(case["image"])
    names, background = _classes(bundle, text, wishes)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".label-maps-") as folder:
        label_maps = run(Path(folder))
        written = [
            segmentation_of(
                case["image"], label_map, names, bundle=bundle, file=output / f"{case['name']}{ENDING}",
                background=background, guided=wishes is not None,
            )
            for case, label_map in zip(cases, label_maps, strict=True)
        ]  # fmt: skip
        _move_rest(Path(folder), label_maps, output)
    return written


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
    from pgsam_monai.metrics.files import read_label_file
    from pgsam_monai.predicting.predict import stem

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
    with weights.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]


def _classes(
    bundle: str | Path, text: str | None, wishes: PromptWishes | None
) -> tuple[dict[str, int], int | None]:
    """Class names and values of a prediction, and the value of its background; None: whatever has no name."""
    if text is not None:
        return {text: ASKED}, 0
    if wishes is not None:
        from pgsam_monai.predicting.prompted import is_published, named_classes, read_clicks

        if is_published(bundle):
            clicks = read_clicks(wishes.clicks) if wishes.clicks else None
            return {name: value for value, name in enumerate(named_classes(clicks, wishes), start=1)}, 0
    trained = Bundle.trained(bundle)
    return trained.labels, None if wishes is not None else trained.background


def _move_rest(folder: Path, label_maps: Sequence[Path], output: Path) -> None:
    """Move pages and pictures that were written beside the label maps."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path not in label_maps):
        target = output / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
