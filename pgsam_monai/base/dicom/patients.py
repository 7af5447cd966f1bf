"""Whose images DICOM files are."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from pgsam_monai.base.dicom.headers import is_dicom_file, require_sound
from pgsam_monai.base.files import visible

_NOBODY = re.compile(
    r"(?:anon\w*|de-?identified\w*|unknown|none|null|n/?a|no ?id|patient|subject|test|default|[x\-_.*?^ ]*)",
    re.IGNORECASE,
)
"""What stands for a PatientID where somebody took it out."""


def patient_id(path: str | Path) -> str | None:
    """PatientID of a series' folder or file: its first readable file's; None where it tells nobody from others."""
    for file in visible(path) if Path(path).is_dir() else [Path(path)]:
        if is_dicom_file(file) and (told := _told_by(file)) is not None:
            return None if _NOBODY.fullmatch(told) else told
    return None


def _told_by(file: Path) -> str | None:
    """The element, "" where it is missing; None where the file can't be read."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values that nobody asks for here
        try:
            require_sound(file)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
            return str(header.get("PatientID") or "").strip()
        except Exception:  # a DicomError, or whatever pydicom raises for damaged elements
            return None
