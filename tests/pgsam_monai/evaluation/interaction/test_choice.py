"""Which way clicks go: by mean AUC, on validation cases that the network wasn't trained on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pgsam_monai.evaluation.interaction import choice
from pgsam_monai.evaluation.interaction.choice import choose, choose_for_bundle, why_not
from pgsam_monai.evaluation.interaction.volume_cases import ANSWERS, BRUSH
from pgsam_monai.evaluation.interaction.whole_volume import ClickedStructure

CONTENT = {"part": "validation", "fold": 2}


def clicked(answers, *dice, label="liver", case="a"):
    return ClickedStructure(
        case=case, label=label, answers=ANSWERS.get(answers, answers), dice=dice, seconds=(), obeyed=0, clicks=0
    )  # fmt: skip


ASKING_WINS = [
    clicked("spread", 0.2, 0.8), clicked("ask", 0.2, 0.6), clicked(BRUSH, 1.0, 1.0),
    clicked("spread", 0.0, 0.2, label="spleen"), clicked("ask", 0.0, 0.6, label="spleen"),
]  # fmt: skip
"""AUC of liver 0.5 and 0.4, of spleen 0.1 and 0.3."""


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "trained_on", lambda weights, names: [])
    return SimpleNamespace(
        content=CONTENT.get, config_file=lambda name: tmp_path / name, model_file=Path("model.pt")
    )


def test_the_better_mean_over_classes_is_chosen():
    found = choose(ASKING_WINS)
    assert found.corrections == "ask" and found.auc == pytest.approx({"spread": 0.3, "ask": 0.35})
    assert (
        str(found) == "clicks that ask anew (mean AUC: clicks that spread 0.300, clicks that ask anew 0.350)"
    )
    assert choose([clicked("ask", 0, 1), clicked("spread", 0, 1)]).corrections == "spread"


@pytest.mark.parametrize(
    ("content", "overrides", "seen", "said"),
    [
        ({}, ["part", "device", "dataset_dir"], [], None),
        ({"part": "training"}, [], [], "these are training cases"),
        ({"part": "test"}, [], [], "these are test cases"),
        ({}, ["part", "splits_file", "ckpt_dir"], [], "--ckpt_dir, --splits_file made it another measurement"),
        ({}, ["allow_trained"], ["a"], "it was trained on 1 of these 2 cases"),
        ({}, [], None, "'model.pt' doesn't say which cases it was trained on"),
    ],
)  # fmt: skip
def test_who_may_choose(bundle, monkeypatch, content, overrides, seen, said):
    monkeypatch.setattr(choice, "trained_on", lambda weights, names: seen)
    bundle.content = (CONTENT | content).get
    why = why_not(bundle, ["a", "b"], overrides)
    assert why is None if said is None else why.startswith(said)


def test_nothing_is_written_where_others_chose(bundle):
    said = []
    options = {"names": ["a"], "about": {}, "say": said.append}
    assert choose_for_bundle(bundle, ASKING_WINS, overrides=["splits_file"], **options) is None
    assert not bundle.config_file("corrections.json").exists()
    assert said[0].startswith("Better: clicks that ask anew") and "Not written to the bundle" in said[0]


def test_the_file_says_what_was_measured(bundle):
    said = []
    file = choose_for_bundle(
        bundle, ASKING_WINS, names=["a"], about={"clicks": 1}, overrides=[], say=said.append
    )
    content = json.loads(file.read_text())
    assert len(content.pop("date")) == len("2026-11-30")
    assert content == {
        "schema_version": 1, "corrections": "ask", "auc": pytest.approx({"spread": 0.3, "ask": 0.35}),
        "chosen_on": f"1 validation case of fold 2; {choice.FLATTERED}", "clicks": 1, "cases": ["a"],
    }  # fmt: skip
    assert len(said) == 1 and str(file) in said[0] and choice.FLATTERED in said[0]


@pytest.mark.parametrize(("before", "kept"), [("ask", 0), ("spread", 1), ("damaged", 1)])
def test_what_said_otherwise_is_kept(bundle, before, kept):
    said, file = [], bundle.config_file("corrections.json")
    file.write_text(json.dumps({"corrections": before}))
    choose_for_bundle(bundle, ASKING_WINS, names=["a"], about={}, overrides=[], say=said.append)
    assert json.loads(file.read_text())["corrections"] == "ask"
    assert len(list(file.parent.glob("corrections.json.bak"))) == kept == len(said) - 1
