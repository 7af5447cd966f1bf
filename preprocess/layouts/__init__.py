"""Finds the cases of a folder, whatever its layout. Opens no voxels.

One file per family of layouts; `tree` lists the folder once, `naming` and `pairing` match images with labels,
`finding` tries the layouts in order and explains a failure.
"""

from preprocess.layouts.describing import describe_dataset
from preprocess.layouts.finding import LAYOUTS, find_dataset
from preprocess.layouts.records import Case, Dataset

__all__ = ["LAYOUTS", "Case", "Dataset", "describe_dataset", "find_dataset"]
