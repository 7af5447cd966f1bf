"""Finds the cases of a folder, whatever its layout. Opens no voxels.

One file per family of layouts; `tree` lists the folder once, `naming` and `pairing` match images with labels,
`finding` tries the layouts in order and explains a failure.
"""

from .describing import describe_dataset
from .finding import LAYOUTS, find_dataset
from .records import Case, Dataset, LayoutError

__all__ = ["LAYOUTS", "Case", "Dataset", "LayoutError", "describe_dataset", "find_dataset"]
