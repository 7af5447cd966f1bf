"""Names as data sets and radiotherapy plans write them: what each means beside which others, or that it is refused."""

import pytest

from pgsam_monai.base.structures.describing import describe_structure
from pgsam_monai.base.structures.library import UnknownStructure, find_structure
from pgsam_monai.base.structures.meanings import meaning_of

BTCV = "Synapse spleen rkid lkid gall eso liver sto aorta IVC veins pancreas rad lad"
HEAD_AND_NECK = "HECKTOR Parotid_L Parotid_R Mandible BrainStem Larynx"
PELVIS = "Rectum Bladder Femur_Head_L Femur_Head_R"
REFUSED = None

DIFFICULT = [
    # data sets of the abdomen
    ("rad", BTCV, "CT", "adrenal_gland_right"),
    ("lad", BTCV, "CT", "adrenal_gland_left"),
    ("lad", "rca lcx coronary", "CT", REFUSED),
    ("veins", BTCV, "CT", "portal_vein_and_splenic_vein"),
    ("PV&SV", BTCV, "CT", "portal_vein_and_splenic_vein"),
    ("PV", BTCV, "CT", "portal_vein"),
    ("PV", "LA LV myo", "MR", "pulmonary_vein"),
    ("PV", "", "CT", REFUSED),
    ("postcava", "", "CT", "inferior_vena_cava"),
    ("gall", BTCV, "CT", "gallbladder"),
    # TotalSegmentator and what resembles its names
    ("kidney_cyst_left", "", "CT", "kidney_cyst_left"),
    ("iliac_vena_right", "", "CT", "iliac_vena_right"),
    ("vertebrae_L5", "", "CT", "vertebrae_L5"),
    ("autochthon_left", "", "CT", "autochthon_left"),
    ("thoracic aorta", "", "CT", "thoracic_aorta"),
    ("Aorta_thoracica", "", "CT", "thoracic_aorta"),
    ("aorta", BTCV, "CT", "aorta"),
    # radiotherapy: volumes, then organs at risk
    ("GTVp", HEAD_AND_NECK, "CT", "head_neck_tumor"),
    ("GTVp", "lung rectum", "CT", "gross_tumor_volume"),
    ("GTV-T", "NSCLC Radiomics heart", "CT", "lung_tumor"),
    ("GTV", "", "MR", "gross_tumor_volume"),
    ("GTVn", "lung heart", "CT", "metastatic_lymph_node"),
    ("CTVn", HEAD_AND_NECK, "CT", REFUSED),
    ("PTV_70", HEAD_AND_NECK, "CT", REFUSED),
    ("Spinal_Cord_PRV", HEAD_AND_NECK, "CT", REFUSED),
    ("cord", HEAD_AND_NECK, "CT", "spinal_cord"),
    ("Cord", "lungs heart esophagus", "CT", "spinal_cord"),
    ("cord", "prostate seminal vesicles", "MR", REFUSED),
    ("spermatic cord", HEAD_AND_NECK, "CT", REFUSED),
    ("umbilical cord", "lung heart", "US", REFUSED),
    ("femur_head_l", PELVIS, "CT", "femoral_head_left"),
    ("Femoral_Head_R", PELVIS, "CT", "femoral_head_right"),
    ("femoral heads", PELVIS, "CT", "femoral_head"),
    ("Femur_L", PELVIS, "CT", "femur_left"),
    ("cervix", PELVIS, "MR", "uterine_cervix"),
    ("cervical", PELVIS, "MR", REFUSED),
    ("OpticNrv_L", HEAD_AND_NECK, "CT", "optic_nerve_left"),
    ("Glnd_Submand_R", HEAD_AND_NECK, "CT", "submandibular_gland_right"),
    # sides, plurals, several in one
    ("Lungs", "", "CT", "lung"),
    ("Rt. Kidney", "", "CT", "kidney_right"),
    ("kidneyL", "", "CT", "kidney_left"),
    ("L+R kidney", "", "CT", "kidney"),
    ("kidney and tumor", "KiTS", "CT", REFUSED),
    ("left spleen", "", "CT", REFUSED),
    # slips of the pen: refused with what was meant, never taken for a neighbour
    ("speen", "", "CT", REFUSED),
    ("left kidny", "", "CT", REFUSED),
    ("ileum", "", "CT", REFUSED),
    ("ilium", "", "CT", REFUSED),
    ("perineum", "", "CT", REFUSED),
    ("rectus", "", "CT", REFUSED),
    # French and Spanish
    ("foie", "", "CT", "liver"),
    ("rate", "", "CT", "spleen"),
    ("rein droit", "", "CT", "kidney_right"),
    ("Rein_G", "", "CT", REFUSED),  # G is no side in any other language
    ("surrénale gauche", "", "CT", "adrenal_gland_left"),
    ("vésicule biliaire", "", "CT", "gallbladder"),
    ("vesícula", "", "CT", REFUSED),  # of the gall or the semen
    ("veine cave inférieure", "", "CT", "inferior_vena_cava"),
    ("œsophage", "", "CT", "esophagus"),
    ("Poumon gauche", "", "CT", "lung_left"),
    ("hígado", "", "CT", "liver"),
    ("higado", "", "CT", "liver"),
    ("bazo", "", "CT", "spleen"),
    ("riñón izquierdo", "", "CT", "kidney_left"),
    ("Riñón derecho", "", "CT", "kidney_right"),
    ("estómago", "", "CT", "stomach"),
    ("vejiga", "", "CT", "urinary_bladder"),
    ("corazón", "", "CT", "heart"),
]


@pytest.mark.parametrize(
    ("name", "context", "modality", "meant"), DIFFICULT, ids=[f"{n} | {c[:12]}" for n, c, _, _ in DIFFICULT]
)
def test_a_difficult_name_means_this_or_is_refused(name, context, modality, meant):
    if meant is REFUSED:
        with pytest.raises(UnknownStructure, match="Structure '"):
            find_structure(name, context=context)
    else:
        found = find_structure(name, context=context)
        assert found.id == meant
        assert (
            describe_structure(name, modality, context)
            .casefold()
            .startswith(
                (found.name.casefold(), *(fields.get("name", "-") for fields in found.regions.values()))
            )
        )


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("cord", "spinal cord"), ("PV", "portal vein"), ("left kidny", "left kidney"),
     ("femoral hed left", "left femoral head"), ("hígad", "liver"), ("thoracic aota", "thoracic aorta")],
)  # fmt: skip
def test_what_is_refused_suggests_what_was_likely_meant(name, suggestion):
    with pytest.raises(UnknownStructure) as caught:
        find_structure(name)

    assert suggestion in caught.value.suggestions


@pytest.mark.parametrize("organ", ["rein", "riñón", "poumon", "pulmón", "surrénale"])
def test_french_and_spanish_sides_are_never_exchanged(organ):
    left = [find_structure(f"{organ} {side}").id for side in ("gauche", "izquierdo", "izquierda")]
    right = [find_structure(f"{organ} {side}").id for side in ("droit", "droite", "derecho", "derecha")]

    assert {key.rpartition("_")[2] for key in left} == {"left"} and len(set(left)) == 1
    assert {key.rpartition("_")[2] for key in right} == {"right"} and len(set(right)) == 1


def test_gross_tumors_of_two_data_sets_are_not_taken_for_one():
    assert meaning_of("GTVp", "lung") is None
    assert meaning_of("primary tumor", "") is None
    assert meaning_of("GTVp", HEAD_AND_NECK) == "head_neck_tumor"
