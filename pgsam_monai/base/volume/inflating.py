"""Inflates: isal where it is installed, which is two to three times faster, else what Python brings."""

from __future__ import annotations

import zlib as _zlib
from typing import Any

__all__ = ["DAMAGE", "GZIP_MARK", "gzip", "zlib"]

gzip: Any
zlib: Any
try:
    from isal import igzip as gzip
    from isal import isal_zlib as zlib
except ImportError:
    import zlib

GZIP_MARK = b"\x1f\x8b"
DAMAGE: tuple[type[Exception], ...] = (OSError, EOFError, _zlib.error, zlib.error)
"""what opening, reading and inflating a damaged file raises"""
