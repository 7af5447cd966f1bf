"""Reads one volume: voxels, affine, spacing. One file per family of formats; `reading` chooses among them."""

from pgsam_monai.base.volume.reading import read_geometry, read_label, read_volume
from pgsam_monai.base.volume.records import Geometry, Volume, VolumeError

__all__ = ["Geometry", "Volume", "VolumeError", "read_geometry", "read_label", "read_volume"]
