"""Images as clients name them and as bundles read them."""

from __future__ import annotations

from pathlib import Path

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.files import time_and_size
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.predicting.predict import list_inputs


def find_image(image: object, *, channels: int) -> str | list[str]:
    """What a client calls an image, as what a bundle reads.

    Args:
        image: path of a file, of a DICOM series folder, or of a folder with one file per channel; or a list of files.
        channels: that the bundle takes.

    Raises:
        RequestFault: no paths, nothing there, or more than one image.
        UserFault: no image, or not so many channels.
    """
    given = image if isinstance(image, list | tuple) else [image]
    if not given or not all(isinstance(path, str | Path) and str(path) for path in given):
        raise RequestFault("The image must be named by its id, or by the path of a file or DICOM folder.")
    missing = [path for path in given if not Path(path).exists()]
    if missing:
        raise RequestFault(f"There is no image '{missing[0]}' here.", status=404)
    if len(given) > 1:
        return [str(path) for path in given]
    cases = list_inputs(given[0], channels=channels)
    if len(cases) != 1:
        raise RequestFault(
            f"'{given[0]}' holds {len(cases)} images; name one image file or one DICOM series.", status=422
        )
    return cases[0]["image"]


def state_of(image: Paths) -> tuple:
    """What changes when an image's files change."""
    files = [
        file for path in as_paths(image) for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return tuple((str(file), *time_and_size(file)) for file in files)
