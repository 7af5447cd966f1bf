"""Every class of the public data sets is found by its own name, and nothing is found wrongly."""

import pytest
from dataset_classes import DATASETS, TOTALSEGMENTATOR_V1, TOTALSEGMENTATOR_V2

from pgsam_monai.base.structures.library import UnknownStructure, find_structure, load_library
from pgsam_monai.base.structures.spelling import side_of, spelling_keys

SPELLINGS = {
    "spleen": "spleen Spleen SPLEEN Spl spleens _spleen_ label_spleen Milz lien spleen.nii.gz",
    "kidney_left": (
        "kidney_left left_kidney left-kidney Left.Kidney Kidney(L) LeftKidney leftkidney kidneyLeft L.Kd LKd lkid "
        "Kidney_L kidney-L L.Kidney lt_kidney Kidney/Left kidneys_left ren_sinister KidneyL"
    ),
    "kidney_right": "right_kidney Kidney_R R.Kd RKd rkid rt.kidney KidneyRight R/Kidney ren_dexter",
    "kidney": "kidney Kidneys both_kidneys",
    "esophagus": "esophagus Oesophagus œsophagus Eso. ESOPHAGUS",
    "gallbladder": "gall_bladder Gallbladder GB gall",
    "inferior_vena_cava": "IVC postcava vena_cava_inferior InferiorVenaCava",
    "heart_ventricle_left": "left_ventricle Ventricle_L heart_left_ventricle LV_cavity",
    "heart_myocardium": "myocardium LV_myocardium left_ventricular_myocardium",
    "lung_upper_lobe_left": "LUL left_upper_lobe upper_lobe_of_the_left_lung",
    "celiac_trunk": "celiac_trunk coeliac_trunk Cœliac_trunk",
    "urinary_bladder": "bladder Bladder UrinaryBladder",
    "prostate_or_uterus": "prostate/uterus",
    "thyroid_gland": "Glnd_Thyroid Schilddrüse thyroid",
    "rib_left_1": "rib_left_1 left_rib_1 first_left_rib 1st_rib_left rib_L_01",
    "vertebrae_L5": "vertebrae_L5 L5_vertebra vertebra_L5",
    "background": "background Background BG",
}
IN_WORDS = {
    "left kidney": "kidney_left",
    "«left kidney»": "kidney_left",
    "left kidney (healthy)": "kidney_left",
    "Kidney's": "kidney",
    "portal & splenic veins": "portal_vein_and_splenic_vein",
    "upper lobe, left lung": "lung_upper_lobe_left",
    "kidney tumour": "kidney_tumor",
    "tumour of the kidney": "kidney_tumor",
    "Enhancing Tumour": "enhancing_tumor",
}
LESIONS = ("tumor", "tumour", "cancer", "cyst", "lesion", "metastases", "stone", "abscess", "edema", "scar")
AMBIGUOUS = (
    "tumor,cancer,Anterior,PZ,LV,vessel,veins,rad,lad,ventricle,atrium,vena cava,iliac artery,subclavian artery,"
    "left,right,L,artery,vein,lobe,zone,lower lobe,kidney and tumor,kidney/tumor,kidney + tumor,non-tumor kidney,"
    "not liver,liver without lesion,abnormal liver,left liver,right spleen,left pancreas,left aorta,middle left lobe,"
    "left middle lobe,liver spleen,spleen vein,aorta wall,prostate bed,kidney fat,left and right ventricle,"
    "left ventricle right ventricle,label,mask,,42,?,left right kidney,lkid rkid,adrenal kidney,pulmonary"
).split(",")


def every_name(structure):
    return (structure.id, structure.name, *structure.synonyms)


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [(spelling.replace("_", " ") if n % 2 else spelling, key) for key, row in SPELLINGS.items()
     for n, spelling in enumerate(row.split())] + [*IN_WORDS.items()],
)  # fmt: skip
def test_a_spelling_finds_its_structure(spelling, meant):
    assert find_structure(spelling).id == meant


@pytest.mark.parametrize(("dataset", "names"), DATASETS.items(), ids=DATASETS)
def test_every_class_of_a_data_set_is_found_by_its_own_name(dataset, names):
    found = [find_structure(name, context=f"{dataset} {', '.join(names)}").id for name in names]

    assert len(set(found)) == len(names), found


