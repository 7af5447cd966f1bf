"""Lists every fault of a data set, once, with file, numbers, consequence and remedy.

`single` judges one case by its facts, `geometry` whether its label lies on its image, `across` the cases
together.
"""

from preprocess.checks.checking import check_dataset
from preprocess.checks.faults import FATAL, MENDED, WARNING, DatasetFaults, Fault, faulty_cases, format_faults

__all__ = [
    "FATAL",
    "MENDED",
    "WARNING",
    "DatasetFaults",
    "Fault",
    "check_dataset",
    "faulty_cases",
    "format_faults",
]
