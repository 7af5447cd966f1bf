"""Training tasks inside MONAI Label's environment; the server around them is in tests/test_label_server.py."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("monailabel")

import torch  # noqa: E402
from dataset_builders import tiny_image, tiny_label, write_msd, write_volume  # noqa: E402
from monailabel.datastore.local import LocalDatastore  # noqa: E402
from registry import PAPERS
from untrained import plan_untrained  # noqa: E402

from pgsam_monai.label.faults import RequestFault  # noqa: E402
from pgsam_monai.label.launch.app_folder import write_app  # noqa: E402
from pgsam_monai.label.training.train import Training, overrides  # noqa: E402
from pgsam_monai.label.training.training_request import read_training_request  # noqa: E402

ROOT = Path(__file__).parents[4]

QUICK = {"model": "heart", "max_epochs": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("planned")
    return plan_untrained(write_msd(work / "Task02_Heart", cases=5), work, "samed")


@pytest.fixture
def bundle(planned, tmp_path):
    return Path(shutil.copytree(planned, tmp_path / "bundles/heart"))


def write_studies(folder: Path, *, labelled: int, images: int = 4) -> LocalDatastore:
    for number in range(images):
        label = tiny_label(number)
        write_volume(folder / f"study_{number}.nii.gz", tiny_image(number, label))
        if number < labelled:
            write_volume(folder / f"labels/final/study_{number}.nii.gz", label)
    return LocalDatastore(str(folder))


def save_label(store: LocalDatastore, study: str, voxels, work: Path, info: dict | None = None) -> None:
    """As PUT /datastore/label does."""
    store.save_label(study, str(write_volume(work / "upload.nii.gz", voxels)), "final", info or {})


def change_config(bundle: Path, **values: object) -> None:
    file = bundle / "configs/train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def train(bundle: Path, store: LocalDatastore, **request: object) -> dict:
    return Training(str(bundle), {})(QUICK | request, store)


def fault_of(bundle: Path, store: LocalDatastore, **request: object) -> RequestFault:
    with pytest.raises(RequestFault) as caught:
        train(bundle, store, **request)
    return caught.value


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


def same(first: Path, second: dict) -> bool:
    state = weights(first)
    return state.keys() == second.keys() and all(torch.equal(state[name], second[name]) for name in state)


def files_in(bundle: Path) -> set[str]:
    return {file.name for file in (bundle / "models").iterdir()}


def voxels_of(bundle: Path, study: str) -> dict[str, int]:
    """Voxels per class index that the store holds of a study's label, the newest if there are several."""
    entries = sorted(
        (bundle / "store").glob(f"*/{study}-*/entry.json"), key=lambda file: file.stat().st_mtime
    )
    counts: dict[str, int] = {}
    for labels in json.loads(entries[-1].read_text())["slice_labels"]:
        for index, count in labels.items():
            counts[index] = counts.get(index, 0) + count
    return counts


def test_what_3d_slicer_sends_by_itself_trains_once_from_the_present_weights(bundle, tmp_path, caplog, capfd):
    store, before = write_studies(tmp_path / "studies", labelled=3), weights(bundle / "models/model.pt")
    config = Training(str(bundle), {}).config()
    sent = {name: value[0] if isinstance(value, list) else value for name, value in config.items()}
    with caplog.at_level(logging.INFO):
        found = train(bundle, store, **sent | {"run_id": "", "client_id": "user-xyz", "max_epochs": 2})
    assert found["epochs"] == 2 and found["best_epoch"] > 0
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("Training 2 epochs of 2 steps") for line in lines) == 1
    assert "2 studies for training, 1 for validation." in lines
    assert any("Training starts from" in line and "100.0 %" in line for line in lines)
    assert any(line.startswith("Epoch 2 of 2: loss ") and "validation Dice" in line for line in lines)
    assert same(bundle / "models/previous.pt", before)
    assert not same(bundle / "models/model.pt", before)
    assert files_in(bundle) == {"model.pt", "previous.pt", "train_stats.json"}
    assert any((bundle / "eval/studies").glob("*/events*"))
    stats = Training(str(bundle), {}).stats()
    assert (stats["epoch"], stats["total_epochs"], stats["best_metric"]) == (2, 2, found["best_metric"])
    assert stats["total_time"] > ""
    printed = "".join(capfd.readouterr())
    assert "\r" not in printed and "%|" not in printed, "a bar, which a task's status can't show"


