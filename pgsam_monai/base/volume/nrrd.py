"""NRRD headers (.nrrd, .nhdr): lines of `field: value` up to an empty one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pgsam_monai.base.volume.admission import data_beside
from pgsam_monai.base.volume.headers import MOST_AXES, Fields, numbered_files
from pgsam_monai.base.volume.records import ReadError
from pgsam_monai.base.volume.stored import Stored

TYPES = {
    "i1": "char/signed char/int8/int8_t",
    "u1": "uchar/unsigned char/uint8/uint8_t",
    "i2": "short/short int/signed short/signed short int/int16/int16_t",
    "u2": "ushort/unsigned short/unsigned short int/uint16/uint16_t",
    "i4": "int/signed int/int32/int32_t",
    "u4": "uint/unsigned int/uint32/uint32_t",
    "i8": "longlong/long long/long long int/signed long long/signed long long int/int64/int64_t",
    "u8": "ulonglong/unsigned long long/unsigned long long int/uint64/uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPE_OF = {name: code for code, names in TYPES.items() for name in names.split("/")}
_ENCODING_OF = {
    "raw": "raw", "gzip": "packed", "gz": "packed", "text": "text", "txt": "text", "ascii": "text",
}  # fmt: skip
_SPATIAL_KINDS = {"domain", "space", "time", "???", "none", "unknown", ""}
TO_LPS = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
    "right-anterior-superior-time": (-1, -1, 1), "rast": (-1, -1, 1),
    "left-anterior-superior-time": (1, -1, 1), "last": (1, -1, 1),
}  # fmt: skip
"""signs of the frames that aren't LPS; what says nothing of the patient is taken for LPS, as ITK takes it"""
_VECTOR = re.compile(r"\(([^()]*)\)|(none)", re.IGNORECASE)
_LONGEST_LINE = 1 << 20
_LONGEST_HEADER = 1 << 24


def read_nrrd_header(file: Path) -> Stored:
    """The header, checked. Raises ReadError on what can't be a volume, or takes its voxels from elsewhere."""
    fields, end, names = _read(file)
    axes = fields.whole("dimension", least=2, most=MOST_AXES + 1)
    sizes = fields.wholes("sizes", axes)
    vectors = _vectors(fields, axes)
    parts_axis = _parts_axis(fields, vectors, axes)
    spatial = [axis for axis in range(axes) if axis != parts_axis]
    if not 2 <= len(spatial) <= MOST_AXES:
        raise ReadError(file, f"{len(spatial)} axes of space and time; 2 to {MOST_AXES} can be read")
    encoding, dtype = _encoding(fields), _dtype(fields)
    where = fields.values.get("data file")
    files = (file,) if where is None else _data_files(file, where, names)
    bytes_before = fields.whole("byte skip", 0, least=-1)
    if bytes_before == -1 and (encoding != "raw" or where is None):
        raise ReadError(file, "a byte skip of -1 is for raw voxels in a file of their own")
    packed = encoding == "packed"
    lines = fields.whole("line skip", 0, least=0, most=1 << 20)
    start = end if where is None else 0
    if lines and bytes_before:
        raise ReadError(file, "line skip and byte skip together can't be read; give one")
    return Stored(
        file=file,
        axes=sizes,
        parts_axis=parts_axis,
        dtype=dtype,
        lps=_lps(fields, vectors, spatial),
        files=files,
        encoding=encoding,
        skip=bytes_before if bytes_before == -1 else start + (0 if packed else bytes_before),
        lines=lines,
        unpacked_skip=bytes_before if packed else 0,
    )


def _read(file: Path) -> tuple[Fields, int, list[str]]:
    """Fields, their names in lower case; the byte after the header, and the names of a list at its end."""
    fields: dict[str, str] = {}
    names: list[str] = []
    with open(file, "rb") as stream:
        if not re.fullmatch(rb"NRRD000\d\s*", stream.readline(64)):
            raise ReadError(file, "not a NRRD file (no NRRD mark at its start), or truncated")
        while (line := stream.readline(_LONGEST_LINE)).strip():
            text = line.decode("utf-8", "replace").strip()
            if stream.tell() > _LONGEST_HEADER:
                raise ReadError(file, "not a NRRD file, or its header is damaged: it has no end")
            if fields.get("data file", "").upper().startswith("LIST"):
                names.append(text)
            elif not text.startswith("#") and ":=" not in text:
                _add(fields, text, file)
        end = stream.tell()
    if not line and "data file" not in fields:
        raise ReadError(file, "truncated: its header has no end; copy or download it again")
    return Fields(file, fields), end, names


def _add(fields: dict[str, str], line: str, file: Path) -> None:
    key, colon, value = line.partition(":")
    key = {
        "datafile": "data file",
        "lineskip": "line skip",
        "byteskip": "byte skip",
        "axismins": "axis mins",
    }.get(key.strip().lower(), key.strip().lower())
    if not colon:
        raise ReadError(file, f"its header has a line that is no field: {line[:40]!r}")
    if key in fields:
        raise ReadError(file, f"its header gives {key[:40]!r} twice")
    fields[key] = value.strip()