@pytest.mark.parametrize(
    ("classes", "count"), [(TOTALSEGMENTATOR_V1, 104), (TOTALSEGMENTATOR_V2, 117)], ids=["v1", "v2"]
)
def test_totalsegmentators_class_names_are_ids(classes, count):
    assert len(set(classes)) == len(classes) == count
    assert set(classes) <= set(load_library())
    assert [find_structure(name.replace("_", " ")).id for name in classes] == classes


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_may_mean_another_thing_is_not_found(name):
    with pytest.raises(UnknownStructure):
        find_structure(name)


@pytest.mark.parametrize(
    ("name", "context", "meant"),
    [
        ("Anterior", "Task04_Hippocampus", "hippocampus_anterior"),
        ("posterior", "hippocampal parts", "hippocampus_posterior"),
        ("tumour", "Task08_HepaticVessel", "liver_tumor"),
        ("cancer", "pancreas", "pancreatic_tumor"),
        ("Tumor", "KiTS19", "kidney_tumor"),
        ("tumor", "LiTS", "liver_tumor"),
        ("cancer", "Task06_Lung", "lung_tumor"),
        ("cancer", "Task10_Colon", "colon_cancer"),
        ("TZ", "PZ", "prostate_transition_zone"),
        ("LV", "RV, MYO", "heart_ventricle_left"),
        ("myo", "ACDC", "heart_myocardium"),
        ("PV", "liver", "portal_vein"),
        ("PV", "heart", "pulmonary_vein"),
    ],
)
def test_context_decides_what_a_name_means(name, context, meant):
    assert find_structure(name, context=context).id == meant


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("tumor", "liver, kidney, spleen"),  # two organs have one
        ("tumor", "spleen"),
        ("tumor", "tumor"),
        ("LV", "brain, lateral ventricles"),
        ("anterior", "prostate"),
        ("lad", "coronary arteries: lad, rca, lcx"),
        ("disc", "lumbar spine"),
    ],
)
def test_a_context_that_decides_for_none_or_several_is_refused(name, context):
    with pytest.raises(UnknownStructure, match="different things"):
        find_structure(name, context=context)


def test_context_never_changes_what_a_clear_name_means():
    assert find_structure("left kidney", context="hippocampus right liver tumor").id == "kidney_left"


def test_a_side_is_never_exchanged():
    for structure in load_library().values():
        for name in every_name(structure):
            key = spelling_keys(name)[0]
            side = side_of(key)
            if side:
                assert side_of(spelling_keys(structure.name)[0]) in ("", side), name
                other = {"left": "right", "right": "left"}[side]
                try:
                    mirrored = find_structure(name.casefold().replace(side, other))
                except UnknownStructure:
                    continue
                assert mirrored.id != structure.id or side not in name.casefold(), name


def test_left_ids_have_left_names_and_nothing_of_the_right():
    for key, structure in load_library().items():
        words = key.split("_")
        for side, other in (("left", "right"), ("right", "left")):
            if side in words:
                assert side in structure.name.split(), key
                assert not any(other in spelling_keys(name)[0].split() for name in every_name(structure)), key


@pytest.mark.parametrize("organ", ["kidney", "left kidney", "liver", "brain"])
def test_a_lesion_is_never_taken_for_an_organ(organ):
    healthy = {"kidney", "lung", *TOTALSEGMENTATOR_V1}
    for lesion in LESIONS:
        for name in (f"{lesion}_{organ}", f"{organ}/{lesion}"):
            try:
                assert find_structure(name).id not in healthy, name
            except UnknownStructure:
                pass


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("speen", "spleen"),
        ("pancraes", "pancreas"),
        ("kidny left", "left kidney"),
        ("duodenm", "duodenum"),
        ("tumor", "liver tumor"),
    ],
)
def test_near_misses_are_suggested(name, suggestion):
    with pytest.raises(UnknownStructure, match=f"'{name}'.*did you mean.*'{suggestion}'") as caught:
        find_structure(name)

    assert suggestion in caught.value.suggestions


def test_a_misspelt_left_name_suggests_nothing_on_the_right():
    for name in ("left kidne", "left lungg", "left atriumm", "adrenal glan left"):
        with pytest.raises(UnknownStructure) as caught:
            find_structure(name)
        assert caught.value.suggestions
        assert not any("right" in suggestion for suggestion in caught.value.suggestions)


def test_nothing_like_the_name_suggests_nothing():
    with pytest.raises(UnknownStructure, match="write a text for it yourself") as caught:
        find_structure("zzzqqq")

    assert caught.value.suggestions == ()
