"""`pgsam-plan` on patients with two volumes each: what it decides, writes and lets be changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_builders import tiny_image, tiny_label, write_volume

from preprocess.commands.main import main


def call(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def planned(name="acdc"):
    plan, splits = (json.loads(Path(f"plans/{name}/{file}.json").read_text()) for file in ("plan", "splits"))
    return plan["decisions"]["subjects"], splits


def patients(splits, part, fold):
    return {splits["cases"][name]["subject"] for name in splits["folds"][fold][part]}


@pytest.fixture
def acdc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        stem = tmp_path / f"ACDC/patient{number // 2:03d}/patient{number // 2:03d}_frame{number % 2 + 1:02d}"
        label = tiny_label(number)
        write_volume(stem.with_name(f"{stem.name}.nii.gz"), tiny_image(number, label))
        write_volume(stem.with_name(f"{stem.name}_gt.nii.gz"), label)
    return tmp_path / "ACDC"


def test_patients_are_kept_together_and_said(acdc, capsys):
    assert call(acdc, "--workers", 1, "--target", "cpu", "--few_shot", 3) == 0
    decision, splits = planned()
    told = "12 cases of 6 subjects, such as patient000 (patient000_frame01, patient000_frame02); patient001 ("
    assert decision["value"] == "dataset" and told in decision["reason"]
    assert splits["subjects"] == {"rule": "dataset", "reason": decision["reason"]}
    assert "each 3 subjects (6 cases) to train and 1 to 2 subjects (2 to 4 cases)" in capsys.readouterr().out
    for fold in range(5):
        assert len(patients(splits, "training", fold)) == 3 and len(splits["folds"][fold]["training"]) == 6
        assert not patients(splits, "training", fold) & patients(splits, "validation", fold)
    readme = Path("bundles/samed_acdc/docs/README.md").read_text()
    for text in (readme, Path("plans/acdc/report.html").read_text()):
        assert text.count(told) == 2  # with the decision and with the splits


def test_what_is_stated_outlives_an_edit_of_the_plan(acdc, capsys):
    Path("who.csv").write_text("".join(f"patient00{n // 2}_frame0{n % 2 + 1},p{n // 4}\n" for n in range(12)))
    assert call(acdc, "--workers", 1, "--target", "cpu", "--subjects", "who.csv") == 0
    decision, splits = planned()
    assert (decision["value"], decision["set_by"], decision["planned"]["value"]) == (
        "stated", "--subjects", "dataset",
    )  # fmt: skip
    assert len(splits["folds"]) == 3 and patients(splits, "validation", 0) in ({"p0"}, {"p1"}, {"p2"})
    Path("who.csv").unlink()
    assert call("--from_plan", "plans/acdc/plan.json") == 0
    assert planned() == (decision, splits)
    plan = json.loads(Path("plans/acdc/plan.json").read_text())
    plan["decisions"]["subjects"]["value"] = "none"
    Path("plans/acdc/plan.json").write_text(json.dumps(plan))
    assert call("--from_plan", "plans/acdc/plan.json") == 0
    decision, splits = planned()
    assert decision["set_by"] == "an edit of plan.json" and "subjects" not in splits
    assert len(splits["folds"]) == 5


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--subjects", "(patient"), 2, "neither a file nor a regular expression"),
        (("--subjects", "patient"), 2, "needs one group, not 0"),
        (("--subjects", "who.csv"), 2, "who.csv: the file does not exist"),
        (("--subjects", "(patient01)"), 1, "finds no subject in 12 of 12 case names"),
        (
            ("--override", "subjects=nobody"),
            2,
            "subjects must be one of dataset, dicom, folders, names, none",
        ),
        (("--override", "subjects=dicom"), 1, "choose dataset or names or none, or plan it again"),
    ],
)
def test_wishes_that_cannot_be_granted(acdc, capsys, words, status, sentence):
    assert call(acdc, "--workers", 1, "--target", "cpu", *words) == status
    assert sentence in capsys.readouterr().err and not Path("bundles").exists()


def test_a_plan_takes_no_new_subjects_and_a_recipe_needs_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text("{}")
    assert call("--from_plan", "plan.json", "--subjects", "none") == 2
    assert "--subjects can't change an existing plan" in capsys.readouterr().err
    assert call("--recipe", "samed_synapse", "--subjects", "(x)") == 2
    assert "needs the data set's cases" in capsys.readouterr().err
