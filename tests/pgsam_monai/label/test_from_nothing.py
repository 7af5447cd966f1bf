"""`pgsam label` without a bundle: our own weights answer clicks, then a bundle is planned, trained and served."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from dataset_builders import write_volume

pytest.importorskip("monailabel")

from fastapi import HTTPException
from monailabel.interfaces.utils.app import app_instance, clear_cache

from pgsam_monai.label.faults import RequestFault, status_and_sentence
from pgsam_monai.label.http.checks import CHECKS
from pgsam_monai.label.http.plan_reports import page_of
from pgsam_monai.label.launch.app_folder import write_app

LABELS = ["liver", "left kidney"]
SIDE, SLICES, MIDDLE, OTHER = 64, 6, (20, 24, 3), (46, 40, 3)
"""of the phantom: voxels, and the middles of its two structures"""
CONF = {"models": "", "zoo_source": "local", "sam2": "false", "device": "cpu", "window": "null"}
QUICK = {"max_epochs": 1, "iterations_per_epoch": 2, "val_split": 0.3}


def phantom(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label: two bright discs on grey, on all slices."""
    i, j, _ = np.ogrid[:SIDE, :SIDE, :SLICES]
    label = np.zeros((SIDE, SIDE, SLICES), np.uint8)
    for value, middle in ((1, MIDDLE), (2, OTHER)):
        label[np.broadcast_to((i - middle[0]) ** 2 + (j - middle[1]) ** 2 <= 8**2, label.shape)] = value
    noise = np.random.default_rng(number).normal(0, 5, label.shape)
    return (100 + 100 * (label == 1) + 150 * (label == 2) + noise).astype(np.int16), label


