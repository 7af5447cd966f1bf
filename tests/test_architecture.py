"""The two packages meet in files only."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "monai", "pgsam_monai", "torchvision", "ignite"}


def imported(file: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_planner_knows_no_torch_and_no_runtime():
    for file in (ROOT / "preprocess").rglob("*.py"):
        assert not imported(file) & HEAVY, file


def test_the_runtime_knows_no_planner_but_in_its_command_line():
    for file in (ROOT / "pgsam_monai").rglob("*.py"):
        if file != ROOT / "pgsam_monai/cli.py":
            assert "preprocess" not in imported(file), file


def test_every_package_folder_is_a_package():
    for package in ("preprocess", "pgsam_monai"):
        for folder in {file.parent for file in (ROOT / package).rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


def test_nothing_unpickles_or_names_a_device():
    for package in ("preprocess", "pgsam_monai"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for word in ("weights_only=False", "pickle.load", ".cuda()"):
                assert word not in text, f"{file}: {word}"
