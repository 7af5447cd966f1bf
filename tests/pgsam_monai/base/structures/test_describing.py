"""Every text fits CLIP with its neighbours, speaks of its own images only, and tells what the data set shows."""

import functools
import re
from dataclasses import replace

import pytest
from open_clip.tokenizer import SimpleTokenizer

from pgsam_monai.base.structures import describing
from pgsam_monai.base.structures.describing import SEEN_ON, count_tokens, describe_structure, plain_text
from pgsam_monai.base.structures.library import UnknownStructure, load_library
from pgsam_monai.base.structures.scenes import PHASES, PICTURES, REGIONS, phase_of, picture_of, region_of

MR_ONLY = (
    r"\bon T[12]\b|T[12] layers|FLAIR|\bADC\b|diffusion|spin echo|gradient echo|cine|gadolinium|flow void"
)
CT_ONLY = r"Hounsfield|attenuat|oral contrast|portal-venous"
FOREIGN = {"CT": MR_ONLY, "MR": CT_ONLY}
PICTURED = r"\b(CT|PET|OCT|X-ray|ultrasound|fundus photograph|histology|H&E|microscop\w*|photograph)\b"
SYNAPSE = ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")


@functools.cache
def every_text():
    return tuple(_every_text())


def _every_text():
    """(structure, modality, text): as nothing is known of the images, then as they show one region, phase and side."""
    for structure in load_library().values():
        scans = [seen for seen, look in (("CT", structure.ct), ("MR", structure.mr)) if look]
        pictures = [kind for kind in structure.looks if kind != "RGB"]
        for seen in (*scans, *pictures, *(["RGB"] if structure.looks else [])):
            yield structure, seen, describe_structure(structure.id, seen)
            yield structure, seen, describe_structure(structure.id, seen, orientation="PLS")
        for phase in structure.phases:
            yield structure, "CT", describe_structure(structure.id, "CT", PHASES[phase][0], orientation="PLS")
        for region, fields in structure.regions.items():
            for seen in scans:
                yield (
                    replace(structure, **fields),
                    seen,
                    describe_structure(structure.id, seen, REGIONS[region][0]),
                )


def test_every_text_fits_clip_and_keeps_shape_place_and_two_neighbours():
    encode = SimpleTokenizer().encode
    for structure, _, text in every_text():
        tokens = len(encode(text))
        assert tokens + 2 <= 77 and tokens == count_tokens(text), text
        for part, least in ((structure.shape, 1), (structure.position, 1), (structure.neighbours, 2)):
            assert ", ".join(part.split(", ")[:least]) in text, text


def test_no_text_loses_a_neighbour_unless_for_the_side_in_the_picture():
    lost = [text for known, _, text in every_text() if known.neighbours not in text]

    assert all("the patient's left is" in text for text in lost), lost
    assert len(lost) < 60


def test_no_text_speaks_of_other_images_nor_in_hounsfield_units():
    for _, seen, text in every_text():
        head, body = text.split(": ", 1)
        assert not re.search(r"\bHU\b|Hounsfield", text), text
        assert not re.search(FOREIGN.get(seen, f"{MR_ONLY}|{CT_ONLY}"), body), text
        assert not re.search(PICTURED, body), text  # the head names the images, and nothing else does
        assert "in the picture" not in body and not re.search("pixel|electron", body), text
        if seen in SEEN_ON and seen != "RGB":
            assert head.endswith(SEEN_ON[seen]), text


def test_no_text_names_a_contrast_phase_that_nobody_told():
    for structure in load_library().values():
        for modality in ("CT", "MR"):
            text = describe_structure(structure.id, modality)
            assert not re.search(
                r"arterial phase|venous phase|-venous|unenhanced|\bplain\b (?!angle)", text
            ), text


def test_every_text_tells_the_look_that_its_images_have():
    for structure in load_library().values():
        for modality, look in (("CT", structure.ct), ("MR", structure.mr), *structure.looks.items()):
            if look:
                assert look.split(", ")[0] in describe_structure(structure.id, modality), (
                    structure.id,
                    modality,
                )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_no_two_texts_are_equal_even_without_the_name(modality):
    texts = {}
    for key, structure in load_library().items():
        told = describe_structure(key, modality).split(": ", 1)[1]
        assert told not in texts, f"{key} reads like {texts[told]}"
        texts[told] = structure.id


