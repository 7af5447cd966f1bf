"""What can be asked in training, by which names, and what never is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.structures.contextual import GENERIC
from pgsam_monai.base.structures.library import find_structure, load_library
from pgsam_monai.networks.refsam3d.requests import (
    HELD_OUT_TEMPLATES,
    TEMPLATES,
    Requests,
    other_names,
    pair_names,
)

KIDNEYS = ["background", "left kidney", "spleen", "kidney_right", "xyzzy"]
TEXTS = [["all else"], ["a"], ["b"], ["c"], ["d"]]
ASK = ("find {name}", "{name} or not {name}")


def test_the_default_requests_begin_with_the_papers():
    assert TEMPLATES[0].replace("{name}", "liver") == "perform liver segmentation"
    every = (*TEMPLATES, *HELD_OUT_TEMPLATES)
    assert len(set(every)) == len(every) and all("{name}" in template for template in every)


def test_other_names_are_the_librarys_and_keep_left_and_right_apart():
    nothing, left, spleen, right, unknown = other_names(KIDNEYS)
    assert nothing == unknown == ((), ())
    assert set(spleen.taught + spleen.held_out) == {"lien", "splen", "spl", "Milz", "rate", "bazo"}
    assert "left kidney" not in left.taught + left.held_out, "that is what its label says"
    assert "right kidney" in right.taught, "the label in other spelling is no other name to be held out"
    for side, names in (("kidney_left", left), ("kidney_right", right)):
        assert {find_structure(name).id for name in names.taught + names.held_out} == {side}
    assert other_names(["background", "spleen", "Milz"])[1:] == [((), ())] * 2, "one meaning, two classes"


def test_a_fixed_part_of_every_structures_names_is_held_out():
    library = [structure for structure in load_library().values() if structure.id not in GENERIC.values()]
    every = other_names(["all else", *(structure.name for structure in library)])
    for structure, others in zip(library, every[1:], strict=True):
        if len(structure.synonyms) > 1:
            assert others.held_out and not set(others.taught) & set(others.held_out), structure.id
    assert other_names(["x", "spleen"])[1].held_out == other_names(["x", "liver", "spleen"])[2].held_out


def test_nothing_that_is_held_out_can_be_drawn():
    requests = Requests(TEXTS, KIDNEYS, other_names_share=1.0)
    held_out = [name for others in other_names(KIDNEYS) for name in others.held_out]
    assert held_out
    for template in (*TEMPLATES, *HELD_OUT_TEMPLATES):
        assert not {template.replace("{name}", name) for name in held_out} & set(requests.texts)
    for template in HELD_OUT_TEMPLATES:
        assert template.replace("{name}", "spleen") not in requests.texts


def test_other_names_are_drawn_in_their_share():
    requests = Requests(TEXTS, KIDNEYS, templates=ASK, other_names_share=0.25)
    torch.manual_seed(0)
    drawn = Counter(requests.texts[row] for _ in range(1000) for row in requests.draw([[2]]))
    own = {"b", "find spleen", "spleen or not spleen"}
    assert sum(drawn[text] for text in own) / 1000 == pytest.approx(0.75, abs=0.05)
    taught = other_names(KIDNEYS)[2].taught
    wanted = own | {template.replace("{name}", name) for name in taught for template in ASK}
    assert set(drawn) == wanted
    assert {requests.texts[requests.draw([[4]])[0]] for _ in range(60)} == {
        "d",
        "find xyzzy",
        "xyzzy or not xyzzy",
    }


def test_both_of_a_pair_have_names_where_both_are_classes():
    assert pair_names(KIDNEYS) == {(1, 3): ("left and right kidney", "kidneys", "both kidneys")}
    assert pair_names(["background", "left kidney", "spleen"]) == {}
    assert pair_names(["background", "left kidney", "right kidney", "kidney"]) == {}, "who means what by it?"
    irregular = pair_names(["background", "hippocampus_right", "hippocampus_left"])
    assert irregular == {(2, 1): ("left and right hippocampus",)}
    assert pair_names(["b", "left internal carotid artery", "right internal carotid artery"])[1, 2][1] == (
        "internal carotid arteries"
    )


def test_a_pair_is_asked_for_by_its_own_names():
    requests = Requests(TEXTS, KIDNEYS, templates=["find {name}"])
    assert requests.partners == {1: 3, 3: 1}
    rows = [requests.draw([[3, 1], [1, 3], [2, 2]]) for _ in range(40)]
    pairs = {requests.texts[row] for first, second, _ in rows for row in (first, second)}
    assert pairs == {"find left and right kidney", "find kidneys", "find both kidneys"}
    assert {requests.texts[row] for *_, row in rows} == {"b", "find spleen"}
    assert requests.draw_each()[0] == 0


@pytest.mark.parametrize("wrong", [[0], [5], [-1], [1, 2], [0, 1]])
def test_what_can_not_be_asked_for(wrong):
    with pytest.raises(UserFault, match=r"can be asked for are 1 to 4 and pairs, got \["):
        Requests(TEXTS, KIDNEYS).draw([[1], wrong])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": KIDNEYS[1:]}, "RefSAM3D: names must be .* so 5 entries, got 4"),
        ({"templates": []}, r"RefSAM3D: templates must be a list of one request or more, got \[\]"),
        ({"templates": "{name}"}, "RefSAM3D: templates must be a list"),
        ({"templates": ["{name}", "segment it"]}, r"must hold \{name\} .* got 'segment it'"),
    ],
)
def test_arguments_outside_their_range(changes, message):
    with pytest.raises(UserFault, match=message):
        Requests(**({"texts": TEXTS, "names": KIDNEYS} | changes))


def test_it_is_known_what_each_request_asks_for():
    requests = Requests(TEXTS, KIDNEYS, templates=("find {name}",), other_names_share=0.5)
    asked = {
        text: row.nonzero().flatten().tolist()
        for text, row in zip(requests.texts, requests.classes, strict=True)
    }
    assert asked["all else"] == [] and asked["a"] == asked["find left kidney"] == [1]
    assert asked["find kidneys"] == [1, 3] and asked["find Milz"] == [2]
