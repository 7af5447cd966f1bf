"""Reads one volume: voxels, affine, spacing. One file per family of formats; `reading` chooses among them."""

from pgsam_monai.base.volume.reading import (
    as_networks_take,
    notes_of,
    read_classes,
    read_geometry,
    read_image,
    read_label,
    read_label_file,
    read_volume,
)
from pgsam_monai.base.volume.records import Geometry, ReadError, Volume

__all__ = [
    "Geometry",
    "ReadError",
    "Volume",
    "as_networks_take",
    "notes_of",
    "read_classes",
    "read_geometry",
    "read_image",
    "read_label",
    "read_label_file",
    "read_volume",
]
