"""Stored cases equal the preprocessed ones, and nothing stale, damaged or partial is trusted."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged
from small_volumes import bundle_preprocessing, make_arrays, oblique_affine, write_case
from torch.utils.data import DataLoader

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.datasets import CaseDataset
from pgsam_monai.data.filling import choose_workers, fill_store
from pgsam_monai.data.stamp import describe, preprocessing_hash
from pgsam_monai.data.store import CaseStore, StoreError


@pytest.fixture
def item(tmp_path):
    return write_case(tmp_path)


@pytest.fixture
def store(tmp_path):
    return CaseStore(tmp_path / "store", bundle_preprocessing(), workers=1)


class Logging:
    """A preprocessing that notes each case it is given."""

    def __init__(self, log: Path):
        self.inner, self.log = bundle_preprocessing(), str(log)

    def __call__(self, data):
        with open(self.log, "a") as file:
            file.write(Path(data["image"]).name + "\n")
        return self.inner(data)


def test_entry_equals_preprocessing(store, item):
    entry = store.entry(item)
    expected = bundle_preprocessing()(item)
    stored = entry.read_volume()
    assert stored["image"].dtype == torch.float16 and stored["label"].dtype == torch.uint8
    for key in ("image", "label"):
        assert torch.equal(stored[key].as_tensor(), expected[key].as_tensor())
    torch.testing.assert_close(stored["image"].affine, expected["image"].affine)
    image, label = entry.read_slice(3)
    assert torch.equal(image, expected["image"].as_tensor()[..., 3])
    assert torch.equal(label, expected["label"].as_tensor()[..., 3])
    for plane, counts in enumerate(entry.slice_labels):
        values, voxels = np.unique(expected["label"][..., plane], return_counts=True)
        assert counts == {int(v): int(n) for v, n in zip(values, voxels, strict=True) if v}


def test_entry_is_reused_and_shared_between_objects(tmp_path, item):
    log = tmp_path / "log"
    for _ in range(2):
        CaseStore(tmp_path / "store", Logging(log)).entry(item)
    assert log.read_text().split() == ["img0001.nii.gz"]


def test_case_without_label(store, item):
    entry = store.entry({"image": item["image"]})
    assert not entry.has_label and set(entry.read_volume()) == {"image", "name"}
    assert entry.read_slice(0)[1] is None


def test_changed_source_is_made_again_and_touched_one_is_not(tmp_path, item):
    store = CaseStore(tmp_path / "store", Logging(tmp_path / "log"))
    before = store.entry(item).read_volume()["image"]
    os.utime(item["image"], ns=(1, 1))
    store.entry(item)
    assert len((tmp_path / "log").read_text().split()) == 1
    image, _ = make_arrays(seed=7)
    nib.save(nib.Nifti1Image(image, oblique_affine()), item["image"])
    after = store.entry(item).read_volume()["image"]
    assert len((tmp_path / "log").read_text().split()) == 2
    assert not torch.equal(before, after)


def _flip(file, place=0.5):
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 255
    file.write_bytes(content)


def _edit(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


DAMAGES = {
    "cut array": lambda folder: os.truncate(folder / "image.b2nd", 50),
    "no array": lambda folder: (folder / "image.b2nd").unlink(),
    "flipped image": lambda folder: _flip(folder / "image.b2nd"),
    "flipped label": lambda folder: _flip(folder / "label.b2nd", 0.9),
    "arrays exchanged": lambda folder: shutil.copy(folder / "label.b2nd", folder / "image.b2nd"),
    "cut record": lambda folder: os.truncate(folder / "entry.json", 50),
    "other format": lambda folder: _edit(folder / "entry.json", format=0),
    "another shape": lambda folder: _edit(folder / "entry.json", image_shape=[1, 2, 3, 4]),
    "no labels": lambda folder: _edit(folder / "entry.json", has_label=False),
    "other classes": lambda folder: _edit(folder / "entry.json", slice_labels=[{"1": 3}]),
    "no stamps": lambda folder: _edit(folder / "entry.json", stamps=None),
    "a list": lambda folder: (folder / "entry.json").write_text("[1]"),
    "nested": lambda folder: (folder / "entry.json").write_text("[" * 100_000),
    "no text": lambda folder: (folder / "entry.json").write_bytes(b"\xff\x00"),
    "a folder": lambda folder: ((folder / "entry.json").unlink(), (folder / "entry.json").mkdir()),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_entry_is_made_again(store, item, damage):
    entry = store.entry(item)
    expected = entry.read_volume()["image"]
    DAMAGES[damage](entry.folder)
    assert store.find(item) is None
    assert torch.equal(store.entry(item).read_volume()["image"], expected)


def test_a_copied_entry_is_trusted_by_its_checksums_and_a_whole_one_without_reading(store, item, monkeypatch):
    folder = store.entry(item).folder
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    assert store.find(item) is not None
    shutil.rmtree(folder)
    store.entry(item)
    monkeypatch.setattr("pgsam_monai.data.entries._crc32", lambda path: pytest.fail("all arrays are read"))
    assert store.find(item) is not None


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_damaged_during_a_training_is_told_with_case_and_remedy(store, item, workers):
    dataset = CaseDataset([item], store, progress=False)
    for file in dataset.cases[0].folder.glob("*.b2nd"):
        file.write_bytes(b"no frame" * 100)
    with pytest.raises(UserFault) as fault:
        next(iter(DataLoader(dataset, batch_size=None, num_workers=workers)))
    told = str(fault.value)
    assert told.startswith("Case 'img0001': its preprocessed copy '") and told.endswith("makes it anew.")
    assert "Traceback" not in told


def test_no_room_is_asked_for_before_and_told_in_the_middle_and_nothing_is_left(store, item, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1, free=10))
    with pytest.raises(
        UserFault, match="Preprocessed cases take about .* GB free; make room, or keep them else"
    ):
        fill_store(store, [item], progress=False)

    def full(*arguments, **options):
        raise RuntimeError("Error while creating the NDArray")  # all that blosc2 says

    monkeypatch.setattr("pgsam_monai.data.store.blosc2.asarray", full)
    with pytest.raises(StoreError, match="^Case 'img0001': there is no room left on the disk"):
        store.entry(item)
    assert not list(store.root.glob(".tmp-*"))


def test_hash_changes_with_every_parameter_and_only_then():
    assert CaseStore("s", bundle_preprocessing()).hash == CaseStore("s", bundle_preprocessing()).hash
    variants = [
        bundle_preprocessing(),
        bundle_preprocessing(a_max=276),
        bundle_preprocessing(axcodes="ILP"),
        bundle_preprocessing(labels=[0, 5, 205, 421]),
        Compose(bundle_preprocessing().transforms[:-1]),
        Compose(bundle_preprocessing().transforms[::-1]),
        lambda data: data,
        lambda data: dict(data),
    ]
    assert len({preprocessing_hash(variant, 1) for variant in variants}) == len(variants)
    assert preprocessing_hash(variants[0], 1) != preprocessing_hash(variants[0], 2)


def test_description_ignores_random_state_and_survives_cycles():
    transform = ScaleIntensityRanged("image", 0, 1)
    transform.R = np.random.RandomState(0)
    transform.me = transform
    json.dumps(describe(transform))
    assert "RandomState" not in json.dumps(describe(transform))
    assert describe(np.zeros(3)) != describe(np.ones(3))


def test_a_transform_that_was_used_is_described_as_before():
    turned = Orientationd("image", axcodes="RAS", labels=None)
    before = describe(turned)
    turned({"image": MetaTensor(np.zeros((1, 2, 3, 4)), affine=np.eye(4))})
    assert describe(turned) == before


def test_another_preprocessing_leaves_the_first_ones_entries(tmp_path, item):
    first = CaseStore(tmp_path / "store", bundle_preprocessing())
    entry = first.entry(item)
    CaseStore(tmp_path / "store", bundle_preprocessing(a_max=300)).entry(item)
    assert first.find(item) == entry


@pytest.mark.parametrize("workers", [1, 2])
def test_fill_names_all_failing_cases_and_makes_the_others(tmp_path, workers):
    items = [write_case(tmp_path, f"case{n}", seed=n) for n in range(4)]
    Path(items[1]["image"]).write_bytes(b"no image")
    label = nib.load(items[2]["label"])
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[:-1], label.affine), items[2]["label"])
    store = CaseStore(tmp_path / "store", bundle_preprocessing(), workers=workers)
    with pytest.raises(StoreError) as caught:
        fill_store(store, items, progress=False)
    assert set(caught.value.reasons) == {"case1", "case2"}
    assert "case1.nii.gz: truncated" in str(caught.value)
    assert "image shape (7, 9, 5) and label shape (7, 8, 5) differ" in str(caught.value)
    assert store.find(items[0]) and store.find(items[3])


def test_fill_leaves_random_numbers_alone(tmp_path, store, item):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fill_store(store, [item], progress=False)
    assert torch.rand(1) == expected


def test_two_ranks_fill_each_case_once(tmp_path):
    items = [write_case(tmp_path, f"case{n}", seed=n) for n in range(6)]
    store = CaseStore(tmp_path / "store", Logging(tmp_path / "log"), workers=1)
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=fill_store, args=(store, items), kwargs={"progress": False}) for _ in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == [f"case{n}.nii.gz" for n in range(6)]
    assert len(CaseDataset(items, store, progress=False)) == 6


KILLED_FILL = """
import sys, time
from pathlib import Path
from small_volumes import bundle_preprocessing
from pgsam_monai.data import store as module
from pgsam_monai.data.filling import fill_store

