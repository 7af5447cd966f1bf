"""Stamps that tell whether a stored case is still the one its files and its preprocessing would give."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch

from pgsam_monai.base.cases import as_paths
from pgsam_monai.base.files import sha256_of, visible


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that a stored case was made from."""

    path: str
    """absolute"""
    size: int
    """bytes"""
    mtime_ns: int
    """time of the last change; equal size and time are trusted, otherwise the content is hashed again"""
    sha256: str
    """of the content"""


def source_paths(case: Mapping[str, Any]) -> list[Path]:
    """The absolute, distinct files of a case's image and label; a folder (DICOM series) counts as its
    files."""
    paths: dict[Path, None] = {}
    for key in ("image", "label"):
        for path in as_paths(case[key]) if case.get(key) else []:
            path = Path(os.path.abspath(path))
            inside = [file for file in visible(path) if file.is_file()] if path.is_dir() else [path]
            paths.update(dict.fromkeys(inside))
    return list(paths)


def stamp_sources(case: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    """Size, time and SHA-256 of every source file. Raises FileNotFoundError."""
    return tuple(_stamp(path) for path in source_paths(case))


def sources_unchanged(stamps: tuple[SourceFile, ...], case: Mapping[str, Any]) -> bool:
    """Whether the case has exactly these files with this content; content is read only where size and time
    moved."""
    paths = source_paths(case)
    if [str(path) for path in paths] != [stamp.path for stamp in stamps]:
        return False
    for path, stamp in zip(paths, stamps, strict=True):
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != stamp.size:
            return False
        if status.st_mtime_ns != stamp.mtime_ns and sha256_of(path) != stamp.sha256:
            return False
    return True


def describe(thing: Any, _above: tuple[int, ...] = ()) -> Any:
    """Any object -> JSON values that change with every parameter: class name and attributes, recursively.

    Meant for deterministic transforms. Arrays and code enter by their hash, addresses never do, so equal
    objects give equal descriptions in every process.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if id(thing) in _above:
        return "<itself>"
    inner = partial(describe, _above=(*_above, id(thing)))
    if isinstance(thing, Mapping):
        return {"map": [[inner(key), inner(value)] for key, value in thing.items()]}
    if isinstance(thing, list | tuple):
        return [inner(value) for value in thing]
    if isinstance(thing, set | frozenset):
        return {"set": sorted(json.dumps(inner(value), sort_keys=True) for value in thing)}
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()
        return {"array": [str(thing.dtype), list(thing.shape), digest]}
    return _describe_object(thing, inner)


def _describe_object(thing: Any, inner: Any) -> Any:
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, torch.dtype | np.dtype | np.generic | Path):
        return f"{type(thing).__name__}:{thing}"
    if isinstance(thing, partial):
        return {"partial": [inner(thing.func), inner(thing.args), inner(thing.keywords)]}
    if isinstance(thing, CodeType):
        return [thing.co_code.hex(), inner(thing.co_consts), list(thing.co_names)]
    name = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if hasattr(thing, "__code__"):
        closure = [cell.cell_contents for cell in thing.__closure__ or ()]
        return {"function": [thing.__module__, thing.__qualname__, inner(thing.__code__), inner(closure)]}
    if hasattr(thing, "__self__"):
        return {"method": [getattr(thing, "__qualname__", name), inner(thing.__self__)]}
    attributes = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        for slot in getattr(kind, "__slots__", ()):
            if hasattr(thing, slot) and slot not in ("__dict__", "__weakref__"):
                attributes[slot] = getattr(thing, slot)
    # MONAI's random state is the process's own and says nothing of what a deterministic transform does; whether one is
    # traced stands in it from its first call on
    return {name: {key: inner(attributes[key]) for key in sorted(attributes.keys() - {"R", "_tracing"})}}


def preprocessing_hash(preprocessing: Any, store_format: int) -> str:
    """Twelve hex digits of the description; they change with any parameter and with the store's format."""
    text = json.dumps([store_format, describe(preprocessing)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stamps_to_json(stamps: tuple[SourceFile, ...]) -> list[dict[str, Any]]:
    return [asdict(stamp) for stamp in stamps]


def stamps_from_json(rows: list[dict[str, Any]]) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(**row) for row in rows)


def _stamp(path: Path) -> SourceFile:
    status = path.stat()
    return SourceFile(
        path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256_of(path)
    )
