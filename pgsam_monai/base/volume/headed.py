"""NRRD and MetaImage, in nibabel's frame: axes i, j, k and RAS+."""

from __future__ import annotations

from pathlib import Path

from pgsam_monai.base.volume.metaimage import read_metaimage_header
from pgsam_monai.base.volume.nrrd import read_nrrd_header
from pgsam_monai.base.volume.records import Geometry, Volume
from pgsam_monai.base.volume.stored import Stored, geometry_of, volume_of


def read_header(file: Path) -> Stored:
    """The checked header of a file that is admitted. Raises ReadError."""
    is_metaimage = file.suffix.lower() in (".mha", ".mhd")
    return read_metaimage_header(file) if is_metaimage else read_nrrd_header(file)


def read_headed(file: Path) -> Volume:
    """Read one NRRD or MetaImage file; vector parts or a fourth axis are channels. Raises ReadError."""
    return volume_of(read_header(file))


def read_headed_geometry(file: Path) -> Geometry:
    """Read the header only. Raises ReadError."""
    return geometry_of(read_header(file))
