"""Descriptions of segments: the user's name, coded terms, colour, and what made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.colours import colour_of
from pgsam_monai.dicom.terminology import Coded, concept_of

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

LONGEST_LO = 64
"""characters of a DICOM long string"""
LONGEST_ST = 1024
"""characters of a DICOM short text"""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What made a label map."""

    bundle: str
    """its name"""
    version: str
    """of pgsam-monai"""
    weights: str = "unknown"
    """a fingerprint of the weights, which stands as the device's serial number"""
    guided: bool = False
    """whether a user's clicks or boxes led it"""

    @property
    def algorithm_type(self) -> str:
        return "SEMIAUTOMATIC" if self.guided else "AUTOMATIC"


def describe_segments(present: Sequence[str], names: Sequence[str], maker: Maker) -> list[SegmentDescription]:
    """highdicom's descriptions of segments 1, 2, …, which show the classes `present`.

    `names` are all classes: they give each its colour, as in overlays, and tell what an ambiguous name means.
    """
    return [_describe(number, name, names, maker) for number, name in enumerate(present, start=1)]


def _describe(number: int, name: str, names: Sequence[str], maker: Maker) -> SegmentDescription:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    concept = concept_of(name, context=" ".join((maker.bundle, *names)))
    item = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(name),
        segmented_property_category=_concept(concept.category),
        segmented_property_type=_concept(concept.type),
        algorithm_type=maker.algorithm_type,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="pgsam-monai",
            family=codes.DCM.ArtificialIntelligence,
            version=maker.version,
            source="pgsam-monai",
            parameters={"bundle": maker.bundle, "weights": maker.weights},
        ),
        tracking_id=long_string(name),
        tracking_uid=hd.UID(),
        anatomic_regions=[_concept(concept.region)] if concept.region else None,
    )
    if concept.modifiers:
        modifiers = [_concept(modifier) for modifier in concept.modifiers]
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifiers
    if concept.region_modifiers:
        modifiers = [_concept(modifier) for modifier in concept.region_modifiers]
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = modifiers
    if len(name) > LONGEST_LO:
        item.SegmentDescription = _plain(name)[:LONGEST_ST]
    item.RecommendedDisplayCIELabValue = display_colour(list(names).index(name))
    return item


def _concept(code: Coded) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def display_colour(index: int) -> list[int]:
    """The colour that overlays give to class `index`, as DICOM writes CIELab (D65, as viewers turn it back to sRGB)."""
    import numpy as np
    from highdicom.color import CIELabColor
    from skimage.color import rgb2lab

    lab = rgb2lab(np.array(colour_of(index), np.float64)[None, None] / 255)[0, 0]
    return [int(value) for value in CIELabColor(*(float(value) for value in lab)).value]


def long_string(text: str) -> str:
    """At most 64 characters, as DICOM's LO holds them: no backslash, no line breaks."""
    text = _plain(text)
    return text if len(text) <= LONGEST_LO else text[: LONGEST_LO - 3] + "..."


def _plain(text: str) -> str:
    return " ".join(text.replace("\\", "/").split())