folder = Path(sys.argv[1])
write, calls = module.write_entry, []

def slow_write(path, record):
    calls.append(path)
    if len(calls) == 3:
        (folder / "in the middle").touch()
        time.sleep(300)
    return write(path, record)

module.write_entry = slow_write
items = [{"image": f"{folder}/case{n}.nii.gz", "label": f"{folder}/case{n}_label.nii.gz"} for n in range(5)]
fill_store(module.CaseStore(folder / "store", bundle_preprocessing(), workers=1), items, progress=False)
"""


def test_killed_fill_resumes(tmp_path):
    items = [write_case(tmp_path, f"case{n}", seed=n) for n in range(5)]
    tests = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    process = subprocess.Popen([sys.executable, "-c", KILLED_FILL, str(tmp_path)], env=environment)
    for _ in range(1200):
        if (tmp_path / "in the middle").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    store = CaseStore(tmp_path / "store", bundle_preprocessing(), workers=1)
    assert [store.find(item) is not None for item in items] == [True, True, False, False, False]
    assert list(store.root.glob(".tmp-case2-*"))
    finished = (store.find(items[0]).folder / "entry.json").stat().st_mtime_ns
    entries = fill_store(store, items, progress=False)
    assert (entries[0].folder / "entry.json").stat().st_mtime_ns == finished
    assert not list(store.root.glob(".tmp-case2-*"))
    undisturbed = fill_store(
        CaseStore(tmp_path / "other", bundle_preprocessing(), workers=1), items, progress=False
    )
    for entry, expected in zip(entries, undisturbed, strict=True):
        for key in ("image", "label"):
            assert torch.equal(entry.read_volume()[key], expected.read_volume()[key])


def test_workers_are_bounded(item, monkeypatch):
    items = [item] * 50
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert choose_workers(items, 3).workers == 3
    assert (choose_workers(items).workers, choose_workers(items).bound) == (1, "size")
    voxels = 7 * 9 * 5
    monkeypatch.setattr("pgsam_monai.data.filling.WORTH_PROCESSES_VOXELS", 50 * voxels)
    assert choose_workers(items[1:]).bound == "size"
    assert (choose_workers(items).workers, choose_workers(items).bound) == (8, "cores")
    monkeypatch.setattr("pgsam_monai.data.filling.WORTH_PROCESSES_VOXELS", 1)
    assert choose_workers([item] * 2).bound == "cases"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers(items).workers == 2
    monkeypatch.setattr("pgsam_monai.data.filling.case_memory", lambda case: 10**15)
    assert (choose_workers(items).workers, choose_workers(items).bound) == (1, "memory")
