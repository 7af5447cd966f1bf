"""Plans from rules, recipes and overrides."""

import json

import pytest
from plan_evidence import GPU, evidence

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import Case
from preprocess.networks import NETWORK_RULES
from preprocess.plan.kinds import KINDS, kind_of
from preprocess.plan.outputs import dump_json
from preprocess.plan.overrides import make_override, parse_overrides
from preprocess.plan.plan import find_edits, make_plan, replan, with_edits
from preprocess.plan.records import Plan, without_retired
from preprocess.recipes import load_recipe, published_splits, recipe_names, splits_by_recipe
from preprocess.rules import SHARED_RULES

HEADER = {
    "name": "abdomen", "folder": "/data/abdomen", "layout": "synapse", "file_format": "volume",
    "channels": ["CT"], "num_cases": 10, "skipped": [],
}  # fmt: skip


def plan(*wishes, facts=None, recipe=None, networks=("samed",)):
    return make_plan(
        facts or evidence(),
        dataset=HEADER,
        networks=networks,
        recipe=recipe,
        overrides=parse_overrides(wishes),
    )


def test_a_plan_holds_every_decision():
    made = plan(networks=tuple(NETWORK_RULES))
    assert list(made.decisions) == list(SHARED_RULES)
    for network, rules in NETWORK_RULES.items():
        assert list(made.configurations[network]) == list(rules)
    assert set(KINDS) == set(SHARED_RULES).union(*NETWORK_RULES.values())


def test_json_round_trip_and_equal_bytes():
    made = plan("image_size=512")
    text = dump_json(made.to_json())
    assert Plan.from_json(json.loads(text)).to_json() == made.to_json()
    assert dump_json(plan("image_size=512").to_json()) == text


@pytest.mark.parametrize("labels", ["[0,1,[2,3]]", "[255,0,128]", "[[255,0],1,2]", "[0,255]"])
def test_labels_may_be_merged_and_have_another_background(labels):
    (wish,) = parse_overrides(f"labels={labels}")
    assert wish.value == json.loads(labels)


def test_planned_values_pass_their_own_checks():
    for facts in (evidence(), evidence(machine=GPU)):
        made = plan(facts=facts, networks=tuple(NETWORK_RULES))
        for entries in (made.decisions, *made.configurations.values()):
            for name, decision in entries.items():
                assert KINDS[name].fits(decision.value), name


def test_an_override_keeps_what_the_rule_said():
    decision = plan("image_size=384").configurations["samed"]["image_size"]
    assert (decision.value, decision.source, decision.set_by) == (384, "override", "--override")
    assert decision.planned.value == 224
    assert decision.to_json()["planned"]["value"] == 224
    assert decision.reason.startswith("Set by --override; the rule said 224: The smallest structure")


def test_dependents_follow_an_override():
    usual, other = plan(facts=evidence(machine=GPU)), plan("backbone=vit_h", facts=evidence(machine=GPU))
    assert other.value("batch_size", "samed") < usual.value("batch_size", "samed")
    assert other.value("weights", "samed") == "sam_vit_h"
    assert plan("slice_axis=coronal").value("orientation") == "ILP"


def test_several_overrides_in_one_text():
    made = plan('labels=[0,1],label_names=["background","liver"],samed.epochs=3')
    assert made.value("labels") == [0, 1]
    assert len(made.value("class_frequencies")) == 2
    assert made.value("epochs", "samed") == 3


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("imag_size=224", "Did you mean 'image_size'"),
        ("image_size=225", "multiple of 16"),
        ("image_size", "write name=value"),
        ("other.epochs=3", "networks are samed, pgsam, hsam"),
        ("refsam3d.backbone=vit_tiny", "backbone must be one of vit_mini, vit_b"),
        ("samed.clip_model=x", "no decision of that name"),
        ("clip_towers=none", "one of both, text, image"),
        ("refinement_steps=0", "at least 1"),
        ('texts={"liver":""}', "texts by label name"),
        ('texts={"liver":[]}', "texts by label name"),
        ("fit=squash", "one of pad, stretch"),
        ("labels=[1,2]", "starts with 0"),
        ("labels=[0,[1,2],2]", "merges both"),
        ("labels=[0,3,[1,2]]", "rising list"),
        ("labels=[0,[]]", "rising list"),
        ("labels=[255,1,2]", "0 then further on"),
        ("learning_rate=0", "above 0"),
        ("foreground_share=1.5", "at most 1"),
        ("orientation=XYZ", "axis codes"),
        ('intensity={"scheme":"window","low":5,"high":1}', "a scheme such as"),
        ("batch_size=true", "whole number"),
    ],
)
def test_wrong_overrides_are_refused_with_a_remedy(wish, sentence):
    with pytest.raises(UserFault, match=sentence):
        parse_overrides(wish)


