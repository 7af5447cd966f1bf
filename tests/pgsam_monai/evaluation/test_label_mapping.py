"""Which classes two data sets share, by their names alone."""

import json
from pathlib import Path

import pytest

from pgsam_monai.evaluation.label_mapping import format_label_map, match_labels, near_names, read_label_map

RECIPE = Path(__file__).parents[3] / "preprocess/recipes/medsa_btcv.json"
AMOS = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "aorta",
    "postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip


def numbered(*names, start=1):
    return {name: number for number, name in enumerate(names, start)}


def btcv():
    (names, _) = json.loads(RECIPE.read_text())["decisions"]["label_names"]
    return numbered(*names[1:])


def pairs(own, other, **contexts):
    return dict(match_labels(numbered(*own), dict(enumerate(other, 1)), **contexts).pairs)


def test_btcv_and_amos():
    labels = match_labels(btcv(), dict(enumerate(AMOS)))
    assert labels.pairs == {
        "spleen": (1,), "right kidney": (2,), "left kidney": (3,), "gallbladder": (4,), "esophagus": (5,),
        "liver": (6,), "stomach": (7,), "aorta": (8,), "inferior vena cava": (9,), "pancreas": (10,),
        "adrenal glands": (11, 12),
    }  # fmt: skip
    assert labels.own_left_out == {"portal and splenic veins": ()}
    assert labels.other_left_out == {13: (), 14: ("gallbladder",), 15: ()}


def test_amos_and_btcv_the_other_way_round():
    labels = match_labels(numbered(*AMOS[1:]), {value: name for name, value in btcv().items()})
    assert len(labels.pairs) == 10 and labels.pairs["gall bladder"] == (4,)
    assert labels.own_left_out["left adrenal gland"] == ("adrenal glands",)
    assert list(labels.other_left_out) == [10, 12]


@pytest.mark.parametrize(
    "name", ["RK", "right kidney", "kidney_right", "Kidney-R", "R. Kidney", "KIDNEY (right)"]
)
def test_spellings_of_one_structure(name):
    assert pairs(["right kidney"], ["left kidney", name]) == {"right kidney": (2,)}
    assert pairs([name], ["left kidney", "liver", "right_kidney"]) == {name: (3,)}


def test_a_side_is_never_dropped_and_never_guessed():
    assert pairs(["left kidney"], ["kidney", "right kidney"]) == {}
    assert pairs(["kidneys"], ["left kidney", "liver"]) == {}
    assert pairs(["kidneys"], ["left kidney", "right kidney"]) == {"kidneys": (1, 2)}
    assert pairs(["kidneys"], ["kidney", "left kidney", "right kidney"]) == {"kidneys": (1,)}
    both = pairs(["kidneys", "left kidney"], ["left kidney", "right kidney"])
    assert both == {"left kidney": (1,)}  # one voxel can't count for two classes


def test_ambiguous_names_stay_alone():
    assert pairs(["liver"], ["Liver", "hepar", "liver"]) == {}
    assert pairs(["liver", "Liver"], ["liver"]) == {}
    assert pairs(["tumor"], ["tumor"]) == {}  # of the liver here, of the kidney there, for all one knows


def test_other_names_or_the_data_set_decide_for_an_ambiguous_one():
    assert pairs(["liver", "tumor"], ["liver", "liver tumour"]) == {"liver": (1,), "tumor": (2,)}
    assert pairs(["liver", "tumor"], ["kidney", "tumor"]) == {}
    assert pairs(["tumor"], ["cancer"], own_context="pgsam_lits", other_context="liver") == {"tumor": (1,)}


def test_names_that_the_library_lacks():
    assert pairs(["Foo_Bar-baz"], ["spleen", "foo bar baz"]) == {"Foo_Bar-baz": (2,)}
    assert pairs(["label_1"], ["organ 1"]) == {}
    assert pairs(["organ1"], ["Organ1"]) == {"organ1": (1,)}


def test_the_background_is_no_class():
    labels = match_labels({"optic disc": 0}, {255: "background", 0: "disc", 1: "cup"}, other_context="refuge")
    assert labels.pairs == {"optic disc": (0,)} and labels.other == {0: "disc", 1: "cup"}


def test_near_names():
    assert near_names("gall bladder", ["bladder", "spleen"]) == ("bladder",)
    assert near_names("left kidney", ["right kidney", "kidney"]) == ("kidney",)


def test_the_table():
    table = format_label_map(match_labels(btcv(), dict(enumerate(AMOS))))
    assert table.startswith("Compared: 11 of 12 classes")
    assert "adrenal glands (12)     right adrenal gland (11), left adrenal gland (12)" in table
    assert "Left out of the bundle: portal and splenic veins\n" in table
    assert "duodenum (13), bladder (14) [near: gallbladder], prostate/uterus (15)" in table


OWN, OTHER = (
    numbered("liver", "adrenal glands"),
    {0: "background", 1: "liver", 2: "cancer", 7: "adrenal gland and fat"},
)


def edited(tmp_path, classes):
    file = tmp_path / "map.json"
    file.write_text(json.dumps(classes if isinstance(classes, list) else {"classes": classes}))
    return file


def test_a_map_is_written_edited_and_read(tmp_path):
    labels = match_labels(OWN, OTHER)
    content = labels.to_json()
    assert content["classes"] == {"liver": [1], "adrenal glands": []}
    assert content["near"] == {"adrenal glands": ["adrenal gland and fat"]}
    content["classes"] |= {"liver": [1, 2], "adrenal glands": 7}
    file = tmp_path / "label_map.json"
    file.write_text(json.dumps(content))
    assert read_label_map(file, own=OWN, other=OTHER).pairs == {"liver": (1, 2), "adrenal glands": (7,)}


def test_classes_that_a_map_leaves_out(tmp_path):
    file = edited(tmp_path, {"liver": []})
    assert read_label_map(file, own=OWN, other=OTHER).pairs == {}


def test_a_data_set_without_names_takes_any_value(tmp_path):
    assert read_label_map(edited(tmp_path, {"liver": [63]}), own=OWN, other={}).pairs == {"liver": (63,)}


@pytest.mark.parametrize(
    "classes, said",
    [
        ([1], "must be JSON of the form"),
        ({"liver": ["one"]}, "must be JSON of the form"),
        ({"liver": True}, "must be JSON of the form"),
        ({"livers": [1]}, "has no class 'livers'; did you mean 'liver'"),
        ({"aorta": [1]}, "the bundle's are liver, adrenal glands"),
        (
            {"liver": [9]},
            "'liver' has 9, a value that the data set doesn't name; its labels are 1 liver, 2 cancer",
        ),
        ({"liver": [0]}, "the data set's background"),
        ({"liver": [1], "adrenal glands": [1, 7]}, "value 1 stands at 'liver' and 'adrenal glands'"),
    ],
)
def test_faults_of_a_map_are_one_sentence(tmp_path, classes, said):
    with pytest.raises(ValueError, match=said):
        read_label_map(edited(tmp_path, classes), own=OWN, other=OTHER)


def test_no_map_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="--map takes auto or such a file"):
        read_label_map(tmp_path / "none.json", own=OWN, other=OTHER)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="take the label_map.json of an evaluation"):
        read_label_map(tmp_path / "bad.json", own=OWN, other=OTHER)
