"""KiTS, LiTS, MM-WHS and AMOS22 as they are downloaded: files of no content, since layouts open none."""

from __future__ import annotations

import json

import pytest

from pgsam_monai.base.errors import UserFault
from preprocess.layouts import find_dataset


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def pairs(dataset):
    return {case.name: (*case.images, case.label) for case in dataset.cases}


@pytest.mark.parametrize("below", ["", "kits21/data/"])
def test_kits21_is_its_majority_votes(tmp_path, below):
    for case in ("case_00000", "case_00299"):
        votes = [f"{below}{case}/aggregated_{vote}_seg.nii.gz" for vote in ("AND", "MAJ", "OR")]
        single = f"{below}{case}/segmentations/tumor_instance-1_annotation-1.nii.gz"
        touch(tmp_path, f"{below}{case}/imaging.nii.gz", single, *votes)
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "kits"
    assert pairs(dataset) == {
        case: (f"{below}{case}/imaging.nii.gz", f"{below}{case}/aggregated_MAJ_seg.nii.gz")
        for case in ("case_00000", "case_00299")
    }
    assert dataset.label_names == {"background": 0, "kidney": 1, "kidney tumor": 2, "kidney cyst": 3}
    assert dataset.channel_names == ("CT",) and not dataset.labels_without_image
    assert "6 volumes that are neither image nor label are left out" in dataset.notes[1]


def test_kits_of_the_other_years_and_cases_without_a_label(tmp_path):
    touch(
        tmp_path, "case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz", "case_00002/imaging.nii.gz"
    )
    dataset = find_dataset(tmp_path)
    assert pairs(dataset) == {"case_00001": ("case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz")}
    assert dataset.images_without_label == ("case_00002/imaging.nii.gz",)


@pytest.mark.parametrize(
    ("first", "second"), [("", ""), ("Training Batch 1/", "Training Batch 2/"), ("volumes/", "volumes/")]
)
def test_lits_in_one_folder_or_in_batches(tmp_path, first, second):
    masks = "masks/" if first == "volumes/" else None
    for number, folder in ((0, first), (10, second)):
        touch(tmp_path, f"{folder}volume-{number}.nii", f"{masks or folder}segmentation-{number}.nii")
    touch(tmp_path, "Test/test-volume-0.nii")
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "lits"
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("volume-0", "train"), ("volume-10", "train"), ("test-volume-0", "test"),
    ]  # fmt: skip
    assert dataset.cases[1].label == f"{masks or second}segmentation-10.nii"
    assert dataset.cases[2].label is None
    assert dataset.label_names == {"background": 0, "liver": 1, "liver tumor": 2}


def test_a_case_twice_is_told(tmp_path):
    touch(tmp_path, "a/volume-0.nii", "b/volume-0.nii", "a/segmentation-0.nii")
    with pytest.raises(UserFault, match="claim the same case"):
        find_dataset(tmp_path, layout="lits")


def heart(folder, scanner):
    for number in (1001, 1002):
        stem = f"{scanner}_train/{scanner}_train_{number}"
        touch(folder, f"{stem}_image.nii.gz", f"{stem}_label.nii.gz")
    return touch(folder, f"{scanner}_test/{scanner}_test_2001_image.nii.gz")


@pytest.mark.parametrize("scanner", ["ct", "mr"])
def test_mmwhs_of_one_scanner(tmp_path, scanner):
    dataset = find_dataset(heart(tmp_path, scanner))
    assert (dataset.layout, dataset.channel_names) == ("mmwhs", (scanner.upper(),))
    names = [f"{scanner}_{part}" for part in ("train_1001", "train_1002", "test_2001")]
    assert [case.name for case in dataset.cases] == names
    assert [case.group for case in dataset.cases] == ["train", "train", "test"]
    assert dataset.label_names["ascending aorta"] == 820 and len(dataset.label_names) == 8
    alone = find_dataset(tmp_path / f"{scanner}_train")
    assert (alone.layout, len(alone.cases)) == ("mmwhs", 2)


def test_mmwhs_of_both_scanners_is_two_data_sets(tmp_path):
    with pytest.raises(UserFault, match="two data sets; pass ct_train or mr_train"):
        find_dataset(heart(heart(tmp_path, "ct"), "mr"))


def test_names_of_the_data_set_itself_win(tmp_path):
    heart(tmp_path, "ct")
    (tmp_path / "labels.json").write_text(json.dumps({"background": 0, "heart": 500}))
    assert find_dataset(tmp_path).label_names == {"background": 0, "heart": 500}


def amos(folder, *, listed):
    """240, 120 and 240 cases in the original; the validation cases' labels may be listed or not."""
    entries = {}
    for key, part, number in (("training", "Tr", 1), ("validation", "Va", 8), ("test", "Ts", 6)):
        image, label = (f"{kind}{part}/amos_{number:04d}.nii.gz" for kind in ("images", "labels"))
        touch(folder, image, *([] if part == "Ts" else [label]))
        told = part == "Tr" or (part == "Va" and listed)
        entries[key] = [{"image": f"./{image}"} | ({"label": f"./{label}"} if told else {})]
    names = {"0": "background", "1": "spleen", "15": "prostate/uterus"}
    content = {"name": "AMOS", "modality": {"0": "CT"}, "labels": names, **entries}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("listed", [True, False])
def test_amos_trains_on_its_labelled_validation_cases_too(tmp_path, listed):
    dataset = find_dataset(amos(tmp_path, listed=listed))
    assert dataset.layout == "msd" and dataset.channel_names == ("CT",)
    assert [(case.name, case.group, case.fold) for case in dataset.cases] == [
        ("amos_0001", "train", None), ("amos_0008", "train", 0), ("amos_0006", "test", None),
    ]  # fmt: skip
    assert [case.label for case in dataset.cases] == [
        "labelsTr/amos_0001.nii.gz", "labelsVa/amos_0008.nii.gz", None,
    ]  # fmt: skip
    assert dataset.label_names == {"background": 0, "spleen": 1, "prostate/uterus": 15}
    assert not dataset.notes


def test_amos_validation_cases_without_labels_are_test_cases(tmp_path):
    amos(tmp_path, listed=False)
    (tmp_path / "labelsVa/amos_0008.nii.gz").unlink()
    assert [case.group for case in find_dataset(tmp_path).cases] == ["train", "test", "test"]
