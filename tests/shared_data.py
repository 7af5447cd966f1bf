"""Real data sets lying beside the checkout; a test that needs one is skipped by name where it is absent."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip(f"real data set '{name}' is not beside this checkout (../shared/data/{name})")
    return folder