def test_contradictions_are_refused():
    with pytest.raises(UserFault, match="override slice_axis instead"):
        plan("orientation=LPS", "slice_axis=coronal")
    with pytest.raises(UserFault, match="label_names has 2 entries for 3 labels"):
        plan('label_names=["background","liver"]')


def test_edits_by_hand_become_overrides_that_others_follow():
    facts = evidence(machine=GPU)
    pristine = plan("epochs=7", facts=facts)
    record = json.loads(json.dumps(pristine.to_json()))
    record["configurations"]["samed"]["backbone"]["value"] = "vit_h"
    edits = find_edits(Plan.from_json(record), pristine)
    assert [(edit.network, edit.name, edit.value) for edit in edits] == [("samed", "backbone", "vit_h")]
    again = replan(pristine, facts, recipe=None, edited=edits)
    entries = again.configurations["samed"]
    assert entries["backbone"].set_by == "an edit of plan.json"
    assert entries["backbone"].planned.value == "vit_b"
    assert entries["epochs"].value == 7 and entries["epochs"].set_by == "--override"
    assert entries["batch_size"].source == "rule"
    assert entries["batch_size"].value < pristine.value("batch_size", "samed")


def test_replanning_without_edits_changes_nothing():
    made = plan("image_size=512")
    assert replan(made, evidence(), recipe=None).to_json() == made.to_json()


def test_a_wish_that_no_planned_network_takes_is_refused():
    with pytest.raises(
        UserFault, match="clip_towers: a decision of pgsam, while samed is planned; add --networks"
    ):
        plan("clip_towers=text")
    with pytest.raises(UserFault, match="epochs: a decision of samed, while pgsam is planned"):
        plan("samed.epochs=3", networks=("pgsam",))
    assert (
        plan("clip_model=clip_tiny", networks=("samed", "pgsam")).value("clip_model", "pgsam") == "clip_tiny"
    )


def test_texts_belong_to_the_labels_of_a_network_that_reads_them():
    with pytest.raises(UserFault, match="texts lacks background, liver and names lung, which is no label"):
        plan('texts={"lung":"x","aorta":"y"}', networks=("pgsam",))
    given = 'texts={"background":"x","liver":["y","z"],"aorta":"w"}'
    assert plan(given, networks=("pgsam",)).value("texts")["liver"] == ["y", "z"]


def test_edits_without_facts_change_themselves_alone():
    assert with_edits(plan(), parse_overrides("epochs=5")).value("epochs", "samed") == 5
    made = with_edits(plan(), [make_override("epochs", 5, network="samed", set_by="an edit of plan.json")])
    assert made.value("epochs", "samed") == 5
    assert made.configurations["samed"]["epochs"].source == "override"


def test_a_wrong_edit_is_refused():
    pristine = plan()
    record = json.loads(json.dumps(pristine.to_json()))
    record["decisions"]["folds"]["value"] = "five"
    with pytest.raises(UserFault, match="an edit of plan.json five: folds must be a whole number"):
        find_edits(Plan.from_json(record), pristine)


