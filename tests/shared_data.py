"""Real data sets lying beside the checkout; a test that needs one is skipped by name where it is absent."""

import shutil
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip(f"real data set '{name}' is not beside this checkout (../shared/data/{name})")
    return folder


def few_hippocampus_cases(work: Path, count: int) -> Path:
    """A folder in the Decathlon's form with the first real cases; for this test alone, never to be kept."""
    real, folder = shared_data("Task04_Hippocampus"), work / "Task04_Hippocampus"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
        for file in sorted((real / part).glob("[!.]*.nii.gz"))[:count]:
            shutil.copy(file, folder / part)
    shutil.copy(real / "dataset.json", folder)
    return folder
