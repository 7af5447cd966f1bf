"""The two packages meet in files only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "monai", "pgsam_monai", "torchvision", "ignite"}
TEXTS = "pgsam_monai.base.structures.describing"
SERIES = "pgsam_monai.base.dicom.series"
BASE = "pgsam_monai.base"
"""The room of the runtime that the planner shares."""


def imported_modules(file: Path) -> set[str]:
    """Names of modules that a file imports, anywhere in it; relative ones left out."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def imported(file: Path) -> set[str]:
    """Their top-level names."""
    return {name.split(".")[0] for name in imported_modules(file)}


def test_the_planner_knows_no_torch_and_no_runtime_but_what_is_lent():
    for file in (ROOT / "preprocess").rglob("*.py"):
        known = {name for name in imported_modules(file) if not name.startswith(BASE)}
        assert not {name.split(".")[0] for name in known} & HEAVY, file


def test_neither_base_planner_nor_runtime_brings_torch_or_monai():
    code = (
        "import importlib, pkgutil, sys, pgsam_monai.base, pgsam_monai.runtime, pgsam_monai.voxels, preprocess\n"
        "for package in (pgsam_monai.base, pgsam_monai.runtime, pgsam_monai.voxels, preprocess):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "sys.exit(' '.join({'torch', 'monai'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_texts_need_the_standard_library_only():
    code = (
        f"import sys; before = set(sys.modules); import {TEXTS} as library; library.describe_structure('liver', 'CT'); "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "sys.exit(' '.join(sorted(new - set(sys.stdlib_module_names) - {'pgsam_monai'})) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reading_a_dicom_series_needs_no_heavy_library(tmp_path):
    code = (
        f"import sys; from {SERIES} import DicomError, read_series\n"
        f"try: read_series({str(tmp_path)!r})\n"
        "except DicomError: pass\n"
        f"sys.exit(' '.join(sorted(set(sys.modules) & {HEAVY - {'pgsam_monai'}})) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_runtime_knows_no_planner_but_in_its_command_line():
    for file in (ROOT / "pgsam_monai").rglob("*.py"):
        if file.parent != ROOT / "pgsam_monai/commands":
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
