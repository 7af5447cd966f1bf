"""The order of rooms in docs/design.md is the order of imports."""

from __future__ import annotations

import re

import pytest
from import_graph import ROOT, circles, imports, modules

MOST_LOOSE_FILES = 8


def rooms() -> list[str]:
    """Dotted names in the order of the table in docs/design.md: each may import those above it."""
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    table = text.split("## Rooms")[1].split("\n## ")[0]
    return [row.replace("/", ".").rstrip(".") for row in re.findall(r"^\| `([\w/]+)` \|", table, flags=re.M)]


def room_of(module: str, order: list[str]) -> str | None:
    """The narrowest room that a module lies in."""
    fits = [room for room in order if module == room or module.startswith(f"{room}.")]
    return max(fits, key=len, default=None)


def test_every_module_has_a_room_and_every_room_a_module():
    order = rooms()
    homes = {module: room_of(module, order) for module in modules()}
    assert [module for module, room in homes.items() if room is None and "." in module] == []
    assert sorted(set(order) - set(homes.values())) == []


def test_imports_go_one_way():
    order = rooms()
    up = [
        f"{module} -> {other}"
        for module, others in imports().items()
        for other in sorted(others)
        if _place(order, other) > _place(order, module)
    ]
    assert up == []


def test_nothing_imports_in_a_circle():
    assert circles(imports()) == []


@pytest.mark.parametrize("package", ["pgsam_monai", "preprocess"])
def test_the_halls_are_not_filled_with_loose_files(package):
    loose = [file.name for file in (ROOT / package).glob("*.py") if file.name != "__init__.py"]
    assert len(loose) <= MOST_LOOSE_FILES


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def _place(order: list[str], module: str) -> int:
    room = room_of(module, order)
    return -1 if room is None else order.index(room)
