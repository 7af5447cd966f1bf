"""Measured cases on disk, one file each, so that a killed run goes on where it was and a second run is
instant.

A file is a line of JSON (what it was measured from, the facts, the sizes of the arrays), behind a checksum of all that
follows, and then the arrays' bytes. It appears under its name only when it is whole, and counts only while the case's
files keep size and time; a damaged one is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgsam_monai.base.files import visible, whole
from preprocess.fingerprint.facts import SCHEMA_VERSION, CaseFacts, case_from_dict, record_to_dict
from preprocess.fingerprint.intensity import Sample
from preprocess.fingerprint.measure import MeasuredCase, case_files
from preprocess.layouts.records import Case, Dataset

READ_AT_ONCE = 1 << 20
"""bytes, while a checksum is taken"""


@dataclass(frozen=True, kw_only=True)
class CachedCase:
    """The facts of a case, and where its foreground values lie on disk."""

    facts: CaseFacts
    path: Path
    arrays: tuple[tuple[int, int, bool], ...]
    """per channel: offset in bytes, number of values, whether counts follow the values"""

    def load_sample(self, channel: int) -> Sample:
        """The foreground values of one channel."""
        offset, length, counted = self.arrays[channel]
        values = np.fromfile(self.path, dtype="<f4", count=length, offset=offset)
        counts = (
            np.fromfile(self.path, dtype="<i8", count=length, offset=offset + 4 * length) if counted else None
        )
        return Sample(values=values.astype(np.float32, copy=False), counts=counts)


@dataclass(frozen=True)
class ChannelSamples:
    """The samples of one channel of many cases, loaded one at a time and as often as gone through."""

    cases: tuple[CachedCase, ...]
    channel: int

    @property
    def size_bytes(self) -> int:
        """Memory that all of them would take at once."""
        return sum(_bytes_of(*case.arrays[self.channel][1:]) for case in self.cases)

    def __iter__(self) -> Iterator[Sample]:
        return (case.load_sample(self.channel) for case in self.cases)


def cache_path(case: Case, folder: Path) -> Path:
    """Where the facts of `case` lie: its name made safe, with a digest where that changed it."""
    safe = re.sub(r"[^\w.-]", "_", case.name)[:100]
    mark = "" if safe == case.name else "-" + hashlib.sha256(case.name.encode()).hexdigest()[:8]
    return folder / f"{safe}{mark}.facts"


def source_of(case: Case, dataset: Dataset) -> list:
    """What the facts of `case` depend on: files with size and time, and how they are read. Missing files have
    None."""
    stamps = [[name, _stamp(os.path.join(dataset.folder, name))] for name in case_files(case)]
    read_as = [dataset.file_format, dataset.background] if dataset.background else [dataset.file_format]
    read_as += [] if dataset.ignore is None else ["ignore", dataset.ignore]
    read_as += [] if case.labelled is None else [list(case.labelled)]
    read_as += [] if case.values is None else [[list(pair) for pair in case.values.items()]]
    return [SCHEMA_VERSION, *read_as, case.name, case.group, list(case.images), case.label, stamps]


def write_case(measured: MeasuredCase, source: list, path: Path) -> CachedCase:
    """Writes `path` whole or not at all."""
    blocks, sizes = [], []
    for sample in measured.samples:
        sizes.append([len(sample.values), sample.counts is not None])
        blocks.append(sample.values.astype("<f4", copy=False).tobytes())
        if sample.counts is not None:
            blocks.append(sample.counts.astype("<i8", copy=False).tobytes())
    header = {"source": source, "facts": record_to_dict(measured.facts), "arrays": sizes}
    line = json.dumps(header).encode() + b"\n"
    mark = _mark([line, *blocks])
    with whole(path) as partial, partial.open("wb") as stream:
        stream.writelines([mark, line, *blocks])
    return CachedCase(facts=measured.facts, path=path, arrays=_places(len(mark) + len(line), sizes)[0])


def read_case(path: Path, source: list) -> CachedCase | None:
    """The case cached at `path` if it was measured from `source` and is whole, else None."""
    try:
        with open(path, "rb") as stream:
            mark, line = stream.read(len(_mark([]))), stream.readline()
            offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
            if mark != _mark([line, *iter(lambda: stream.read(READ_AT_ONCE), b"")]):
                return None
        header = json.loads(line)
        if header["source"] != source or header["facts"]["error"]:  # what failed once may have been bad luck
            return None
        arrays, end = _places(offset, header["arrays"])
        if end != size:
            return None
        return CachedCase(facts=case_from_dict(header["facts"]), path=path, arrays=arrays)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mark(parts: Iterable[bytes]) -> bytes:
    """The checksum of what follows it in a file."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"%08x " % checksum


def _places(offset: int, sizes: list) -> tuple[tuple[tuple[int, int, bool], ...], int]:
    """Where each array begins when the first begins at `offset`, and where the last ends."""
    places = []
    for length, counted in sizes:
        places.append((offset, length, counted))
        offset += _bytes_of(length, counted)
    return tuple(places), offset


def _bytes_of(length: int, counted: bool) -> int:
    return length * (12 if counted else 4)


def _stamp(path: str) -> list[int] | None:
    try:
        if os.path.isdir(path):
            stats = [child.stat() for child in visible(path) if child.is_file()]
        else:
            stats = [os.stat(path)]
    except OSError:
        return None
    return [len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]