def test_variants_belong_to_known_regions_phases_and_pictures_and_change_descriptive_fields_only():
    for structure in load_library().values():
        assert set(structure.phases) <= set(PHASES) and set(structure.looks) <= {*PICTURES, "RGB"}, (
            structure.id
        )
        assert structure.region in {"", *REGIONS} and set(structure.regions) <= set(REGIONS), structure.id
        for fields in structure.regions.values():
            assert set(fields) <= {"name", "shape", "position", "neighbours"}, structure.id
            assert all(len(phrase.split()) <= 14 for phrase in fields.values()), structure.id


def test_a_description_is_read_in_the_order_name_shape_place_neighbours_look():
    spleen = load_library()["spleen"]

    ct, mr = describe_structure("spleen", "CT"), describe_structure("SPL", "mr")

    assert ct == (
        "Spleen on CT: crescent-shaped solid organ with smooth convex outer border and notched hilum, in the left "
        "upper abdomen under the diaphragm, along ribs 9 to 11; with stomach in front, left kidney behind medially, "
        "pancreatic tail at its hilum; homogeneous grey, much like liver."
    )
    assert mr.startswith("Spleen on MRI: crescent-shaped solid organ") and spleen.mr.split(", ")[0] in mr
    assert spleen.mr not in ct and spleen.ct not in mr


def test_what_does_not_fit_goes_in_the_order_look_neighbours_and_a_part_breaks_off_for_good(monkeypatch):
    text = describe_structure("pancreas", "CT")
    assert "stomach in front, splenic vein behind, duodenum around the head" in text

    monkeypatch.setattr(describing, "MAX_TOKENS", count_tokens(text) - 7)
    shorter = describe_structure("pancreas", "CT")
    assert "splenic vein behind; feathery" in shorter and "duodenum around the head" not in shorter


@pytest.mark.parametrize(
    ("modality", "start"),
    [("PET", "Spleen on PET: "), ("unknown", "Spleen: "), ("", "Spleen: "), ("US", "Spleen on ultrasound: "),
     ("RGB", "Spleen in a colour picture: ")],
)  # fmt: skip
def test_without_a_look_the_neighbours_stay(modality, start):
    spleen = load_library()["spleen"]

    text = describe_structure("spleen", modality)

    assert text.startswith(start) and text.endswith(f"with {spleen.neighbours}.")


@pytest.mark.parametrize(
    ("name", "others", "dataset", "start"),
    [
        ("aorta", SYNAPSE, "", "Abdominal aorta"),
        ("aorta", ("bladder", "prostate/uterus", *SYNAPSE), "amos22", "Abdominal aorta"),
        ("aorta", ("esophagus", "heart", "trachea"), "SegTHOR", "Thoracic aorta"),
        ("aorta", ("heart", "lung", "liver", "brain"), "TotalSegmentator", "Aorta"),
        ("aorta", ("heart", "spleen"), "", "Aorta"),
        ("aorta", (), "", "Aorta"),
        ("aorta", (), "thorax CT", "Thoracic aorta"),
        ("GTVn", ("parotid_l", "mandible", "brainstem"), "", "Metastatic neck lymph node"),
        ("GTVn", ("rectum", "bladder"), "", "Metastatic lymph node"),
    ],
)
def test_the_part_of_the_body_decides_the_text(name, others, dataset, start):
    text = describe_structure(name, "CT", dataset, others=others)

    assert text.startswith(f"{start} on CT: ")
    assert ("left main bronchus" in text) == (start in ("Aorta", "Thoracic aorta"))


@pytest.mark.parametrize(
    ("name", "others", "told", "untold"),
    [
        ("esophagus", SYNAPSE, "stomach at its end", "trachea"),
        ("esophagus", ("parotid gland", "mandible"), "in the midline of the lower neck", "atrium"),
        ("spinal cord", ("parotid gland", "mandible"), "from the skull base down the neck", "L1"),
        ("left femur", ("bladder", "rectum"), "at the left hip joint", "knee"),
        ("heart", ("liver", "spleen"), "only its lower part", "both lungs"),
    ],
)
def test_what_the_images_cut_off_is_not_told(name, others, told, untold):
    text = describe_structure(name, "CT", others=others)

    assert told in text and untold not in text
    assert untold in describe_structure(name, "CT")


