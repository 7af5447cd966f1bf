"""`pgsam label --labels`: serving without a bundle, up to the command that starts the server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from label_server import free_port

from pgsam_monai.commands import main as cli
from pgsam_monai.label.launch import start
from pgsam_monai.label.launch.environment import LabelEnvironment
from pgsam_monai.label.launch.labels import faults_of_labels
from pgsam_monai.label.launch.serving import Serving
from pgsam_monai.label.own_bundles import next_name, own_bundles

ENVIRONMENT = LabelEnvironment(python=Path("/venv/bin/python"), version="0.8.5")


@pytest.fixture
def serving(tmp_path):
    (tmp_path / "studies").mkdir()
    return Serving(
        bundles={}, studies=tmp_path / "studies", app_dir=tmp_path / "app", labels=("liver", "left kidney"),
        window=(-160, 240),
        plane="sagittal",
    )  # fmt: skip


def write_own(app_dir: Path, name: str, *, trained: bool = True) -> None:
    models = app_dir / "bundles" / name / "models"
    models.mkdir(parents=True)
    if trained:
        (models / "model.pt").touch()


def test_good_labels_have_no_faults():
    assert faults_of_labels(["liver", "left kidney", "Läsion 2"], (-160, 240), ["samed_spleen"]) == []
    assert faults_of_labels([], None, ["samed_spleen"]) == []


@pytest.mark.parametrize(
    "labels, window, bundles, said",
    [
        (["liver", "Liver"], None, [], "--labels names 'Liver' twice"),
        (["Background"], None, [], "'Background' means something else"),
        (["roi"], None, [], "'roi' means something else"),
        (["scribbles_x"], None, [], "'scribbles_x' means something else"),
        (["a\nb"], None, [], "is no name; give letters"),
        (["--"], None, [], "is no name; give letters"),
        (["x" * 101], None, [], "at most 100 signs"),
        (
            ["liver"],
            (240, -160),
            [],
            "--window takes the lower grey value first, as in -160,240; got 240,-160",
        ),
        ([], (-160, 240), ["a"], "--window goes with --labels"),
        (["liver"], None, ["drawn_tiny"], "link that one under another name"),
    ],
)
def test_faults_are_sentences(labels, window, bundles, said):
    (fault,) = faults_of_labels(labels, window, bundles)
    assert said in fault


@pytest.mark.parametrize(
    "labels, plane, said",
    [
        (["liver"], "oblique", "--plane is axial, coronal, sagittal; got 'oblique'"),
        ([], "axial", "--plane goes with --labels"),
    ],
)
def test_a_plane_is_one_of_three_and_goes_with_labels(labels, plane, said):
    (fault,) = faults_of_labels(labels, None, ["a"], plane)
    assert said in fault
    assert faults_of_labels(["liver"], None, [], "sagittal") == []


def test_labels_reach_the_app_as_json_which_no_flag_can_be_taken_for(serving):
    words = start.server_command(serving, ENVIRONMENT)
    assert json.loads(words[words.index("labels") + 1]) == ["liver", "left kidney"]
    window = words[words.index("window") + 1]
    assert json.loads(window) == [-160, 240] and not window.startswith("-")
    assert words[words.index("models") + 1] == "" and words[words.index("plane") + 1] == "sagittal"


def test_the_user_is_told_of_our_weights_and_of_what_was_trained_here(serving):
    write_own(serving.app_dir, "samed_studies")
    said = start.summary(serving, ENVIRONMENT)
    assert said.startswith(
        "Model      drawn_tiny_deepedit, drawn_tiny_deepgrow  (clicks and boxes: liver, left kidney)"
    )
    assert f"samed_studies  ({serving.app_dir / 'bundles/samed_studies'})" in said
    assert f"by clients; bundles made from nothing go to {serving.app_dir / 'bundles'}\n" in said


def test_a_trained_bundle_is_never_planned_anew(tmp_path):
    assert own_bundles(tmp_path) == {} and next_name(tmp_path) == "studies"
    write_own(tmp_path, "samed_studies", trained=False)
    assert own_bundles(tmp_path) == {} and next_name(tmp_path) == "studies"
    write_own(tmp_path, "hsam_studies")
    assert list(own_bundles(tmp_path)) == ["hsam_studies"] and next_name(tmp_path) == "studies_2"
    write_own(tmp_path, "samed_studies_2")
    assert next_name(tmp_path) == "studies_3"


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pgsam_monai.label.launch.environment.find_environment", lambda given: ENVIRONMENT)
    (tmp_path / "studies").mkdir()
    words = [
        "label",
        "--studies",
        str(tmp_path / "studies"),
        "--labels",
        "liver,left kidney",
        "--window=-160,240",
    ]
    words += ["--port", str(free_port()), "--app_dir", str(tmp_path / "app"), "--dry_run"]
    monkeypatch.setattr(sys, "argv", ["pgsam", *words])
    cli.main()
    out = capsys.readouterr().out
    assert """--conf labels '["liver", "left kidney"]' --conf window '[-160, 240]'""" in out
    assert not (tmp_path / "app").exists()
    monkeypatch.setattr(sys, "argv", ["pgsam", *words, "--score", "drawn_tiny"])
    with pytest.raises(SystemExit, match="--score drawn_tiny is none of the bundles: none was named"):
        cli.main()
