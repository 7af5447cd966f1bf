"""Coded names of structures, for segments: what a user calls "left kidney" is SNOMED CT's Kidney, Left.

All codes stand in terminology.json, by the ids of the library of structures without "left" and "right". They are codes
of DICOM's own context groups (PS3.16), looked up by their names, never composed; where DICOM has no code for a
structure, a wider one is given and marked `wider`, and where it has none of these either, the kind of thing alone.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pgsam_monai.base.structures.library import UnknownStructure, find_structure
from pgsam_monai.base.structures.spelling import side_of, spelling_keys

TUMOR_WORDS = frozenset("tumor neoplasm cancer carcinoma metastasis sarcoma lymphoma glioma gtv".split())
LESION_WORDS = frozenset("lesion nodule mass cyst infarct hemorrhage edema plaque aneurysm abscess".split())


@dataclass(frozen=True, kw_only=True)
class Coded:
    """One code of a terminology."""

    value: str
    meaning: str
    scheme: str = "SCT"
    """SNOMED CT unless it says otherwise: DCM (DICOM's own) or NCIt"""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """What a segment shows, as DICOM's segment description says it."""

    category: Coded
    """Segmented Property Category: anatomical structure, tissue, morphologically abnormal structure, …"""
    type: Coded
    """Segmented Property Type: kidney, neoplasm, …"""
    modifiers: tuple[Coded, ...] = ()
    """of the type: left, right, anterior, …"""
    region: Coded | None = None
    """anatomic Region: where an abnormality or a part lies"""
    region_modifiers: tuple[Coded, ...] = ()
    exact: bool = False
    """whether all of it together means the structure itself, not something wider"""


def concept_of(name: str, *, context: str = "") -> Concept:
    """The codes for a class name, whatever its spelling; a kind of thing alone for a name that nothing is known of.

    `context`: the other class names, which decide what a name such as "RV" means.
    """
    try:
        key = find_structure(name, context=context).id
    except UnknownStructure:
        return _of_unknown(name)
    sideless, side = _without_side(key)
    structures = _table()["structures"]
    entry = structures.get(key) or structures.get(sideless)
    if entry is None:
        return _concept(_kind("anatomy" if key != "background" else "tissue"), side=side, exact=False)
    return _concept(entry, side="" if key in structures else side, exact=not entry.get("wider", False))


def _of_unknown(name: str) -> Concept:
    words = {word for key in spelling_keys(name) for word in key.split()}
    kind = "tumor" if words & TUMOR_WORDS else "abnormal" if words & LESION_WORDS else "tissue"
    return _concept(_kind(kind), side=side_of(spelling_keys(name)[0]), exact=False)


def _kind(kind: str) -> dict[str, Any]:
    return {"kind": kind, "type": _table()["kinds"][kind]["type"]}


def _concept(entry: Mapping[str, Any], *, side: str, exact: bool) -> Concept:
    """An entry of the table with a side: that of the region where there is one, else of the thing."""
    sides = (_coded(_table()["sides"][side]),) if side else ()
    region = _coded(entry["region"]) if "region" in entry else None
    modifiers = (_coded(entry["modifier"]),) if "modifier" in entry else ()
    return Concept(
        category=_coded(_table()["kinds"][entry.get("kind", "anatomy")]["category"]),
        type=_coded(entry["type"]),
        modifiers=modifiers if region else modifiers + sides,
        region=region,
        region_modifiers=sides if region else (),
        exact=exact,
    )


def _coded(parts: list[str]) -> Coded:
    return Coded(value=parts[0], meaning=parts[1], scheme=parts[2] if len(parts) > 2 else "SCT")


def _without_side(key: str) -> tuple[str, str]:
    """kidney_left -> kidney, left; rib_left_1 -> rib_1, left."""
    found = re.search(r"_(left|right)(?=_|$)", key)
    return (key.replace(found[0], "", 1), found[1]) if found else (key, "")


@functools.cache
def _table() -> Mapping[str, Any]:
    return json.loads((files(__package__) / "terminology.json").read_text(encoding="utf-8"))
