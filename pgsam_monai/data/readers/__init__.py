"""MONAI image readers with one result for every format: channel-first tensors (C, i, j, k), affine RAS+ mm.

MONAI's own readers depend on which optional packages are installed (a .nrrd goes to pynrrd or to itk), give
pictures as (columns, rows) and know neither colour masks nor archives (TransUNet's, UA-MT's). Pictures come as
(C, rows, columns, 1). Images are float32; labels are int32, checked to be integers.
"""

from __future__ import annotations

from typing import Any

from pgsam_monai.base.cases import file_format
from pgsam_monai.data.readers.archive import ArchiveReader
from pgsam_monai.data.readers.base import CaseReader, ReadError
from pgsam_monai.data.readers.picture import PictureReader
from pgsam_monai.data.readers.volume import VolumeReader

__all__ = ["ArchiveReader", "CaseReader", "PictureReader", "ReadError", "VolumeReader", "reader_for"]


def reader_for(files: Any, role: str) -> CaseReader:
    """The reader for these files, by their suffix."""
    readers = {"volume": VolumeReader, "picture": PictureReader, "archive": ArchiveReader}
    return readers[file_format(files)](role)
