"""One listing of a folder, shared by all layouts, and what file names say about files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pgsam_monai.base.cases import stem_of, suffix_among
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import is_hidden

MAX_DEPTH = 6
"""folders below the data set that are searched; also ends loops of links"""


@dataclass(frozen=True)
class Tree:
    """Every folder below `root` with its files, hidden ones left out."""

    root: Path
    files: dict[str, tuple[str, ...]]
    """relative posix folder ("" is the root) -> file names in natural order; empty folders are kept"""

    def paths(self, suffixes: tuple[str, ...], folder: str | None = None) -> list[str]:
        """Relative paths of files with one of `suffixes`, in `folder` only or (None) in the whole tree."""
        folders = self.files if folder is None else [folder]
        return [join(f, n) for f in folders for n in self.files.get(f, ()) if suffix_among(n, suffixes)]

    def folders_named(self, *names: str, suffix: str = "") -> list[str]:
        """Folders whose last component, in lower case, is one of `names`; shallow ones first."""
        wanted = {name.lower() for name in names}
        hits = [f for f in self.files if f and PurePosixPath(f).name.lower().removesuffix(suffix) in wanted]
        return sorted(hits, key=lambda f: (f.count("/"), natural_key(f)))

    def has(self, path: str) -> bool:
        """Whether the tree lists the file; paths that leave the tree are looked up on disk."""
        folder, _, name = path.rpartition("/")
        if folder in self.files:
            return name in self._names(folder)
        return (self.root / path).is_file()

    def _names(self, folder: str) -> frozenset[str]:
        cache = self.__dict__.setdefault("_name_sets", {})
        if folder not in cache:
            cache[folder] = frozenset(self.files[folder])
        return cache[folder]


def list_tree(root: Path) -> Tree:
    """List `root` down to MAX_DEPTH folders, without hidden files and what systems leave in folders.

    Raises:
        UserFault: something there is neither file nor folder: whoever read a named pipe would wait without end.
    """
    files: dict[str, tuple[str, ...]] = {}
    pending = [("", 0)]
    while pending:
        folder, depth = pending.pop()
        names, below = [], []
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                (below if entry.is_dir() else names).append(entry.name)
                if kind := _strange_kind(entry):
                    where = f"{root}: {join(folder, entry.name)}"
                    raise UserFault(
                        f"{where} is {kind}, neither file nor folder; move it out of the data set."
                    )
        files[folder] = tuple(natural_sorted(names))
        if depth < MAX_DEPTH:
            pending += [(join(folder, name), depth + 1) for name in reversed(natural_sorted(below))]
    return Tree(root, files)


def _strange_kind(entry: os.DirEntry) -> str | None:
    """What an entry is, by its link's end, that is neither file nor folder; None for links that lead nowhere."""
    try:
        if entry.is_file() or entry.is_dir():
            return None
        mode = entry.stat().st_mode
    except OSError:
        return None
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "a device")


def natural_key(text: str) -> list[str | int]:
    """Sort key that puts img2 before img10."""
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", text)]


def natural_sorted(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=lambda text: (natural_key(text), text))


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


def count_files(tree: Tree) -> str:
    """A short inventory, such as "200 x .nii.gz in imagesTr/, 1 x .json"."""
    counts: dict[tuple[str, str], int] = {}
    for folder, names in tree.files.items():
        for name in names:
            ending = name[len(stem_of(name)) :] or PurePosixPath(name).suffix or "no ending"
            counts[folder, ending] = counts.get((folder, ending), 0) + 1
    parts = [
        f"{n} x {ending}" + (f" in {folder}/" if folder else "") for (folder, ending), n in counts.items()
    ]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} kinds more" if len(parts) > 8 else "")
