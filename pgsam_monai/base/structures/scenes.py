"""What the images of a data set show, told from its words: part of the body, contrast phase, kind of picture."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping

from pgsam_monai.base.structures.library import Structure, UnknownStructure, find_structure
from pgsam_monai.base.structures.spelling import spelling_keys

REGIONS: Mapping[str, tuple[str, ...]] = {
    "head": ("brain", "cranial", "hecktor", "segrap", "headneck", "hnscc"),
    "chest": ("chest", "thorax", "thoracic", "lung", "cardiac", "heart", "segthor", "mmwhs"),
    "abdomen": ("abdomen", "abdominal", "btcv", "synapse", "amos", "flare", "chaos", "lits", "kits", "word"),
    "pelvis": ("pelvis", "pelvic", "prostate", "promise", "cervix", "gynecological"),
}
"""Words of data sets that show this part of the body; other labels decide first. Not "neck": femora have one."""

SHOWN_WITH = {"abdomen": {"pelvis"}, "pelvis": {"abdomen"}}
"""Scans that show the one often show the other, and what lies in neither is cut off there all the same."""

PHASES: Mapping[str, tuple[str, ...]] = {
    "plain": ("plain", "native", "nativ", "noncontrast", "unenhanced"),
    "arterial": ("arterial", "angiography", "angio", "cta", "mmwhs", "kits", "kipa"),
    "portal-venous": ("portal", "venous", "portalvenous", "btcv", "synapse", "chaos"),
}
"""Words of data sets whose CT is of this contrast phase."""

PICTURES: Mapping[str, tuple[str, ...]] = {
    "US": ("ultrasound", "ultrasonography", "sonography", "echo", "echocardiography", "trus", "us", "camus"),
    "OCT": ("oct", "retouch"),
    "XRAY": ("xray", "radiograph", "panoramic", "dentex"),
    "FUNDUS": ("fundus", "refuge", "drive", "idrid"),
    "DERMOSCOPY": ("dermoscopy", "isic"),
    "ENDOSCOPY": ("endoscopy", "colonoscopy", "kvasir"),
    "HISTOLOGY": ("histology", "pathology", "monuseg", "glas", "crag", "pannuke", "consep", "lizard"),
    "FLUORESCENCE": ("fluorescence", "fluo"),
    "PHASE_CONTRAST": ("livecell",),
    "EM": ("electron", "em", "lucchi", "mitoem"),
    "PHOTO": ("photo", "photograph"),
}
"""Words of data sets whose pictures are of this kind; as files they are all "RGB"."""


def region_of(others: Iterable[str], dataset: str, among: Collection[str]) -> str:
    """The one part of the body, of those in `among`, that the other labels show; "" for none or several.

    Args:
        others: names of the data set's labels. Those that lie in several parts of the body count for none.
        dataset: the data set's name, asked where no label tells.
    """
    if not among:
        return ""
    shown = {region for name in others if (region := _region_of_label(name))} or _told(dataset, REGIONS)
    region = _only(shown & set(among))
    return region if shown <= {region, *SHOWN_WITH.get(region, ())} else ""


def phase_of(dataset: str) -> str:
    """The contrast phase, a key of `PHASES`; "" where the data set's name tells none or several."""
    return _only(_told(dataset, PHASES))


def picture_of(structure: Structure, dataset: str) -> str:
    """What kind of picture, a key of `PICTURES`, a file of modality "RGB" is; "RGB" where nobody knows.

    The data set's words decide, else a structure that is seen on one kind of picture and on no scan.
    """
    told = _only(_told(dataset, PICTURES))
    if told:
        return told
    return "RGB" if structure.ct or structure.mr else _only(structure.looks) or "RGB"


def _told(words: str, deciding: Mapping[str, tuple[str, ...]]) -> set[str]:
    known = {word for key in spelling_keys(words) for word in key.split()}
    return {answer for answer, tell in deciding.items() if known & set(map(_key, tell))}


@functools.cache
def _key(word: str) -> str:
    return spelling_keys(word)[0]


def _region_of_label(name: str) -> str:
    try:
        return find_structure(name).region
    except UnknownStructure:
        return ""


def _only(answers: Collection[str]) -> str:
    return next(iter(answers)) if len(answers) == 1 else ""