PUBLISHED = [name for name in recipe_names() if load_recipe(name).draw is None]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_decides_everything_but_the_texts_without_data(name):
    recipe = load_recipe(name)
    made = make_plan(None, dataset=recipe.dataset, networks=recipe.networks, recipe=recipe)
    (network,) = made.configurations
    assert {key for key, decision in made.decisions.items() if decision.source != "recipe"} == {"texts"}
    assert {decision.source for decision in made.configurations[network].values()} == {"recipe"}
    for entries in (made.decisions, made.configurations[network]):
        for key, decision in entries.items():
            assert key == "folds" or KINDS[key].fits(decision.value), key
            assert decision.reason.endswith(".")


def test_published_synapse_facts():
    recipe = load_recipe("samed_synapse")
    splits = published_splits(recipe)
    assert len(splits.folds[0].training) == 18 and len(splits.test) == 12
    assert not set(splits.folds[0].training) & set(splits.test)
    assert splits.cases["0005"] == {"image": "img/img0005.nii.gz", "label": "label/label0005.nii.gz"}
    assert recipe.decisions["labels"].value == [0, 1, 2, 3, 4, 6, 7, 8, 11]
    assert recipe.configurations["samed"]["epochs"].value == 160


def test_the_10_percent_recipes_inherit_and_name_their_slices():
    recipe = load_recipe("samed_synapse_10pct")
    assert recipe.configurations["samed"]["image_size"].value == 512
    assert recipe.configurations["samed"]["iterations_per_epoch"].value == 10
    found = [Case(name=f"img{n:04d}", images=(f"img{n:04d}.nii.gz",), label="l") for n in range(1, 41)]
    splits = splits_by_recipe(recipe, found, seed=1234, few_shot=recipe.few_shot)
    assert recipe.few_shot is splits.few_shot is None  # test_slice_lists.py: the 221 that a list names
    assert len(splits.cases) == 30


def test_pgsam_recipes_share_samed_and_say_what_is_their_own():
    full, tenth = (load_recipe(f"pgsam_synapse{part}").configurations["pgsam"] for part in ("", "_10pct"))
    samed = load_recipe("samed_synapse").configurations["samed"]
    assert full["foreground_share"] == samed["foreground_share"]
    assert list(load_recipe("pgsam_synapse").configurations) == ["pgsam"]
    own = {"image_size": 224, "epochs": 300, "batch_size": 8, "learning_rate": 0.0026, "augmentation": "hsam"}
    assert {name: full[name].value for name in own} == own
    assert (tenth["learning_rate"].value, tenth["iterations_per_epoch"].value) == (0.0025, 28)
    assert tenth["clip_model"] == full["clip_model"]
    assert load_recipe("pgsam_synapse_10pct").dataset["name"] == "synapse_10pct"


def test_a_recipe_refuses_other_cases():
    found = [Case(name=f"case{n}", images=("i",), label="l") for n in range(1, 30)]
    with pytest.raises(UserFault, match="11 are missing .0030"):
        splits_by_recipe(load_recipe("samed_synapse"), found, seed=1, few_shot=None)


def test_with_data_a_recipe_fixes_settings_and_measures_the_rest():
    made = plan(recipe=load_recipe("samed_synapse"), facts=evidence(labels={}, label_names=None))
    assert made.value("image_size", "samed") == 512
    assert made.decisions["class_frequencies"].source == "rule"
    assert made.recipe == "samed_synapse"


def test_a_plan_for_a_network_that_is_not_known_is_refused():
    made = plan()
    other = Plan.from_json(made.to_json() | {"configurations": {"nnformer": {}}})
    with pytest.raises(UserFault, match="plan.json is for nnformer; networks are samed, pgsam"):
        without_retired(other)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_sets_only_what_is_decided(name):
    recipe = load_recipe(name)
    assert set(recipe.decisions) | set(recipe.unmeasured) <= set(SHARED_RULES)
    for network, entries in recipe.configurations.items():
        for key, decision in entries.items():
            assert key in NETWORK_RULES[network] and kind_of(key, network).fits(decision.value), key