def test_settings_are_what_clients_can_show(bundle):
    info = Training(str(bundle), {}).info()
    assert {"description", "version", "config"} <= set(info)
    for value in info["config"].values():
        assert isinstance(value, bool | int | float | str) or (value and all(type(v) is str for v in value))
    assert info["config"]["model_filename"] == ["model.pt"]
    json.dumps(info)


@pytest.mark.parametrize("network", PAPERS)
def test_other_networks_train_as_well(network, tmp_path):
    folder = write_msd(tmp_path / "Task02_Heart", cases=5)
    bundle = plan_untrained(folder, tmp_path, network)
    found = train(bundle, write_studies(tmp_path / "studies", labelled=2), max_epochs=1, val_split=0.5)
    assert found["epochs"] == 1 and found["best_metric"] > 0


def test_started_anew_the_model_is_replaced_at_the_end(bundle, tmp_path, caplog):
    before = weights(bundle / "models/model.pt")
    with caplog.at_level(logging.INFO):
        found = train(bundle, write_studies(tmp_path / "studies", labelled=3), pretrained=False)
    assert found["best_epoch"] > 0
    assert not any("Training starts from" in record.getMessage() for record in caplog.records)
    assert same(bundle / "models/previous.pt", before) and not same(bundle / "models/model.pt", before)


def test_another_file_can_be_the_start(bundle, tmp_path, caplog):
    shutil.copy(bundle / "models/model.pt", bundle / "models/mine.pt")
    assert Training(str(bundle), {}).config()["model_filename"] == ["model.pt", "mine.pt"]
    with caplog.at_level(logging.INFO):
        train(
            bundle, write_studies(tmp_path / "studies", labelled=1), model_filename=["mine.pt"], max_epochs=1
        )
    assert any(
        "Training starts from" in r.getMessage() and "mine.pt" in r.getMessage() for r in caplog.records
    )


@pytest.mark.parametrize("labelled, share", [(1, 0.2), (2, 0.2), (3, 0)])
def test_without_validation_the_last_epoch_is_kept(bundle, tmp_path, labelled, share):
    change_config(bundle, early_stop_epochs=1, model_selection="best")
    before = weights(bundle / "models/model.pt")
    found = train(bundle, write_studies(tmp_path / "studies", labelled=labelled), val_split=share)
    assert found == {"epochs": 2, "best_metric": None, "best_epoch": None}
    assert Training(str(bundle), {}).stats()["epoch"] == 2, "early stop has nothing to go by"
    assert same(bundle / "models/previous.pt", before) and not same(bundle / "models/model.pt", before)
    assert "unfinished.pt" not in files_in(bundle)


def test_a_model_stays_that_no_epoch_is_better_than(bundle, tmp_path, caplog):
    before = (bundle / "models/model.pt").read_bytes()
    with caplog.at_level(logging.INFO):
        found = train(bundle, write_studies(tmp_path / "studies", labelled=3), learning_rate=1e-12)
    assert found["best_epoch"] == 0
    assert (bundle / "models/model.pt").read_bytes() == before
    assert any(r.getMessage().startswith("No epoch was better than before") for r in caplog.records)
    assert files_in(bundle) == {"model.pt", "train_stats.json"}


def test_the_bundles_own_checkpoint_and_validation_cases(bundle, tmp_path):
    (bundle / "models/checkpoint_last.pt").write_bytes(b"of pgsam train")
    found = train(bundle, write_studies(tmp_path / "studies", labelled=1), val_split=-1, max_epochs=1)
    assert found["best_metric"] is not None
    assert (bundle / "models/checkpoint_last.pt").read_bytes() == b"of pgsam train"
    change_config(bundle, dataset_dir=str(tmp_path / "gone"))
    fault = fault_of(bundle, LocalDatastore(str(tmp_path / "studies")), val_split=-1)
    assert "needs the 1 validation cases" in str(fault) and fault.status == 422


