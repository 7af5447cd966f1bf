"""Data sets with a mask per structure: found, measured, checked, and read for training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_builders import tiny_image, tiny_label, write_paired, write_volume

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import read_label
from pgsam_monai.data.splits import located, require_files
from preprocess.checks import FATAL, WARNING, check_dataset
from preprocess.fingerprint.dataset import measure_dataset
from preprocess.layouts import find_dataset
from preprocess.splits.splits import case_entry

ORGANS = {"kidney_left": 1, "liver": 2}


def write_masks(folder, image, mask, *, cases=3, organs=ORGANS):
    """`image` and `mask` are names with {case} and {organ}."""
    for case in range(1, cases + 1):
        label = tiny_label(case)
        write_volume(folder / image.format(case=f"s{case:04d}"), tiny_image(case, label))
        for organ, value in organs.items():
            voxels = (label == value).astype(np.uint8)
            write_volume(folder / mask.format(case=f"s{case:04d}", organ=organ), voxels)
    return folder


NAMED = pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz"),
        ("{case}/mri.nii.gz", "{case}/segmentations/{organ}.nii.gz"),
        ("train/{case}/ct.nii.gz", "train/{case}/segmentations/{organ}.nii.gz"),
        ("images/{case}.nii.gz", "masks/{case}/{organ}.nii.gz"),
        ("images/{case}.nii.gz", "masks/{organ}/{case}.nii.gz"),
        ("images/{case}.nii.gz", "labels/{case}_{organ}.nii.gz"),
        ("images/{case}.nii.gz", "labels/{organ}-{case}.nii.gz"),
        ("images/{case}_ct.nrrd", "labels/{case}_{organ}_mask.nii.gz"),
        ("{case}.nii.gz", "{case}_{organ}.nii.gz"),
        ("{case}.nii.gz", "{case}_{organ}_seg.nii.gz"),
        ("{case}.nii.gz", "{case}_mask_{organ}.nii.gz"),
        ("{case}/image.nii.gz", "{case}/{organ}.nii.gz"),
        ("{case}/{case}.nii.gz", "{case}/{case}_{organ}.nii.gz"),
        ("{case}/CT.mha", "{case}/masks/{organ}.mha"),
    ],
)


@NAMED
def test_naming_habits(tmp_path, image, mask):
    dataset = find_dataset(write_masks(tmp_path, image, mask))
    assert (dataset.layout, dataset.label_names) == (
        "structures",
        {"background": 0, "kidney_left": 1, "liver": 2},
    )
    assert [case.name for case in dataset.cases] == ["s0001", "s0002", "s0003"]
    first = dataset.cases[0]
    assert first.images == (image.format(case="s0001"),)
    assert first.label == {str(v): mask.format(case="s0001", organ=organ) for organ, v in ORGANS.items()}
    assert not dataset.images_without_label and not dataset.labels_without_image
    np.testing.assert_array_equal(read_label(first.label_below(tmp_path)).voxels[0], tiny_label(1))


def test_pictures_with_a_mask_per_structure(tmp_path):
    from PIL import Image

    for case in (1, 2):
        (tmp_path / f"{case}").mkdir()
        for name, value in (("image", 90), ("cup", 255), ("disc", 255)):
            Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / f"{case}/{name}.png")
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, list(dataset.label_names)) == ("structures", ["background", "cup", "disc"])


def test_one_structure_of_which_only_its_suffix_tells(tmp_path):
    dataset = find_dataset(
        write_masks(tmp_path, "{case}.nii.gz", "{case}_{organ}.nii.gz", organs={"liver": 2})
    )
    assert (dataset.layout, dataset.label_names) == ("structures", {"background": 0, "liver": 1})


@pytest.mark.parametrize(
    ("image", "label"),
    [("images/a_{:d}.nii.gz", "labels/site_b/a_{:d}.nii.gz"), ("a_{:d}.nii.gz", "a_{:d}_seg.nii.gz"),
     ("x/{:d}.nii.gz", "labels/{:d}.nii.gz"), ("{:d}/image.nii.gz", "{:d}/label.nii.gz")],
)  # fmt: skip
def test_plain_labels_are_no_masks_of_structures(tmp_path, image, label):
    assert find_dataset(write_paired(tmp_path, image=image, label=label)).layout == "paired"


def test_instances_are_no_structures(tmp_path):
    write_masks(tmp_path, "{case}/images/a.nii.gz", "{case}/masks/{organ}.nii.gz", organs={"1": 1, "2": 2})
    with pytest.raises(UserFault, match="fits no known layout"):
        find_dataset(tmp_path)


def test_one_structure_in_two_spellings(tmp_path):
    write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz")
    (tmp_path / "s0003/segmentations/liver.nii.gz").rename(tmp_path / "s0003/segmentations/Liver.nii.gz")
    assert list(find_dataset(tmp_path).label_names) == ["background", "kidney_left", "liver"]


def test_annotators_are_no_structures(tmp_path):
    write_masks(
        tmp_path, "images/{case}.nii.gz", "labels/{case}_{organ}.nii.gz", organs={"rater1": 1, "rater2": 2}
    )
    with pytest.raises(UserFault, match="several annotators .rater1, rater2. for one image; keep one"):
        find_dataset(tmp_path)


def faults_of(folder):
    dataset = find_dataset(folder)
    return check_dataset(dataset, measure_dataset(dataset, workers=1, progress=False).cases)


def test_a_missing_mask_is_an_absent_structure_and_counted(tmp_path):
    write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz", cases=5)
    (tmp_path / "s0001/segmentations/liver.nii.gz").unlink()
    assert find_dataset(tmp_path).cases[0].label == {"1": "s0001/segmentations/kidney_left.nii.gz"}
    fault = next(fault for fault in faults_of(tmp_path) if fault.rule == "no mask of a structure")
    assert (fault.level, fault.found) == (WARNING, "'liver' has none in 1 of 5 training cases")


def test_overlaps_are_listed_and_the_smaller_structure_is_kept(tmp_path):
    write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz")
    organ = np.zeros((12, 10, 8), np.uint8)
    organ[1:9, 1:9] = 1
    tumor, cyst = np.zeros_like(organ), np.zeros_like(organ)
    tumor[8:10, 1:4], cyst[8, 3] = 1, 255
    folder = tmp_path / "s0001/segmentations"
    for name, voxels in (("liver", organ), ("kidney_left", tumor), ("cyst", cyst)):
        write_volume(folder / f"{name}.nii.gz", voxels)
    case = find_dataset(tmp_path).cases[0]  # 1 cyst, 2 kidney, 3 liver
    merged = read_label(case.label_below(tmp_path))
    wanted = 3 * organ
    wanted[tumor > 0] = 2
    wanted[cyst > 0] = 1
    np.testing.assert_array_equal(merged.voxels[0], wanted)
    assert merged.overlaps == ((1, 2, 8), (1, 3, 8), (2, 3, 16))
    fault = next(fault for fault in faults_of(tmp_path) if fault.rule == "masks overlap")
    assert (fault.case, fault.level) == ("s0001", WARNING)
    assert fault.found.startswith("'kidney_left' and 'liver' in 16 voxels, 'cyst' and ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: mask * np.arange(1, 9, dtype=np.uint8), "liver.nii.gz: a mask that holds 3, 4, 5, 6"),
        (lambda mask: mask * np.float32(0.5) + np.float32(0.1), "must be binary"),
        (lambda mask: mask.astype(np.float32) * np.nan, "must be binary"),
        (lambda mask: -mask.astype(np.int16), "must be binary"),
        (lambda mask: mask[:-1], "mask of shape"),
    ],
)
def test_masks_that_are_none_are_fatal_by_name(tmp_path, change, words):
    write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz")
    file = tmp_path / "s0002/segmentations/liver.nii.gz"
    write_volume(file, change((tiny_label(2) == 2).astype(np.uint8)))
    fault = next(fault for fault in faults_of(tmp_path) if fault.level == FATAL)
    assert fault.case == "s0002" and fault.file.endswith("segmentations/liver.nii.gz")
    assert words in f"{fault.file}: {fault.found}"


def test_a_mask_on_another_grid(tmp_path):
    write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz")
    write_volume(tmp_path / "s0003/segmentations/liver.nii.gz", tiny_label(3) // 2, np.eye(4))
    assert any("mask lies up to" in fault.found for fault in faults_of(tmp_path) if fault.level == FATAL)


def one_hot(label, *, background):
    return np.stack([label == value for value in ((0, 1, 2) if background else (1, 2))], axis=-1).astype(
        np.uint8
    )


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("name", ["labels/{:d}.nii.gz", "labels/{:d}.nrrd"])
def test_one_hot_labels(tmp_path, background, name):
    write_paired(tmp_path)
    for file in (tmp_path / "labels").iterdir():
        file.unlink()
    for case in (1, 2, 3):
        image = next((tmp_path / "images").glob(f"*{case}.nii.gz"))
        target = (
            tmp_path
            / "labels"
            / name.format(case).replace("labels/", image.name.removesuffix(f"{case}.nii.gz"))
        )
        write_volume(target, one_hot(tiny_label(case), background=background))
    dataset = find_dataset(tmp_path)
    label = read_label(dataset.cases[1].label_below(tmp_path))
    np.testing.assert_array_equal(label.voxels[0], tiny_label(2))
    assert ("first background" in label.notes[-1]) == background and not label.overlaps
    assert not any(fault.level == FATAL for fault in faults_of(tmp_path))


def test_one_hot_labels_that_overlap(tmp_path):
    layers = np.zeros((4, 4, 4, 2), np.uint8)
    layers[..., 0], layers[0, 0, 0, 1] = 1, 1
    layers[3, 3, 3, 0] = 0
    label = read_label(write_volume(tmp_path / "a.nii.gz", layers))
    assert (label.voxels[0, 0, 0, 0], label.voxels[0, 1, 1, 1], label.voxels[0, 3, 3, 3]) == (2, 1, 0)
    assert label.overlaps == ((1, 2, 1),)


@pytest.mark.parametrize("value", [0.25, 2, -1])
def test_soft_labels_are_refused(tmp_path, value):
    layers = np.full((4, 4, 4, 3), value, np.float32)
    with pytest.raises(
        UserFault,
        match="a.nii.gz: a label with 3 channels that holds .*must be binary; probabilities and label maps are none",
    ):
        read_label(write_volume(tmp_path / "a.nii.gz", layers))


def test_masks_reach_the_training(tmp_path):
    """splits.json names them, and the store takes another order of them for another label."""
    from pgsam_monai.data.store import CaseStore
    from pgsam_monai.transforms.read import ReadCased

    dataset = find_dataset(write_masks(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/{organ}.nii.gz"))
    entry = json.loads(json.dumps(case_entry(dataset.cases[0], [1, 2])))
    case = located("s0001", entry, tmp_path)
    require_files([case], tmp_path)
    read = ReadCased(["image", "label"])
    np.testing.assert_array_equal(read(case)["label"][0].numpy(), tiny_label(1))
    store = CaseStore(tmp_path / "store", read)
    store.entry(case)
    swapped = case | {"label": dict(zip("21", case["label"].values(), strict=True))}
    assert store.find(case) and store.find(swapped) is None
    first, second = (store.entry(one).read_slice(3)[1] for one in (case, swapped))
    assert first[0].unique().tolist() == [0, 1, 2] and bool((second == (3 - first) * (first > 0)).all())
    (tmp_path / "s0001/segmentations/liver.nii.gz").unlink()
    with pytest.raises(SystemExit, match="1 of the 3 files"):
        require_files([case], tmp_path)