def serve(work: Path, labels=LABELS, **conf: str):
    """The app as the server makes it."""
    clear_cache()
    write_app(work / "app", {})
    return app_instance(
        str(work / "app"), str(work / "studies"), CONF | {"labels": json.dumps(labels)} | conf
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("from_nothing")
    for number in range(3):
        write_volume(folder / f"studies/case_{number}.nii.gz", phantom(number)[0])
    return folder


@pytest.fixture(scope="module")
def app(work):
    yield serve(work)
    clear_cache()


def ask(app, model: str, **params):
    answer = app.infer({"model": f"drawn_tiny_{model}", "image": "case_0", **params})
    file = Path(answer["file"])
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T
    file.unlink()
    return voxels, answer["params"]


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return 2 * np.sum(found & true) / (np.sum(found) + np.sum(true))


def fault_of(app, model: str, **params) -> RequestFault:
    with pytest.raises(RequestFault) as caught:
        ask(app, model, **params)
    return caught.value


def train(app, **request):
    return app.train({"model": "drawn_tiny", "device": "cpu", **QUICK, **request})


def save_label(app, work: Path, number: int, voxels: np.ndarray, **info) -> None:
    """As PUT /datastore/label does."""
    file = write_volume(work / "upload.nii.gz", voxels)
    app.datastore().save_label(f"case_{number}", str(file), "final", info)


def test_clients_learn_that_clicks_are_answered_and_a_bundle_can_be_trained(app):
    app.on_init_complete()
    info = app.info()
    assert set(info["models"]) == {"drawn_tiny_deepedit", "drawn_tiny_deepgrow"}
    assert set(info["trainers"]) == {"drawn_tiny"} and info["scoring"] == {}
    clicks = info["models"]["drawn_tiny_deepedit"]
    assert (
        clicks["labels"] == {"background": 0, "liver": 1, "left kidney": 2} and clicks["type"] == "deepedit"
    )
    assert clicks["config"]["background_shows"] == ["empty"]
    assert info["trainers"]["drawn_tiny"]["config"]["networks"][0] == "samed"
    json.dumps(info)


def test_clicks_on_two_structures_find_them_and_a_background_click_takes_one_away(app):
    _, label = phantom(0)
    found, said = ask(app, "deepedit", liver=[list(MIDDLE)], **{"left kidney": [list(OTHER)]})
    assert said["label_names"] == {"liver": 1, "left kidney": 2}
    assert said["clicks_used"]["liver"]["positive"] == [list(MIDDLE)]
    for value in (1, 2):
        assert dice(found[..., 3] == value, label[..., 3] == value) > 0.8
    less, _ = ask(
        app, "deepedit", liver=[list(MIDDLE)], background=[list(OTHER)], **{"left kidney": [list(OTHER)]}
    )
    assert np.sum(less == 2) < np.sum(found == 2)


def test_after_a_restart_the_order_of_clicks_still_counts(work):
    """A voxel was said to be in, then out, then in; the request itself doesn't say which came last."""
    edge, app = [MIDDLE[0] + 6, MIDDLE[1], MIDDLE[2]], serve(work)
    for more in ([], [edge]):
        ask(app, "deepgrow", label="liver", foreground=[list(MIDDLE)], background=more)
    clicks = {"label": "liver", "foreground": [list(MIDDLE), edge], "background": [edge]}
    before, _ = ask(app, "deepgrow", **clicks)
    again, _ = ask(serve(work), "deepgrow", **clicks)
    clear_cache()
    assert before[tuple(edge)] == 1
    np.testing.assert_array_equal(again, before)


def test_a_box_finds_one_structure_on_the_slices_that_it_covers(app):
    roi = [OTHER[0] - 8, OTHER[0] + 8, OTHER[1] - 8, OTHER[1] + 8, 2, 3]
    found, said = ask(app, "deepgrow", label="left kidney", foreground=[], roi=roi)
    assert said["label_names"] == {"left kidney": 1}
    assert dice(found[..., 2] > 0, phantom(0)[1][..., 2] == 2) > 0.8 and not found[..., [0, 1, 4, 5]].any()


def test_what_it_cannot_do_is_said(app):
    fault = fault_of(app, "deepedit", liver=[], background=[])
    assert status_and_sentence(fault)[0] == 422 and "'drawn_tiny' finds nothing by itself; click" in str(
        fault
    )
    assert "background_shows must be one of empty" in str(
        fault_of(app, "deepedit", liver=[list(MIDDLE)], background_shows="everything")
    )
    assert "'drawn_tiny' reads no texts" in str(fault_of(app, "deepedit", text="liver", liver=[list(MIDDLE)]))
    assert "no class of this model; it has liver, left kidney" in str(
        fault_of(app, "deepedit", heart=[[1, 2, 3]])
    )


def test_a_window_changes_what_is_seen(work):
    app = serve(work, window="[1000, 2000]", plane="coronal")
    assert app.untrained.window == [1000, 2000] and app.untrained.plane == "coronal"
    assert (
        app.untrained.model.preprocessing({"image": str(work / "studies/case_0.nii.gz")})["image"].max() == 0
    )
    clear_cache()


def test_too_few_labels_and_an_unknown_network_are_told_before_anything_is_planned(work):
    app = serve(work)
    assert "There is nothing to train on" in str(pytest.raises(RequestFault, train, app).value)
    save_label(app, work, 0, phantom(0)[1])
    assert "Planning needs 2 studies" in str(pytest.raises(RequestFault, train, app).value)
    assert "networks must be one of samed" in str(
        pytest.raises(RequestFault, train, app, networks="--help").value
    )
    assert not (work / "app/plans").exists()


def test_labels_become_a_data_set_a_plan_and_a_bundle_that_is_served(work, caplog):
    """Names of segments go before their values; a label that lay there already counts; training goes on later."""
    app = serve(work)
    label = phantom(1)[1]
    swapped = np.select([label == 1, label == 2], [2, 1]).astype(np.uint8)
    segments = [{"name": "left kidney", "idx": 1}, {"name": "liver", "idx": 2}]
    save_label(app, work, 1, swapped, label_info=segments)
    write_volume(work / "studies/labels/final/case_2.nii.gz", phantom(2)[1])
    app = serve(work)
    with caplog.at_level(logging.INFO):
        found = train(app)
    assert found["bundle"] == "samed_studies" and found["epochs"] == 1
    report = work / "app/plans/studies/report.html"
    assert report.is_file() and f"The plan's report, every decision with its reason: {report}" in caplog.text
    assert page_of(app.app_dir, "studies") == report.read_text(encoding="utf-8")
    with pytest.raises(HTTPException, match=r"There is no plan '\.\./x' here; there are studies"):
        page_of(app.app_dir, "../x")
    listed = json.loads((work / "app/datasets/studies.json").read_text())
    assert listed["labels"] == {"0": "background", "1": "liver", "2": "left kidney"}
    (turned,) = (case["label"] for case in listed["training"] if case["name"] == "case_1")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(turned)).T, label)
    plan = json.loads((work / "app/plans/studies/plan.json").read_text())
    assert plan["configurations"]["samed"]["weights"]["value"] == "drawn_tiny"
    assert set(app._infers) == {"drawn_tiny_deepedit", "drawn_tiny_deepgrow"}
    app.adopt_trained()
    served = {f"samed_studies{kind}" for kind in ("", "_deepedit", "_deepgrow")}
    assert served < set(app.info()["models"]) and set(app.info()["trainers"]) == {
        "drawn_tiny",
        "samed_studies",
    }
    CHECKS["POST", "/train/{model}"](app, {"model": "samed_studies", "params": {}})
    answer = app.infer({"model": "samed_studies", "image": "case_0"})
    assert answer["params"]["label_names"] == {"liver": 1, "left kidney": 2}
    assert app.train({"model": "samed_studies", "device": "cpu", **QUICK})["epochs"] == 1
    assert app.info()["train_stats"]["drawn_tiny"]["total_epochs"] == 1


