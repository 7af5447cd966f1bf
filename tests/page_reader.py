"""Reads a page that `pgsam_monai.pictures.page` wrote, with nothing of the code that wrote it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np

BLOCK = re.compile(r'<script id="([^"]+)" type="([^"]+)">(.*?)</script>', re.DOTALL)


def read_blocks(file: Path) -> dict[str, str]:
    """The page's blocks of data, by id."""
    return {name: text for name, _, text in BLOCK.findall(file.read_text(encoding="utf-8"))}


def without_data(file: Path) -> str:
    """The page's text less its voxels."""
    return re.sub(r'type="text/plain">[^<]*<', 'type="text/plain"><', file.read_text(encoding="utf-8"))


def read_page(file: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Facts, and arrays (z, y, x): "grey" values or (3, z, y, x) colours, "prediction", "reference" as values."""
    blocks = read_blocks(file)
    facts = json.loads(blocks["case"])
    shape = tuple(facts["shape"][::-1])
    values = np.array([0, *(shown["value"] for shown in facts["classes"])])
    arrays = {}
    for role in {"prediction", "reference"} & set(blocks):
        kind = np.uint8 if facts["classBytes"] == 1 else np.dtype("<u2")
        arrays[role] = values[np.frombuffer(unpack(blocks[role]), kind).reshape(shape)]
    channels = [grey_codes(blocks, channel, facts) for channel in range(3 if facts["colour"] else 1)]
    grey = facts["low"] + facts["step"] * np.stack(channels)
    arrays["grey"] = grey if facts["colour"] else grey[0]
    return facts, arrays


def unpack(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def grey_codes(blocks: dict[str, str], channel: int, facts: dict) -> np.ndarray:
    """(z, y, x)"""
    columns, rows, slices = facts["shape"]
    codes = np.zeros((slices, rows, columns), np.int64)
    for slab, first in enumerate(range(0, slices, facts["slabSlices"])):
        part = codes[first : first + facts["slabSlices"]]
        data = np.frombuffer(unpack(blocks[f"grey-{channel}-{slab}"]), np.uint8).astype(np.int64)
        folded = (data[: part.size] + 256 * data[part.size :]).reshape(part.shape)
        differences = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
        for row in range(rows):
            for column in range(columns):
                part[:, row, column] = foretold(part, row, column) + differences[:, row, column]
                part[:, row, column] %= 65536
    return codes


def foretold(part: np.ndarray, row: int, column: int) -> np.ndarray:
    if row and column:
        return (part[:, row, column - 1] + part[:, row - 1, column]) // 2
    if row or column:
        return part[:, row, column - 1] if column else part[:, row - 1, column]
    return np.zeros(len(part), np.int64)
