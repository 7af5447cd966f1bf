"""The layouts of real data sets, where they lie beside the checkout."""

from __future__ import annotations

from shared_data import shared_data

from pgsam_monai.base.volume import read_label, read_volume
from preprocess.layouts import find_dataset


def test_hippocampus():
    folder = shared_data("Task04_Hippocampus")
    dataset = find_dataset(folder)
    assert (dataset.name, dataset.layout, len(dataset.cases)) == ("hippocampus", "msd", 200)
    assert dataset.label_names == {"background": 0, "Anterior": 1, "Posterior": 2}
    case = dataset.cases[0]
    image = read_volume([folder / path for path in case.images])
    assert image.voxels.shape == read_label(folder / case.label).voxels.shape == (1, 35, 51, 35)


def test_unclean_hippocampus_lists_exactly_its_faults():
    dataset = find_dataset(shared_data("unclean_Hippocampus"))
    assert [case.name for case in dataset.cases] == ["hippocampus_001", "hippocampus_003"]
    assert dataset.images_without_label == ("images/hippocampus_118.nii.gz",)
    assert dataset.labels_without_image == ("labels/hippocampus_010.nii.gz", "labels/hippocampus_281.nii.gz")


def test_dicom_series_without_labels():
    folder = shared_data("dicom")
    dataset = find_dataset(folder)
    assert (dataset.layout, dataset.images_without_label) == ("dicom", ("study1", "study2"))
    assert read_volume(folder / "study1").voxels.shape == (1, 35, 51, 32)


def test_totalsegmentator_example():
    dataset = find_dataset(shared_data("ct"))
    assert (dataset.layout, dataset.cases[0].name) == ("paired", "totalsegmentator_example")