def test_with_nothing_to_train_on_a_sentence_says_so(bundle, tmp_path):
    store = write_studies(tmp_path / "studies", labelled=0)
    fault = fault_of(bundle, store)
    assert str(fault).startswith("Training of 'heart' failed: There is nothing to train on")
    save_label(store, "study_0", 0 * tiny_label(0), tmp_path)
    assert "None of the 1 labels holds a structure of this bundle (" in str(fault_of(bundle, store))
    assert files_in(bundle) == {"model.pt"}


def test_a_label_on_another_grid_is_named(bundle, tmp_path):
    store = write_studies(tmp_path / "studies", labelled=2)
    save_label(store, "study_1", tiny_label(1, shape=(9, 9, 9)), tmp_path)
    assert "Case 'study_1': image shape" in str(fault_of(bundle, store))


def test_few_slices_of_a_recipe_do_not_restrict_the_studies(bundle, tmp_path):
    splits = bundle / "configs/splits.json"
    few = {"level": "slice", "spec": "slices:1000", "count": 1000}
    splits.write_text(json.dumps(json.loads(splits.read_text()) | {"few_shot": few}))
    assert train(bundle, write_studies(tmp_path / "studies", labelled=1), max_epochs=1)["epochs"] == 1


def test_a_study_that_was_labelled_anew_trains_as_it_is_now(bundle, tmp_path):
    store = write_studies(tmp_path / "studies", labelled=1)
    train(bundle, store, max_epochs=1)
    label = tiny_label(0)
    assert voxels_of(bundle, "study_0") == {"1": (label == 1).sum(), "2": (label == 2).sum()}
    label[label == 2] = 0
    save_label(store, "study_0", label, tmp_path)
    train(bundle, store, max_epochs=1)
    assert voxels_of(bundle, "study_0") == {"1": (label == 1).sum()}


def test_segments_saved_in_another_order_train_as_what_they_are_called(bundle, tmp_path, caplog):
    store, label = write_studies(tmp_path / "studies", labelled=0), tiny_label(0)
    first, second = (name for name in json.loads((bundle / "configs/metadata.json").read_text())[
        "network_data_format"]["outputs"]["pred"]["channel_def"].values() if name != "background")  # fmt: skip
    turned = label.copy()
    turned[label == 1], turned[label == 2] = 2, 1
    turned[0, 0, 0] = 3
    info = {
        "label_info": [{"name": second.upper(), "idx": 1}, {"name": first, "idx": 2}, {"name": "x", "idx": 3}]
    }
    save_label(store, "study_0", turned, tmp_path, info)
    saved = Path(store.get_label_uri("study_0", "final")).read_bytes()
    train(bundle, store, max_epochs=1)
    assert voxels_of(bundle, "study_0") == {"1": (label == 1).sum(), "2": (label == 2).sum()}
    assert Path(store.get_label_uri("study_0", "final")).read_bytes() == saved
    assert "its segment 'x' is left out" in caplog.text
    info["label_info"][0]["name"], info["label_info"][1]["name"] = first, second
    store.update_label_info("study_0", "final", info)
    train(bundle, store, max_epochs=1)
    assert voxels_of(bundle, "study_0") == {"1": (label == 2).sum(), "2": (label == 1).sum()}


def test_names_are_never_evaluated(bundle, tmp_path):
    studies = tmp_path / "stud@ies"
    label = tiny_label(0)
    write_volume(studies / "$1_0.nii.gz", tiny_image(0, label))
    write_volume(studies / "labels/final/$1_0.nii.gz", label)
    assert train(bundle, LocalDatastore(str(studies)), model="detection_$1", max_epochs=1)["epochs"] == 1


def test_one_device_trains_whatever_is_said_of_several(bundle, tmp_path):
    store = write_studies(tmp_path / "studies", labelled=1)
    assert train(bundle, store, multi_gpu=True, gpus="all", max_epochs=1)["epochs"] == 1
    fault = fault_of(bundle, store, force_multi_gpu=True)
    assert fault.status == 422 and "torchrun" in str(fault)


