"""Scoring inside MONAI Label's environment."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("monailabel")

import torch  # noqa: E402
from dataset_builders import tiny_image, tiny_label, write_msd, write_volume  # noqa: E402
from monailabel.datastore.local import LocalDatastore  # noqa: E402
from monailabel.tasks.activelearning.epistemic import Epistemic  # noqa: E402
from untrained import plan_untrained  # noqa: E402

from pgsam_monai.bundle import Bundle, WeightsFault  # noqa: E402
from pgsam_monai.inference.uncertainty import Uncertainty  # noqa: E402
from pgsam_monai.label.faults import RequestFault  # noqa: E402
from pgsam_monai.label.tasks import scoring  # noqa: E402
from pgsam_monai.label.tasks.scoring import EpistemicScoring  # noqa: E402


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("planned")
    return plan_untrained(write_msd(work / "Task02_Heart", cases=5), work, "dynunet")


@pytest.fixture
def served(planned, tmp_path):
    return Bundle(Path(shutil.copytree(planned, tmp_path / "heart")))


@pytest.fixture
def store(tmp_path):
    """Study 0 is labelled, studies 1 to 3 are not."""
    for number in range(4):
        label = tiny_label(number)
        write_volume(tmp_path / f"studies/study_{number}.nii.gz", tiny_image(number, label))
    write_volume(tmp_path / "studies/labels/final/study_0.nii.gz", tiny_label(0))
    return LocalDatastore(str(tmp_path / "studies"))


def scores(store: LocalDatastore) -> dict[str, float]:
    found = {
        name: store.get_image_info(name).get("epistemic_entropy") for name in sorted(store.list_images())
    }
    return {name: score for name, score in found.items() if score is not None}


def test_images_without_label_get_a_score_of_the_present_weights(served, store):
    found = EpistemicScoring(served)({"method": "heart"}, store)
    assert (found["total"], found["skipped"], found["executed"], found["failed"]) == (3, 0, 3, 0)
    assert list(scores(store)) == ["study_1", "study_2", "study_3"]
    assert all(0 < score < 1.0986 for score in scores(store).values())  # ln 3
    stamp = int(served.model_file.stat().st_mtime)
    assert store.get_image_info("study_1")["epistemic_ts"] == stamp
    assert LocalDatastore(str(Path(store._datastore_path))).get_image_info("study_1")["epistemic_ts"] == stamp


def test_scores_are_made_anew_for_new_weights_only(served, store):
    method = EpistemicScoring(served)
    method({}, store)
    first = scores(store)
    assert method({}, store)["skipped"] == 3
    os.utime(served.model_file, (1, 1))
    found = method({}, store)
    assert (found["skipped"], found["executed"]) == (0, 3)
    assert scores(store) == first, "equal weights, equal numbers"


def test_the_most_uncertain_image_is_next(served, store):
    EpistemicScoring(served)({}, store)
    most = max(scores(store), key=scores(store).get)
    assert Epistemic()({"strategy": "epistemic"}, store)["id"] == most


def test_so_many_images_and_simulations_as_asked_for(served, store, monkeypatch):
    seen = []
    monkeypatch.setattr(
        scoring, "measure_uncertainty",
        lambda *_, **options: seen.append(options["simulations"]) or Uncertainty(entropy=0.5, mutual_information=0.25),
    )  # fmt: skip
    method = EpistemicScoring(served, max_samples=1, simulations=4)
    assert method({}, store)["executed"] == 1 and seen == [4]
    assert method({"max_samples": "2", "simulation_size": 1, "device": "cuda"}, store)["executed"] == 2
    assert seen == [4, 2, 2] and set(scores(store).values()) == {0.25}


@pytest.mark.parametrize(
    "request_, sentence",
    [
        ({"max_samples": -1}, "max_samples must be a whole number from 0"),
        ({"simulation_size": "x"}, "simulation_size must be a number"),
        ({"device": "tpu"}, "device must be one of cpu"),
    ],
)
def test_wrong_requests_are_told(served, store, request_, sentence):
    with pytest.raises(RequestFault, match=sentence):
        EpistemicScoring(served)(request_, store)


def test_a_broken_image_leaves_the_others_their_scores(served, store, caplog):
    Path(store.get_image_uri("study_2")).write_bytes(b"no volume")
    found = EpistemicScoring(served)({}, store)
    assert (found["executed"], found["failed"]) == (2, 1)
    assert list(scores(store)) == ["study_1", "study_3"]
    assert "Image 'study_2' gets no score: " in caplog.text


def test_no_number_is_no_score(served, store, caplog, monkeypatch):
    """Weights of NaN are not even loaded; finite ones may still overflow."""
    nothing = SimpleNamespace(mutual_information=math.nan)
    monkeypatch.setattr("pgsam_monai.label.tasks.scoring.measure_uncertainty", lambda *a, **b: nothing)
    found = EpistemicScoring(served)({}, store)
    assert (found["executed"], found["failed"]) == (0, 3) and scores(store) == {}
    assert "no number" in caplog.text


def test_weights_that_do_not_fit_are_told_once(served, store):
    torch.save({"x": torch.zeros(1)}, served.model_file)
    with pytest.raises(WeightsFault, match="doesn't fit"):
        EpistemicScoring(served)({}, store)


def test_what_serves_requests_is_not_touched(served, store):
    network = served.network
    before = {name: id(value) for name, value in vars(network).items()}
    EpistemicScoring(served)({}, store)
    assert served.network is network and {name: id(value) for name, value in vars(network).items()} == before
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_a_label_saved_meanwhile_is_not_undone(served, store, tmp_path, monkeypatch):
    """The server writes the same records while its scoring process does."""
    server = LocalDatastore(str(tmp_path / "studies"))
    measure = scoring.measure_uncertainty

    def saved_meanwhile(*given, **options):
        if not server.get_label_info("study_3", "final"):
            upload = write_volume(tmp_path / "upload.nii.gz", tiny_label(3))
            server.save_label("study_3", str(upload), "final", {"label_info": [{"name": "a", "idx": 1}]})
        return measure(*given, **options)

    monkeypatch.setattr(scoring, "measure_uncertainty", saved_meanwhile)
    EpistemicScoring(served)({}, store)
    records = LocalDatastore(str(tmp_path / "studies"))
    assert records.get_label_info("study_3", "final")["label_info"] == [{"name": "a", "idx": 1}]
    assert "study_1" in scores(records)


def test_networks_on_patches_and_for_texts_are_scored(store, tmp_path):
    bundle = plan_untrained(write_msd(tmp_path / "Task02_Heart", cases=5), tmp_path, "refsam3d")
    found = EpistemicScoring(Bundle(bundle), simulations=2)({"max_samples": 1}, store)
    assert found["executed"] == 1 and all(0 < score < 1.0986 for score in scores(store).values())
