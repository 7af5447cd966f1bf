"""Which axes are mirrored: none unless asked for, and never left and right of sided classes."""

import pytest
from plan_evidence import decide, evidence

from pgsam_monai.base.errors import UserFault
from preprocess.plan.overrides import parse_overrides
from preprocess.plan.plan import make_plan

HEADER = {
    "name": "x", "folder": "/data/x", "layout": "msd", "file_format": "volume", "channels": ["CT"], "num_cases": 10,
    "skipped": [],
}  # fmt: skip
KIDNEYS = {0: "background", 1: "left kidney", 2: "right kidney"}


def plan(wish, **changes):
    overrides = parse_overrides([f"mirror={wish}"])
    return make_plan(evidence(**changes), dataset=HEADER, networks=("samed",), overrides=overrides)


def test_nothing_is_mirrored_and_the_reason_names_sided_classes():
    assert decide(evidence())["mirror"].value == []
    assert "No class is told by its side" in decide(evidence())["mirror"].reason
    assert "(left kidney, right kidney)" in decide(evidence(label_names=KIDNEYS))["mirror"].reason
    pictures = evidence(orientations={"": 10}, file_format="picture")
    assert "nobody knows which axis is which" in decide(pictures)["mirror"].reason


def test_asked_for_it_is_planned():
    assert plan('["left-right","front-back"]').value("mirror") == ["left-right", "front-back"]
    assert plan('["front-back"]', label_names=KIDNEYS).value("mirror") == ["front-back"]


@pytest.mark.parametrize(
    ("wish", "changes", "said"),
    [
        ('["left-right"]', {"label_names": KIDNEYS}, "a mirrored left one is a right one"),
        ('["up-down"]', {"orientations": {"": 10}, "file_format": "picture"}, "state no orientation"),
        ('["sideways"]', {}, "must be a list of left-right, front-back, up-down"),
        ("up-down", {}, "must be a list of left-right, front-back, up-down"),
        ('["up-down","up-down"]', {}, "must be a list of"),
        ('[["up-down"]]', {}, "must be a list of"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(wish, changes, said):
    with pytest.raises(UserFault, match=said):
        plan(wish, **changes)
