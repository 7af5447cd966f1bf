"""Hypothesis strategies: what can be wrong with a JSON file, in its structure and in its text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

CANARY = "canary"
"""Name of the file that appears in the working folder if a string was evaluated."""
CODE = [
    f"$open('{CANARY}', 'w')",
    f"$__import__('os').system('touch {CANARY}')",
    f"${{x for x in [open('{CANARY}', 'w')]}}",
]
COMPONENT = {"_target_": "os.system", "command": f"touch {CANARY}"}
WRITER = {"_target_": "pathlib.Path.touch", "self": f"$__import__('pathlib').Path('{CANARY}')"}
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 1e308, 2**31, 2**70, 10**400, "", "x", " ", "0", "1,2", "None", "[1]",
    "@image", "@network_def", "%train.json#seed", "%", "a#b", "a::b", "{{labels}}", "../../../evil", "/etc/passwd",
    "\ud800", "a\0b", "<script>alert(1)</script>", "\n", "x" * 5000, [], {}, [[]], [None], [1, 2, 3], {"a": 1},
    {"value": None}, {"": {}}, {"_disabled_": True}, COMPONENT, WRITER, *CODE,
]  # fmt: skip
KEYS = [
    "",
    "x",
    "_target_",
    "_disabled_",
    "$x",
    "@x",
    "%x",
    "a#b",
    "+x",
    "~x",
    "../evil",
    "None",
    "0",
    CODE[0],
    "\ud800",
]
TEXTS: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "half": lambda text: text[: len(text) // 2].encode("utf-8", "surrogatepass"),
    "twice": lambda text: (text * 2).encode(),
    "a comma more": lambda text: text.rstrip()[:-1].encode() + b",}",
    "null": lambda text: b"null",
    "a number": lambda text: b"7",
    "a list": lambda text: b"[]",
    "an object": lambda text: b"{}",
    "NaN": lambda text: text.replace(": ", ': NaN, "x": ', 1).encode(),
    "a very large number": lambda text: text.replace("1", "1" * 5000, 1).encode(),
    "deep": lambda text: b"[" * 100_000,
    "deep objects": lambda text: b'{"a":' * 50_000,
    "binary": lambda text: bytes(range(256)),
    "UTF-16": lambda text: text.encode("utf-16"),
    "with a mark": lambda text: text.encode("utf-8-sig"),
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a JSON structure."""

    where: tuple
    """keys and indices from the outermost value"""
    how: str
    value: Any

    def do(self, content: Any) -> Any:
        """`content` changed; as it was where an earlier change took the place away."""
        content = copy.deepcopy(content)
        if not self.where:
            return self.value if self.how == "replace" else content
        try:
            parent = content
            for key in self.where[:-1]:
                parent = parent[key]
            self._do(parent, self.where[-1])
        except (KeyError, IndexError, TypeError, AttributeError):
            pass
        return content

    def _do(self, parent: Any, key: Any) -> None:
        if self.how == "replace":
            parent[key] = self.value
        elif self.how == "delete":
            del parent[key]
        elif self.how == "wrap":
            parent[key] = [parent[key]]
        elif self.how == "double":
            parent[key] = parent[key] * 2
        elif self.how == "rename":
            parent[str(self.value)] = parent.pop(key)
        elif self.how == "add":
            parent[key][self.value if isinstance(self.value, str) else "x"] = self.value
        elif self.how == "append":
            parent[key].append(self.value)


@dataclass(frozen=True, kw_only=True)
class DamagedJson:
    """A JSON file, and what was done to it."""

    changes: tuple[Change, ...] = ()
    text: str | None = None
    """a key of TEXTS"""

    def of(self, content: Any) -> bytes:
        for change in self.changes:
            content = change.do(content)
        text = json.dumps(content, indent=1)
        return TEXTS[self.text](text) if self.text else text.encode()


def places(content: Any, at: tuple = ()) -> Iterator[tuple]:
    """Where all values of a structure are, the outermost first."""
    yield at
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*at, key))


@st.composite
def damaged_json(draw: st.DrawFn, content: Any) -> DamagedJson:
    """Of a file with this content: one or two changes, or another text."""
    if draw(st.integers(0, 9)) == 0:
        return DamagedJson(text=draw(st.sampled_from(sorted(TEXTS))))
    known = list(places(content))
    shallow = [place for place in known if len(place) <= 2]
    where = st.sampled_from(known) | st.sampled_from(shallow)
    how = st.sampled_from(
        ["replace", "replace", "replace", "delete", "wrap", "double", "rename", "add", "append"]
    )

    def change(kind: str) -> st.SearchStrategy[Change]:
        value = (
            st.sampled_from(KEYS)
            if kind in ("rename", "add")
            else st.sampled_from(HOSTILE) | st.text(max_size=9)
        )
        return st.builds(Change, where=where, how=st.just(kind), value=value)

    return DamagedJson(changes=tuple(draw(st.lists(how.flatmap(change), min_size=1, max_size=2))))
