"""Finds the cases of a folder, whatever its layout. Opens no voxels.

One file per family of layouts; `tree` lists the folder once, `naming` and `pairing` match images with labels,
`finding` tries the layouts in order and explains a failure; `labelled` knows which structures were looked for,
`merging` makes one data set of several.
"""

from preprocess.layouts.describing import describe_dataset
from preprocess.layouts.finding import LAYOUTS, find_dataset
from preprocess.layouts.labelled import by_name, looked_for, with_labelled
from preprocess.layouts.merging import merge_datasets
from preprocess.layouts.records import Case, Dataset

__all__ = [
    "LAYOUTS",
    "Case",
    "Dataset",
    "by_name",
    "describe_dataset",
    "find_dataset",
    "looked_for",
    "merge_datasets",
    "with_labelled",
]
