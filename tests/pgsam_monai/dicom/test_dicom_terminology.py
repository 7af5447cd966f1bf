"""Codes are DICOM's, the names' sides come along, and what is not known is not claimed."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pydicom
import pytest
from pydicom.sr._concepts_dict import concepts

from pgsam_monai.base.structures.library import load_library
from pgsam_monai.dicom.terminology import concept_of

TABLE = json.loads((files("pgsam_monai.dicom") / "terminology.json").read_text(encoding="utf-8"))
KNOWN_BY_KIND_ALONE = {
    "background", "bowel", "intervertebral_discs", "hard_palate", "histological_gland", "mitochondrion",
    "prostate_or_uterus",
}  # fmt: skip


def all_codes():
    for entry in (*TABLE["kinds"].values(), *TABLE["structures"].values()):
        yield from (value for field, value in entry.items() if field not in ("kind", "wider"))
    yield from TABLE["sides"].values()


@pytest.mark.skipif(int(pydicom.__version__.split(".")[0]) < 3, reason="pydicom 2 knows an older DICOM")
def test_every_code_is_in_dicoms_dictionary_with_its_meaning():
    meanings: dict[tuple[str, str], set[str]] = {}
    for scheme, entries in concepts.items():
        for entry in entries.values():
            for value, (meaning, _) in entry.items():
                meanings.setdefault((scheme, value), set()).add(re.sub(r" \(.*\)$", "", meaning))
    for value, meaning, *scheme in all_codes():
        assert meaning in meanings[(*scheme, "SCT")[0], value], (value, meaning)


def test_every_entry_belongs_to_a_structure_of_the_library():
    library = set(load_library())
    sideless = {re.sub(r"_(left|right)(?=_|$)", "", key) for key in library}
    assert set(TABLE["structures"]) <= library | sideless
    assert {entry["kind"] for entry in TABLE["structures"].values() if "kind" in entry} <= set(TABLE["kinds"])


def test_how_much_of_the_library_has_a_code_of_its_own():
    concepts_by_id = {key: concept_of(key) for key in load_library()}
    exact = [key for key, concept in concepts_by_id.items() if concept.exact]
    kinds = {entry["type"][0] for name, entry in TABLE["kinds"].items() if name not in ("abnormal", "tumor")}
    by_kind = {key for key, concept in concepts_by_id.items() if concept.type.value in kinds}
    assert (len(concepts_by_id), len(exact)) == (437, 314)
    assert by_kind == KNOWN_BY_KIND_ALONE


def words(name, **options):
    concept = concept_of(name, **options)
    region = concept.region.meaning if concept.region else ""
    return (
        concept.category.meaning, " ".join([concept.type.meaning, *(code.meaning for code in concept.modifiers)]),
        " ".join([region, *(code.meaning for code in concept.region_modifiers)]).strip(), concept.exact,
    )  # fmt: skip


ANATOMY, ABNORMAL = "Anatomical Structure", "Morphologically Abnormal Structure"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("liver", (ANATOMY, "Liver", "", True)),
        ("Left Kidney", (ANATOMY, "Kidney Left", "", True)),
        ("rechte Niere", (ANATOMY, "Kidney Right", "", True)),
        ("heart_atrium_left", (ANATOMY, "Left atrium", "", True)),  # a code of its own: no side beside it
        ("radius", (ANATOMY, "Radius", "", True)),
        ("liver tumour", (ABNORMAL, "Neoplasm", "Liver", True)),
        ("kidney_cyst_right", (ABNORMAL, "Cyst", "Kidney Right", True)),
        ("rib_left_7", (ANATOMY, "Rib Left", "", False)),
        ("gluteus_maximus_left", (ANATOMY, "Muscle", "Buttock Left", False)),
        ("hippocampus_anterior", (ANATOMY, "Hippocampus Anterior", "", True)),
        ("cerebrospinal fluid", ("Body Substance", "Cerebrospinal Fluid", "", True)),
        ("white_matter_left", ("Tissue", "Cerebral White Matter Left", "", True)),
        ("organ5", ("Tissue", "Tissue", "", False)),
        ("left frobnicate", ("Tissue", "Tissue Left", "", False)),
        ("frobnicate tumour", (ABNORMAL, "Neoplasm", "", False)),
        ("unknown lesion", (ABNORMAL, "Lesion", "", False)),
        ("$import os", ("Tissue", "Tissue", "", False)),
    ],
)
def test_names_become_concepts(name, expected):
    assert words(name) == expected


def test_the_bone_and_not_the_length():
    assert concept_of("radius").type.value == "62413002"


def test_other_names_decide_what_a_name_means():
    assert words("Anterior")[:2] == ("Tissue", "Tissue")
    assert words("Anterior", context="samed_hippocampus Anterior Posterior")[1] == "Hippocampus Anterior"
