"""Label names that mean nothing alone ("Anterior", "cancer", "LV"), and what decides for their meaning."""

from __future__ import annotations

from collections.abc import Mapping

_BRATS = ("brats", "brain", "glioma", "glioblastoma")
_LUMP = {
    "liver_tumor": ("liver", "hepatic", "lits"),
    "kidney_tumor": ("kidney", "renal", "kits"),
    "pancreatic_tumor": ("pancreas", "pancreatic"),
    "lung_tumor": ("lung", "pulmonary"),
    "colon_cancer": ("colon", "colonic", "colorectal"),
    "whole_tumor": _BRATS,
}
_HEART = ("heart", "cardiac", "acdc", "mmwhs", "whs", "mnms", "camus")
_HEART_LABELS = (*_HEART, "myo", "myocardium", "atrium")  # not "ventricle": the brain has some too
_PROSTATE = ("prostate", "prostatic", "prostatex", "promise")
_HEAD_AND_NECK = (
    *("hecktor", "hnscc", "headneck", "oropharynx", "oropharyngeal", "hypopharynx", "larynx", "laryngeal"),
    *("parotid", "submandibular", "mandible", "oral"),
)
_GROSS_TUMOR = ("gtvp", "gtv", "gtvt", "gtv p", "gtv t", "gtv primary")  # organs at risk don't tell which
_CORD = (
    *(
        "spine",
        "spinal",
        "vertebra",
        "brainstem",
        "parotid",
        "mandible",
        "larynx",
        "thyroid",
        "cochlea",
        "chiasm",
    ),
    *(
        "lung",
        "heart",
        "esophagus",
        "oesophagus",
        "trachea",
        "segthor",
        "liver",
        "kidney",
        "stomach",
        "hecktor",
    ),
)  # not prostate, testis, placenta: men have spermatic cords, and the unborn umbilical ones
_BTCV = ("btcv", "synapse", "rkid", "lkid", "ivc", "gb", "gall")

CONTEXTUAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_GROSS_TUMOR, {"head_neck_tumor": _HEAD_AND_NECK, "lung_tumor": ("nsclc",)}),
    "cord": {"spinal_cord": _CORD},
    "anterior": {"hippocampus_anterior": ("hippocampus", "hippocampal")},
    "posterior": {"hippocampus_posterior": ("hippocampus", "hippocampal")},
    "tumor": _LUMP,
    "cancer": _LUMP,
    "cyst": {"kidney_cyst": ("kidney", "renal", "kits")},
    "nodule": {"lung_nodule": ("lung", "pulmonary"), "thyroid_nodule": ("thyroid",)},
    "lesion": {"liver_tumor": ("liver", "hepatic", "lits"), "skin_lesion": ("skin", "isic", "dermoscopy")},
    "disc": {"optic_disc": ("optic", "fundus", "retina", "glaucoma", "refuge", "cup")},
    "cup": {"optic_cup": ("optic", "fundus", "retina", "glaucoma", "refuge", "disc")},
    "od": {"optic_disc": ("optic", "fundus", "retina", "glaucoma", "refuge", "oc")},
    "oc": {"optic_cup": ("optic", "fundus", "retina", "glaucoma", "refuge", "od")},
    "vessel": {"hepatic_vessel": ("liver", "hepatic")},
    "veins": {"portal_vein_and_splenic_vein": _BTCV},
    "rad": {"adrenal_gland_right": (*_BTCV, "lad")},
    "lad": {"adrenal_gland_left": (*_BTCV, "rad")},
    "right ag": {"adrenal_gland_right": _BTCV},
    "left ag": {"adrenal_gland_left": _BTCV},
    "pz": {"prostate_peripheral_zone": (*_PROSTATE, "tz", "cg")},
    "tz": {"prostate_transition_zone": (*_PROSTATE, "pz")},
    "cg": {"prostate_central_gland": (*_PROSTATE, "pz")},
    "afs": {"prostate_anterior_stroma": (*_PROSTATE, "pz", "tz")},
    "lv": {"heart_ventricle_left": (*_HEART_LABELS, "rv", "la")},
    "rv": {"heart_ventricle_right": (*_HEART_LABELS, "lv", "ra")},
    "la": {"heart_atrium_left": (*_HEART_LABELS, "lv", "ra", "laseg", "atrial")},
    "ra": {"heart_atrium_right": (*_HEART_LABELS, "rv", "la")},
    "myo": {"heart_myocardium": (*_HEART, "atrium", "lv", "rv", "lvc")},
    "lvc": {"heart_ventricle_left": (*_HEART_LABELS, "lac")},
    "lac": {"heart_atrium_left": (*_HEART_LABELS, "lvc")},
    "aa": {"ascending_aorta": (*_HEART_LABELS, "lv", "lvc")},
    "pa": {"pulmonary_artery": (*_HEART_LABELS, "lv", "pulmonary")},
    "pv": {
        "portal_vein": ("liver", "hepatic", "portal"),
        "pulmonary_vein": (*_HEART_LABELS, "lung", "pulmonary"),
    },
    "sma": {
        "superior_mesenteric_artery": ("smv", "mesenteric", "pancreas", "celiac", "abdomen", "abdominal")
    },
    "edema": {"peritumoral_edema": (*_BRATS, "enhancing", "et", "ncr")},
    "ed": {"peritumoral_edema": (*_BRATS, "et", "ncr")},
    "et": {"enhancing_tumor": (*_BRATS, "ed", "ncr")},
    "ncr": {"necrotic_core": (*_BRATS, "ed", "et")},
}
"""Names that mean nothing alone: name -> structure -> words of the data set's or its other labels' names that
decide for that structure. Exactly one structure must be so decided for."""

GENERIC: Mapping[str, str] = dict.fromkeys(_GROSS_TUMOR, "gross_tumor_volume")
"""Spelling key of such a name -> what it means in any data set, if no words decide for more."""