def _data_files(file: Path, where: str, names: list[str]) -> tuple[Path, ...]:
    if not where.upper().startswith("LIST"):
        return numbered_files(file, where)
    if not names:
        raise ReadError(file, "its list of files is empty")
    return tuple(data_beside(file, name) for name in names)


def _encoding(fields: Fields) -> str:
    word = fields.text("encoding").lower()
    if word not in _ENCODING_OF:
        raise ReadError(fields.file, f"encoding {word[:40]!r} can't be read; save it as raw or gzip")
    return _ENCODING_OF[word]


def _dtype(fields: Fields) -> np.dtype:
    word = " ".join(fields.text("type").lower().split())
    if word not in _TYPE_OF:
        raise ReadError(fields.file, f"type {word[:40]!r} is no number that can be read")
    code = _TYPE_OF[word]
    if code.endswith("1") or _ENCODING_OF.get(fields.text("encoding").lower()) == "text":
        return np.dtype(code)
    endian = fields.text("endian").lower()
    if endian not in ("little", "big"):
        raise ReadError(fields.file, f"endian must be little or big, got {endian[:40]!r}")
    return np.dtype(("<" if endian == "little" else ">") + code)


def _vectors(fields: Fields, axes: int) -> list[np.ndarray | None] | None:
    """The direction of each axis, in mm of the space; None for one that is none, or where the header says nothing."""
    if "space directions" not in fields.values:
        return None
    text = fields.values["space directions"]
    found = [None if none else _vector(fields, inner) for inner, none in _VECTOR.findall(text)]
    if len(found) != axes or _VECTOR.sub("", text).strip():
        raise ReadError(fields.file, f"space directions must be {axes} vectors, got {text[:80]!r}")
    return found


def _vector(fields: Fields, text: str) -> np.ndarray:
    """The first three numbers of "x,y,z"."""
    words = text.split(",")
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [np.nan]
    if not 2 <= len(values) <= 4 or not np.isfinite(values).all():
        raise ReadError(fields.file, f"a vector must be 2 to 4 finite numbers, got '({text[:60]})'")
    return np.array((*values, 0.0)[:3])


def _parts_axis(fields: Fields, vectors: list[np.ndarray | None] | None, axes: int) -> int | None:
    kinds = [kind.lower() for kind in fields.values.get("kinds", "").split()] or [""] * axes
    if len(kinds) != axes:
        raise ReadError(fields.file, f"kinds must be {axes} words, got {fields.values['kinds'][:60]!r}")
    if odd := [kind for kind in kinds if "matrix" in kind or kind == "complex"]:
        raise ReadError(fields.file, f"its voxels are no grey values or colours but {odd[0]!r}")
    parts = [
        axis
        for axis in range(axes)
        if kinds[axis] not in _SPATIAL_KINDS or (vectors is not None and vectors[axis] is None)
    ]
    if len(parts) > 1:
        raise ReadError(
            fields.file, f"{len(parts)} axes that are none of space; one, of channels, can be read"
        )
    return parts[0] if parts else None


def _lps(fields: Fields, vectors: list[np.ndarray | None] | None, spatial: list[int]) -> np.ndarray:
    """An axis that is missing points along +z, 1 mm apart, in a plane of its own; else it is completed later."""
    space = fields.values.get("space", "").lower()
    lps = np.eye(4)
    if vectors is None:
        _place_plain(fields, lps, spatial)
    else:
        flat = len(spatial) == 2 and _space_axes(fields) == 3
        lps[2, 2] = 0.0 if flat else 1.0
        for column, axis in enumerate(spatial[:3]):
            lps[:3, column] = vectors[axis]
        if "space origin" in fields.values:
            origin = _VECTOR.fullmatch(fields.values["space origin"])
            if origin is None or origin[2]:
                raise ReadError(fields.file, "space origin must be a vector of finite numbers")
            lps[:3, 3] = _vector(fields, origin[1])
    signs = TO_LPS.get(space, (1, 1, 1))
    return np.diag([*signs, 1.0]) @ lps


def _space_axes(fields: Fields) -> int:
    return fields.whole("space dimension", 3, least=1, most=MOST_AXES)


def _place_plain(fields: Fields, lps: np.ndarray, spatial: list[int]) -> None:
    """Of a header without directions: spacings, where NaN is unknown."""
    if "spacings" not in fields.values:
        return
    words = fields.values["spacings"].split()
    axes = fields.whole("dimension")
    known = ["1" if word.lower() == "nan" else word for word in words]
    spacing = Fields(fields.file, {"spacings": " ".join(known)}).numbers("spacings", axes)
    mins = fields.numbers(fields.first("axis mins"), axes) if "axis mins" in fields.values else np.zeros(axes)
    centers = (fields.values.get("centers", "").split() + ["cell"] * axes)[:axes]
    for column, axis in enumerate(spatial[:3]):
        lps[column, column] = spacing[axis]
        if mins[axis]:  # of the first voxel's border, unless it says that it is that of its centre
            lps[column, 3] = mins[axis] + (0 if centers[axis] == "node" else spacing[axis] / 2)
