"""Training items of cases that weren't labelled for everything."""

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.datasets import CaseDataset, SliceDataset
from pgsam_monai.data.patches import PatchDataset
from pgsam_monai.data.samplers import ClassAwareSliceSampler
from pgsam_monai.data.store import CaseStore
from pgsam_monai.transforms import MapLabelsd, ReadCased

LABELS = [0, 1, 5]
NOBODY = 9


def write(folder, name, *planes):
    """A plane per slice, filled with one value each."""
    label = np.stack([np.full((4, 4), value, np.uint8) for value in planes], axis=-1)
    files = {"image": label.astype(np.float32), "label": label}
    for key, voxels in files.items():
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{name}_{key}.nii.gz")
    return {"name": name} | {key: str(folder / f"{name}_{key}.nii.gz") for key in files}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    keys = ["image", "label"]
    preprocessing = Compose([ReadCased(keys), MapLabelsd("label", LABELS, ignore=NOBODY)])
    return CaseStore(tmp_path_factory.mktemp("store"), preprocessing, workers=1)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partial")
    return [write(folder, "full", 0, 1, 5), {**write(folder, "part", 1, 5, NOBODY), "labelled": [1]}]


def made(kind, items, store):
    if kind is SliceDataset:
        return SliceDataset(items, store, 16, fit="stretch", progress=False, labels=LABELS)
    return PatchDataset(items, store, (4, 4, 1), None, progress=False, labels=LABELS)


@pytest.mark.parametrize("kind", [SliceDataset, PatchDataset])
def test_what_was_not_looked_for_is_background_and_known_as_such(items, store, kind):
    dataset = made(kind, items, store)
    held = [dataset[index]["label"].unique().tolist() for index in range(6)]
    assert held == [[0], [1], [2], [1], [0], [255]]
    assert dataset[2]["known"].tolist() == [True, True, True]
    assert dataset[4]["known"].tolist() == [True, True, False]


@pytest.mark.parametrize("kind", [SliceDataset, PatchDataset])
def test_no_slice_is_drawn_for_what_nobody_looked_for_or_labelled(items, store, kind):
    dataset = made(kind, items, store)
    assert dataset.classes == [1, 2]
    assert [dataset.slices_holding(label).tolist() for label in (1, 2)] == [[1, 3], [2]]
    sampler = ClassAwareSliceSampler(dataset, 40, foreground_share=1.0)
    assert {(draw.label, draw.index) for draw in sampler} == {(1, 1), (1, 3), (2, 2)}
    assert all(dataset[draw]["label"].shape[0] == 1 for draw in sampler)


def test_validation_keeps_the_label_and_says_what_is_known(items, store):
    volume = CaseDataset(items, store, progress=False, labels=LABELS)[1]
    assert volume["label"].unique().tolist() == [1, 2, 255]
    assert volume["known"].tolist() == [True, True, False]


def test_full_labels_have_no_such_thing(items, store):
    item = SliceDataset(items[:1], store, 16, progress=False)[2]
    assert "known" not in item
    assert "known" not in CaseDataset(items[:1], store, progress=False)[0]


def test_partial_labels_in_a_bundle_that_does_not_know_of_them(items, store):
    with pytest.raises(UserFault, match="Case 'part' is labelled for some structures only.*--labelled"):
        SliceDataset(items, store, 16, progress=False)


def test_a_case_that_teaches_nothing(items, store):
    with pytest.raises(UserFault, match="Case 'full': none of the planned structures"):
        SliceDataset([{**items[0], "labelled": [3]}], store, 16, progress=False, labels=LABELS)