def test_the_server_itself_does_not_train(bundle, tmp_path, monkeypatch):
    main = SimpleNamespace(__spec__=SimpleNamespace(name="pgsam_monai.label.http.main"))
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert "leave run_sync out" in str(fault_of(bundle, write_studies(tmp_path / "studies", labelled=1)))


def kill_once_there(file: Path, bundle: Path, studies: Path, share: float) -> None:
    """Train in a process, kill it some time after `file` has come."""
    task = Training(str(bundle), {})
    request = QUICK | {"max_epochs": 5000, "val_split": share}
    process = multiprocessing.get_context("fork").Process(
        target=task, args=(request, LocalDatastore(str(studies)))
    )
    process.start()
    deadline = time.monotonic() + 120
    while not file.is_file() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert file.is_file() and process.exitcode == -signal.SIGKILL


def test_a_killed_training_leaves_what_was_better(bundle, tmp_path):
    write_studies(tmp_path / "studies", labelled=3)
    before = weights(bundle / "models/model.pt")
    kill_once_there(bundle / "models/previous.pt", bundle, tmp_path / "studies", 0.3)
    assert same(bundle / "models/previous.pt", before)
    assert weights(bundle / "models/model.pt").keys() == before.keys()


def test_a_killed_training_without_validation_leaves_the_model_alone(bundle, tmp_path):
    store = write_studies(tmp_path / "studies", labelled=1)
    before = (bundle / "models/model.pt").read_bytes()
    (bundle / "models/.unfinished.pt.99999999.partial").write_bytes(b"half")
    kill_once_there(bundle / "models/unfinished.pt", bundle, tmp_path / "studies", 0)
    assert (bundle / "models/model.pt").read_bytes() == before
    train(bundle, store, max_epochs=1, model_filename="unfinished.pt")
    assert files_in(bundle) == {"model.pt", "previous.pt", "train_stats.json"}


def run_task(bundle: Path, studies: Path, work: Path, **request: object) -> subprocess.CompletedProcess:
    """As the server starts a training: its standard output and errors in one, line by line."""
    app = work / "app"
    write_app(app, {"heart": bundle})
    conf = {"models": "heart", "zoo_source": "local", "sam2": "false"}
    env = {
        **os.environ,
        "MONAI_LABEL_APP_CONF": json.dumps(conf),
        "OMP_NUM_THREADS": "1",
        "MONAI_ZOO_SOURCE": "local",
    }
    command = [sys.executable, "-m", "monailabel.interfaces.utils.app", "-a", str(app), "-s", str(studies)]
    command += ["-m", "train", "-r", json.dumps(QUICK | request)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False, timeout=240
    )


def test_a_task_that_fails_ends_with_its_sentence(bundle, tmp_path):
    write_studies(tmp_path / "studies", labelled=0)
    failed = run_task(bundle, tmp_path / "studies", tmp_path)
    text = failed.stdout.decode()
    assert failed.returncode == 1 and "Traceback" not in text
    assert (
        text.strip().splitlines()[-1].startswith("Training of 'heart' failed: There is nothing to train on")
    )


@pytest.mark.parametrize(
    "recipe, planned", [("samed_synapse", {"schedule_epochs": 200}), ("hsam_la", {"stage_epochs": 300})]
)
def test_lengths_follow_the_epochs_asked_for(recipe, planned, tmp_path):
    config = json.loads((ROOT / f"bundles/{recipe}/configs/train.json").read_text())
    assert config["warmup_iterations"] == 250 and planned.items() <= config.items()
    wanted = read_training_request(
        {"pretrained": False, "max_epochs": 6, "iterations_per_epoch": 20},
        root=tmp_path,
        config=config,
        device="cpu",
    )
    case = {"image": "i", "label": "l"}
    changed = overrides(tmp_path, config, wanted, training=[case], validation=[case])
    assert all(changed[name] == 6 for name in ("epochs", "schedule_epochs", *planned))
    assert (changed["warmup_iterations"], changed["val_interval"]) == (12, 1)
    assert "weights" not in changed and changed["initial_model"] is None