def test_after_a_restart_it_is_still_served_and_a_new_training_makes_another(work, caplog):
    app = serve(work, labels=[*LABELS, "spleen"])
    assert "samed_studies" in app.info()["models"]
    bundle = app.served["samed_studies"]
    before = bundle.model_file.read_bytes()
    assert train(app, val_split=0)["bundle"] == "samed_studies_2"
    assert "'spleen' is in no label yet: the bundle is planned without it" in caplog.text
    app.adopt_trained()
    assert app.served["samed_studies_2"].names == ["background", *LABELS]
    assert bundle.model_file.read_bytes() == before
    assert serve(work, labels=[])._infers == {}, "without --labels only what was named"
    assert "drawn_tiny" not in serve(work, train="false")._trainers


def test_a_damaged_bundle_among_those_that_were_made_here_disturbs_no_request(work, caplog):
    app = serve(work)
    broken = work / "app/bundles/broken/models/model.pt"
    broken.parent.mkdir(parents=True)
    broken.touch()
    for _ in range(2):
        app.adopt_trained()
    assert (
        caplog.text.count("broken, which lies among the bundles that were trained here, can't be served") == 1
    )
    assert "broken" not in app._infers
    broken.unlink()


def test_what_the_planner_says_against_a_data_set_is_told(work, monkeypatch):
    app = serve(work)
    monkeypatch.setattr("pgsam_monai.label.training.planning.BACKBONE", "vit_nothing")
    fault = pytest.raises(RequestFault, train, app).value
    assert "Training of 'drawn_tiny' failed: The labelled studies can't be planned: " in str(fault)
    assert "vit_nothing" in str(fault) and fault.status == 422


def test_the_server_itself_does_not_train(work, monkeypatch):
    main = SimpleNamespace(__spec__=SimpleNamespace(name="pgsam_monai.label.http.main"))
    app = serve(work)
    monkeypatch.setitem(__import__("sys").modules, "__main__", main)
    assert "leave run_sync out" in str(pytest.raises(RequestFault, train, app).value)
