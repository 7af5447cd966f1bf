"""Hypothesis strategies: what can be wrong with the bytes of a file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.specimens import Specimen, specimens
from hypothesis import strategies as st

HOSTILE_INTS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    8,
    99,
    255,
    256,
    32767,
    65535,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
]
HOSTILE_FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 1e-308, 1e308, float("nan"), float("inf"), -float("inf")]
HOSTILE_WORDS = [
    "", "0", "-1", "1", "2", "3", "4", "5", "9", "99", "2147483648", "9223372036854775808", "1e30", "1e-30", "NaN",
    "inf", "0 0 0", "-7 6 5", "7 6", "7 6 5 4", "7 6 5 4 3", "100000 100000 100000", "1 1 1 1 1 1 1 1 1", "x", "(1,0)",
    "(1,0,0) (1,0,0) (1,0,0)", "(0,0,0) (0,0,0) (0,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none none none", "True",
    "False", "None", "MET_FLOAT", "MET_DOUBLE", "MET_UCHAR", "MET_OTHER", "MET_STRING", "MET_UCHAR_ARRAY", "float",
    "double", "block", "long long", "raw", "gzip", "bzip2", "ascii", "hex", "big", "little", "LOCAL", "LIST",
    "case.raw", "../secret.raw", "/etc/passwd", "case%03d.raw 1 5 1", "../secret%d.raw 1 9 1", "SKIPLIST 2", "\0",
    "%s%s%s%n", "\u00e4\u2028", "7" * 400, "9 " * 3000,
]  # fmt: skip
HOSTILE_LINES = [
    "NDims = 99", "NDims = 0", "DimSize = 1", "ElementDataFile = ../secret.raw", "HeaderSize = -1", "HeaderSize = 1e9",
    "ElementNumberOfChannels = 100000", "CompressedDataSize = 99999999999", "BinaryDataByteOrderMSB = True",
    "dimension: 99", "dimension: 0", "sizes: 1", "byte skip: -1", "byte skip: 999999999999", "line skip: 99999999",
    "data file: ../secret.raw", "data file: LIST", "space: scanner-xyz", "space dimension: 9", "encoding: gzip",
    "kinds: vector domain domain", "key:=value", "# comment", "", "=", ":", "centerings: cell",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class Step:
    """One thing that is done to bytes."""

    words: str
    do: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return self.words


def flipped(at: int, bit: int) -> Step:
    def do(content: bytes) -> bytes:
        place = at % max(1, len(content))
        return (
            content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            if content
            else content
        )

    return Step(f"bit {bit} of byte {at}", do)


def written(at: int, new: bytes) -> Step:
    return Step(f"{new!r} at {at}", lambda content: content[:at] + new + content[at + len(new) :])


def cut(at: int) -> Step:
    return Step(f"cut at {at}", lambda content: content[: at % (len(content) + 1)])


def longer(tail: bytes) -> Step:
    return Step(f"{len(tail)} bytes more", lambda content: content + tail)


def line_changed(number: int, change: str, text: str) -> Step:
    """A line of the header is dropped, doubled, or gets another value, or another line comes before it."""

    def do(content: bytes) -> bytes:
        lines = content.split(b"\n", 30)
        here = number % max(1, len(lines) - 1)
        new = {
            "drop": [], "double": [lines[here]] * 2, "before": [text.encode(), lines[here]],
            "value": [_with_value(lines[here], text.encode())],
        }[change]  # fmt: skip
        return b"\n".join([*lines[:here], *new, *lines[here + 1 :]])

    return Step(f"line {number}: {change} {text[:60]!r}", do)


def _with_value(line: bytes, value: bytes) -> bytes:
    for sign in (b"=", b":"):
        key, found, _ = line.partition(sign)
        if found:
            return key + found + b" " + value
    return value


def numbers(code: str) -> st.SearchStrategy[bytes]:
    """A hostile number of a struct code, as bytes."""
    order, letter = (code[0], code[1:]) if code[0] in "<>" else ("<", code)
    if letter in "fd":
        return st.sampled_from(HOSTILE_FLOATS).map(
            lambda value: struct.pack(order + letter, _fitting(value, letter))
        )
    bits = 8 * struct.calcsize(order + letter)
    return (st.sampled_from(HOSTILE_INTS) | st.integers(0, 2**bits - 1)).map(
        lambda value: (value % 2**bits).to_bytes(bits // 8, "little" if order == "<" else "big")
    )


def _fitting(value: float, letter: str) -> float:
    return max(-3e38, min(3e38, value)) if letter == "f" and abs(value) != float("inf") else value


@st.composite
def steps(draw: st.DrawFn, specimen: Specimen) -> list[Step]:
    """One to three of them."""
    content = next(iter(specimen.files.values()))
    place = st.integers(0, max(0, min(specimen.header_bytes, len(content)) - 1))
    kinds: list[st.SearchStrategy[Step]] = [
        st.builds(flipped, place | st.integers(0, len(content) - 1), st.integers(0, 7)),
        st.builds(written, place, st.sampled_from("hifdq").flatmap(numbers)),
        st.builds(cut, st.integers(0, len(content))),
        st.builds(longer, st.binary(min_size=1, max_size=40)),
    ]
    if specimen.fields:
        field = st.sampled_from(specimen.fields).flatmap(
            lambda field: st.builds(written, st.just(field[0]), numbers(field[1]))
        )
        kinds += [field] * 6
    if specimen.lines:
        change = st.sampled_from(["drop", "double", "value", "value", "value"])
        words = st.sampled_from(HOSTILE_WORDS) | st.text(max_size=20)
        kinds += [
            *[st.builds(line_changed, st.integers(0, 14), change, words)] * 5,
            st.builds(line_changed, st.integers(0, 14), st.just("before"), st.sampled_from(HOSTILE_LINES)),
        ]
    return draw(st.lists(st.one_of(kinds), min_size=1, max_size=3))


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A specimen and what was done to it."""

    name: str
    steps: list[Step]

    @property
    def files(self) -> dict[str, bytes]:
        specimen = specimens()[self.name]
        (first, content), *others = specimen.files.items()
        for step in self.steps:
            content = step.do(content)
        return {first: specimen.packed(content), **dict(others)}

    @property
    def opened(self) -> str:
        specimen = specimens()[self.name]
        return specimen.opened or next(iter(specimen.files))


@st.composite
def damaged(draw: st.DrawFn, names: list[str] | None = None) -> Damaged:
    name = draw(st.sampled_from(names or sorted(specimens())))
    return Damaged(name=name, steps=draw(steps(specimens()[name])))
