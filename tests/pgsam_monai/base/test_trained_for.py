"""What weights were trained for against what a bundle is planned for: every difference that matters is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.trained_for import (
    KEY,
    OtherPlan,
    TrainedFor,
    check_trained_for,
    planned_in,
    stamp_in,
)

PLAN = {"dataset": {"name": "spine", "channels": ["CT"], "folder": "/data/Spine"}}
VALUES = {
    "labels": [0, 1, [2, 3]], "label_names": ["background", "anterior", "posterior"], "orientation": "PLS",
    "intensity": {"scheme": "window", "low": -100.0, "high": 240.0}, "image_size": 64, "fit": "pad",
    "spacing": None, "epochs": 2, "learning_rate": 0.1, "texts": {"anterior": "a"}, "folds": 5, "batch_size": 2,
}  # fmt: skip


def planned(plan=(), **values):
    return TrainedFor.planned({**PLAN, **dict(plan)}, "samed", {**VALUES, **values})


def test_it_is_the_same_after_its_way_through_a_file():
    stamp = planned()
    assert stamp.labels == ["0 = background", "1 = anterior", "2 + 3 = posterior"]
    assert TrainedFor.from_json(json.loads(json.dumps(stamp.to_json()))) == stamp
    assert planned(patch=[32, 32, 16], spacing=[1, 1, 3]).size == [32, 32, 16]
    earlier = {name: value for name, value in stamp.to_json().items() if name != "sampling"}
    assert TrainedFor.from_json(earlier) == stamp


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"label_names": ["background", "kidney", "tumor"]}, "labels 1 = anterior, 2 + 3 = posterior (the bundle"),
        ({"labels": [0, 5, 9]}, "(the bundle: 5 = anterior, 9 = posterior)"),
        ({"labels": [0, 1, 2]}, "labels 2 + 3 = posterior (the bundle: 2 = posterior)"),
        ({"label_names": ["background", "posterior", "anterior"]}, "labels 1 = anterior"),
        ({"orientation": "SPL"}, "orientation PLS (the bundle: SPL)"),
        ({"orientation": ""}, "orientation PLS (the bundle: none)"),
        ({"intensity": {"scheme": "window", "low": 0, "high": 200}}, "intensity window -100.0 240.0 (the"),
        ({"intensity": {"scheme": "unit8"}}, "(the bundle: unit8)"),
        ({"image_size": 128}, "size 64, 64 (the bundle: 128, 128)"),
        ({"fit": "stretch"}, "fit pad (the bundle: stretch)"),
        ({"sampling": "cubic"}, "sampling linear (the bundle: cubic)"),
        ({"stack_depth": 3}, "stack_depth 1 (the bundle: 3)"),
        ({"patch": [64, 64, 1], "spacing": [1, 1, 3]}, "spacing none (the bundle: 1, 1, 3)"),
    ],
)  # fmt: skip
def test_every_difference_that_matters_is_named_with_the_remedy(changed, told):
    with pytest.raises(
        OtherPlan, match="^'m.pt' was trained for another plan: .*train the bundle again"
    ) as fault:
        check_trained_for(planned(**changed), planned(), source="'m.pt'")
    assert told in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize("dataset", [{"name": "knee"}, {"channels": ["MR"]}, {"channels": ["CT", "PET"]}])
def test_another_data_set_is_another_plan(dataset):
    with pytest.raises(OtherPlan):
        check_trained_for(planned({"dataset": PLAN["dataset"] | dataset}), planned(), source="It")


def test_of_many_classes_those_that_differ_are_named():
    names = [f"organ{number}" for number in range(100)]
    many, other = (planned(labels=list(range(100)), label_names=n) for n in (names, [*names[:-1], "rib"]))
    with pytest.raises(OtherPlan) as fault:
        check_trained_for(many, other, source="It")
    assert len(str(fault.value)) < 300


@pytest.mark.parametrize(
    "changed", [{"epochs": 3}, {"learning_rate": 1.0}, {"texts": {}}, {"folds": 1}, {"batch_size": 9}]
)
def test_length_speed_texts_folds_and_place_of_the_data_do_not_matter(changed):
    moved = {"dataset": PLAN["dataset"] | {"folder": "/mnt/Spine", "num_cases": 9}}
    check_trained_for(planned(moved, **changed), planned(), source="It")


def test_weights_that_say_nothing_are_refused():
    with pytest.raises(OtherPlan, match="doesn't say what it was trained for"):
        check_trained_for(planned(), None, source="It")


def test_a_weights_file_is_asked_without_torch(tmp_path):
    from pgsam_monai.networks.description import pack_description

    described = pack_description({"network": "samed", KEY: planned().to_json()})
    torch.save({"weight": torch.zeros(3), "_extra_state": described}, tmp_path / "model.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "foreign.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no archive")
    assert stamp_in(tmp_path / "model.pt") == planned()
    assert [stamp_in(tmp_path / name) for name in ("foreign.pt", "broken.pt", "none.pt")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "older version"), ('{"pgsam_monai": {}}', "older version"), ("[]", "is damaged"),
        ('{"pgsam_monai": {"trained_for": {"network": 1}}}', "is damaged"), ("{", "is damaged"),
        ('{"pgsam_monai": {"trained_for": 7}}', "is damaged"),
    ],
)  # fmt: skip
def test_a_bundle_that_cannot_say_is_to_be_written_again(tmp_path, text, told):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/metadata.json").write_text(text)
    (tmp_path / "configs/plan.json").write_text("{}")
    with pytest.raises(UserFault, match=rf"{told}.* with pgsam-plan --from_plan .*plan.json"):
        planned_in(tmp_path)


def test_a_bundle_of_no_plan_says_how_it_trains():
    with pytest.raises(
        UserFault, match=r"is of no plan.*monai.bundle run training --config_file .*train.json"
    ):
        planned_in(Path(__file__).parents[3] / "bundles/drawn_tiny")