def test_a_region_counts_only_if_no_other_is_shown():
    assert region_of(["liver", "bladder"], "", {"abdomen", "chest"}) == "abdomen"
    assert region_of(["liver", "left lung"], "", {"abdomen"}) == ""
    assert region_of(["aorta", "vertebra", "foo"], "", {"abdomen", "chest"}) == ""
    assert region_of(["aorta"], "abdominal CT", {"abdomen", "chest"}) == "abdomen"
    assert region_of(["heart"], "abdominal CT", {"abdomen", "chest"}) == "chest"  # labels before words


def test_the_contrast_phase_is_told_by_the_data_sets_name_and_never_by_labels():
    assert [phase_of(name) for name in ("Synapse", "liver arterial phase", "plain CT", "arterial and venous", "x")] == [
        "portal-venous", "arterial", "plain", "", "",
    ]  # fmt: skip
    assert "much brighter than liver" in describe_structure("left kidney", "CT", "BTCV")
    assert "bright cortex around darker medulla" in describe_structure("left kidney", "CT", "arterial")
    alone = describe_structure("left kidney", "CT", others=("portal vein", "hepatic artery"))
    assert "brighter" not in alone and "cortex" not in alone
    plain = describe_structure("abdominal aorta", "CT", "plain CT")
    assert plain.endswith("; round grey disc, wall often calcified, grey as muscle.")
    assert "BTCV" not in describe_structure("left kidney", "MR", "BTCV")


@pytest.mark.parametrize(
    ("name", "dataset", "head"),
    [
        ("mitochondrion", "", "Mitochondrion in electron microscopy"),
        ("retinal fluid", "", "Retinal fluid on OCT"),
        ("optic disc", "", "Optic disc in a fundus photograph"),
        ("nucleus", "", "Cell nucleus in a colour picture"),
        ("nucleus", "MoNuSeg", "Cell nucleus in stained histology"),
        ("left ventricle", "", "Left ventricle in a colour picture"),
        ("left ventricle", "CAMUS", "Left ventricle on ultrasound"),
        ("dental caries", "", "Dental caries in a colour picture"),
        ("dental caries", "DENTEX", "Dental caries on X-ray"),
    ],
)
def test_what_kind_a_picture_is_comes_from_the_data_set_or_the_structure(name, dataset, head):
    assert describe_structure(name, "RGB", dataset).startswith(f"{head}: ")


def test_a_picture_of_what_scans_show_is_not_guessed():
    assert picture_of(load_library()["prostate"], "") == "RGB"
    assert "black bladder" not in describe_structure("prostate", "RGB")


@pytest.mark.parametrize(
    ("orientation", "place"),
    [("PLS", "right"), ("PRS", "left"), ("ILA", "right"), ("LPS", "bottom"), ("RPS", "top")],
)
def test_a_sided_structure_says_where_the_patients_left_is_in_the_picture(orientation, place):
    text = describe_structure("right kidney", "CT", orientation=orientation)

    assert text.endswith(f"; the patient's left is on the picture's {place}.")
    assert "picture" not in describe_structure("spleen", "CT", orientation=orientation)


@pytest.mark.parametrize("orientation", ["", "IPL", "SAR"])
def test_nothing_is_said_where_no_axis_of_the_picture_is_left_to_right(orientation):
    assert "picture" not in describe_structure("right kidney", "CT", orientation=orientation)


def test_the_data_set_reaches_the_names_meaning():
    assert describe_structure("Anterior", "MR", "Task04_Hippocampus").startswith("Hippocampus head on MRI: ")
    assert describe_structure("LV", "MR", others=("LV", "RV", "MYO")).startswith("Left ventricle on MRI: ")


@pytest.mark.parametrize(
    ("name", "modality", "text"),
    [
        ("foo_bar", "CT", "The foo bar on CT."),
        ("Foo", "MR", "The Foo on MRI."),
        ("foo", "RGB", "The foo in a colour picture."),
        ("foo", "", "The foo."),
    ],
)
def test_an_unknown_structure_gets_the_template(name, modality, text):
    assert plain_text(name, modality) == text


def test_an_unknown_structure_is_not_described():
    with pytest.raises(UnknownStructure, match="'foo bar'"):
        describe_structure("foo bar", "CT")
