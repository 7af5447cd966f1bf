"""A plan folder that was edited, damaged or sent: read as data, or refused in a sentence."""

from __future__ import annotations

import copy
import json

import pytest
from plan_evidence import evidence

from pgsam_monai.base.errors import UserFault
from preprocess.plan.outputs import write_json
from preprocess.plan.plan import make_plan
from preprocess.plan.reading import read_plan, read_splits
from preprocess.recipes import load_recipe

EVIL = "$__import__('os').system('false')"
HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip
SPLITS = {
    "schema_version": 1, "seed": 1, "few_shot": None, "cases": {"a": {"image": "a.nii.gz", "label": None}},
    "folds": [{"training": ["a"], "validation": []}], "test": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def record():
    made = make_plan(evidence(), dataset=HEADER, networks=("samed", "refsam3d"))
    return json.loads(json.dumps(made.to_json()))


def changed(record, path, value):
    made = copy.deepcopy(record)
    *parents, last = path.split("/")
    place = made
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return made


def written(tmp_path, content):
    write_json(tmp_path / "file.json", content)
    return tmp_path / "file.json"


def test_a_plan_comes_back(record, tmp_path):
    assert json.loads(json.dumps(read_plan(written(tmp_path, record))[0].to_json())) == record


def test_a_plan_from_before_sampling_resizes_as_it_did(record, tmp_path):
    plan, _ = read_plan(written(tmp_path, changed(record, "configurations/samed/sampling", ...)))
    assert plan.configurations["samed"]["sampling"].value == "linear"
    assert "sampling" not in plan.configurations["refsam3d"]


def test_a_plan_from_before_subjects_keeps_its_cases_apart(record, tmp_path):
    plan, _ = read_plan(written(tmp_path, changed(record, "decisions/subjects", ...)))
    assert plan.value("subjects") == "none" and "earlier version" in plan.decisions["subjects"].reason
    assert list(plan.decisions) == list(record["decisions"])


def test_a_plan_from_before_a_networks_decision_keeps_what_it_was(record, tmp_path):
    plan, _ = read_plan(written(tmp_path, changed(record, "configurations/samed/decoder_layers", ...)))
    assert plan.value("decoder_layers", "samed") == 2
    assert list(plan.configurations["samed"]) == list(record["configurations"]["samed"])


def test_a_plan_from_before_clipping_was_decided_goes_on_clipping(record, tmp_path):
    plan, _ = read_plan(written(tmp_path, changed(record, "configurations/refsam3d/gradient_norm", ...)))
    assert plan.value("gradient_norm", "refsam3d") == 1.0
    assert "earlier version" in plan.configurations["refsam3d"]["gradient_norm"].reason
    assert "earlier version" not in plan.configurations["samed"]["gradient_norm"].reason
    assert list(plan.configurations["refsam3d"]) == list(record["configurations"]["refsam3d"])


def test_a_recipes_plan_comes_back(tmp_path):
    recipe = load_recipe("samed_synapse")
    header = {key: recipe.dataset[key] for key in ("name", "folder", "layout", "file_format", "channels")}
    plan = make_plan(
        None, dataset=header | {"num_cases": 30, "skipped": []}, networks=recipe.networks, recipe=recipe
    )
    assert plan.value("folds") == 1  # which nobody can ask for
    assert read_plan(written(tmp_path, plan.to_json()))[0].value("folds") == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dataset/name", "../../../evil"), ("dataset/name", ""), ("dataset/name", EVIL), ("dataset/name", "a" * 300),
        ("dataset", []), ("dataset/channels", []), ("dataset/channels/0", 3), ("dataset/num_cases", -1),
        ("dataset/skipped", ["a"]), ("dataset/folder", None), ("decisions", None), ("decisions/labels", ...),
        ("decisions/labels/value", ...), ("decisions/labels/value", "012"), ("decisions/labels/value", [[]]),
        ("decisions/intensity/value", {"scheme": "window", "low": EVIL, "high": "%x"}),
        ("decisions/intensity/value", []), ("decisions/spacing/value", [1, 1, 1e999]),
        ("decisions/seed/value", 2**80), ("decisions/postprocessing/value", {"largest_component": [EVIL]}),
        ("decisions/postprocessing/value", {EVIL: []}), ("decisions/orientation/value", "@labels"),
        ("decisions/texts/value", {"liver": 3}), ("decisions/labels/reason", 3), ("decisions/labels/planned", 3),
        ("configurations", {}), ("configurations/samed/epochs/value", EVIL), ("configurations/samed/epochs", ...),
        ("configurations/samed/epochs/value", True), ("configurations/samed/epochs/value", float("nan")),
        ("configurations/samed/image_size/value", 10**12), ("configurations/refsam3d/patch/value", [0, 0, 0]),
        ("recipe", "nobodys"), ("recipe", 3), ("created_by", None), ("schema_version", 99), ("schema_version", None),
        ("configurations/samed/epochs/source", "hearsay"),
    ],
)  # fmt: skip
def test_what_no_plan_says_is_refused(record, tmp_path, path, value):
    with pytest.raises(UserFault):
        read_plan(written(tmp_path, changed(record, path, value)))


@pytest.mark.parametrize("name", ["$liver", "%train", "a::b", "_target_", "<script>", "50 %"])
def test_class_names_are_anything(record, tmp_path, name):
    made = changed(record, "decisions/label_names/value/1", name)
    made["decisions"]["texts"]["value"][name] = EVIL
    assert read_plan(written(tmp_path, made))[0].value("label_names")[1] == name


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cases", []), ("cases/a", None), ("cases/a/image", []), ("cases/a/image", 3), ("cases/a/image", ...),
        ("cases/a/labels", ["x"]), ("cases/../b", {"image": "a", "label": None}),
        ("cases/.a", {"image": "a", "label": None}), ("folds", []), ("folds/0", {}), ("folds/0/training/0", "b"),
        ("test", ["b"]), ("test", None), ("seed", "1"), ("few_shot", {}), ("few_shot", "10%"), ("schema_version", 2),
    ],
)  # fmt: skip
def test_what_no_splits_say_is_refused(tmp_path, path, value):
    made = copy.deepcopy(SPLITS)
    if path == "cases/../b":
        made["cases"]["../b"] = value
    else:
        made = changed(SPLITS, path, value)
    with pytest.raises(UserFault):
        read_splits(written(tmp_path, made))


def test_splits_come_back(tmp_path):
    assert read_splits(written(tmp_path, SPLITS)).to_json() == SPLITS
