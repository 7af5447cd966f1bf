"""What an installation carries: every file of the packages that is no Python, weights and their card among them."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def carried(package: str) -> set[Path]:
    """The files that setup.cfg's package_data names, as far as they exist."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"][package].split()
    return {file for pattern in patterns for file in (ROOT / package).glob(pattern) if file.is_file()}


@pytest.mark.parametrize("package", ["pgsam_monai", "preprocess"])
def test_every_file_that_is_no_python_is_carried(package):
    files = {file for file in (ROOT / package).rglob("*") if file.is_file()}
    data = {file for file in files if file.suffix != ".py" and "__pycache__" not in file.parts}
    assert data and data - carried(package) == set()


@pytest.mark.parametrize("name", ["drawn_tiny.safetensors", "drawn_tiny.md"])
def test_our_own_weights_and_their_card_are_carried(name):
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["pgsam_monai"].split()
    assert any(Path("weights", name).match(pattern) for pattern in patterns)
