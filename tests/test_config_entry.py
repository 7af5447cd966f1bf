"""No string from outside reaches a ConfigParser unresolved: MONAI's bundle machinery is used in one module alone.

What that module does with values is tested in tests/pgsam_monai/test_configs.py, what the planner writes in
tests/preprocess/bundle/test_emit_data.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from import_graph import ROOT

ENTRY = "pgsam_monai/configs.py"
MACHINERY = {"monai.bundle", "monai.bundle.config_parser", "monai.bundle.scripts", "monai.bundle.workflows"}
SETTERS = {"read_config", "read_meta", "load_config_file", "load_config_files", "parse_config"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
SOURCES = sorted([*(ROOT / "pgsam_monai").rglob("*.py"), *(ROOT / "preprocess").rglob("*.py")])


def uses(tree: ast.AST) -> list[str]:
    """What a module does that belongs to the entry alone; imports for types are free."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module in MACHINERY:
            found.append(f"from {node.module} import …")
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("monai.bundle")]
        if isinstance(node, ast.Attribute) and node.attr in SETTERS:
            found.append(node.attr)
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and "parser" in ast.unparse(node.value)
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in EVALUATORS or re.search(r"parser\.(set|update)$|bundle_config\.(set|update)$", name):
                found.append(name)
    return found


def test_the_entry_is_where_it_is_said():
    assert any("monai.bundle" in use for use in uses(ast.parse((ROOT / ENTRY).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_else_enters_configs(file: Path):
    if str(file.relative_to(ROOT)) != ENTRY:
        assert uses(ast.parse(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "from monai.bundle import run", "import monai.bundle.scripts", "parser['a'] = x", "bundle.parser.update(x)",
        "self.bundle_config.set(x)", "ConfigParser.load_config_file(x)", "eval(x)", "p.read_config(x)",
    ],
)  # fmt: skip
def test_uses_are_found(code):
    assert uses(ast.parse(code))


def test_commands_of_monai_name_files_alone():
    """Flags of `python -m monai.bundle`, which evaluates their values, are written out in the source."""
    callers = [
        str(file.relative_to(ROOT))
        for file in SOURCES
        if re.search(r'"-m",\s*"monai\.bundle"', file.read_text(encoding="utf-8"))
    ]
    assert callers == [
        "pgsam_monai/commands/demo.py",
        "pgsam_monai/commands/export.py",
        "pgsam_monai/running.py",
    ]
