"""Data sets as they are distributed: BraTS, ACDC, and what their names must not be taken for. Files are empty here."""

from __future__ import annotations

import json
import os
import socket

import pytest
from dataset_builders import write_dicom

from pgsam_monai.base.errors import UserFault
from preprocess.fingerprint.measure import measure_case
from preprocess.layouts import find_dataset
from preprocess.layouts.naming import folder_group, folder_role


def write(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def brats(folder, case, sequences, *, label="seg", between="_", above=""):
    return write(folder, *(f"{above}{case}/{case}{between}{kind}.nii.gz" for kind in (*sequences, label)))


UNTIL_2021 = ("flair", "t1", "t1ce", "t2")
SINCE_2023 = ("t1n", "t1c", "t2w", "t2f")


@pytest.mark.parametrize(
    ("case", "sequences", "between", "above", "enhancing"),
    [
        ("Brats18_2013_{}_1", UNTIL_2021, "_", "HGG/", 4),
        ("BraTS19_CBICA_{}_1", UNTIL_2021, "_", "MICCAI_BraTS_2019_Data_Training/LGG/", 4),
        ("BraTS20_Training_00{}", UNTIL_2021, "_", "MICCAI_BraTS2020_TrainingData/", 4),
        ("BraTS2021_0000{}", UNTIL_2021, "_", "", 4),
        ("BraTS-GLI-0000{}-000", SINCE_2023, "-", "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/", 3),
        ("BraTS-MEN-0000{}-000", SINCE_2023, "-", "", 3),
        ("BraTS-MET-0000{}-000", SINCE_2023, "-", "", 3),
        ("BraTS-SSA-0000{}-000", SINCE_2023, "-", "", 3),
        ("BraTS-GLI-0206{}-100", SINCE_2023, "-", "training_data1_v2/", 3),
        ("BraTS-PED-0000{}-000", SINCE_2023, "-", "", None),
    ],
)
def test_brats(tmp_path, case, sequences, between, above, enhancing):
    for number in (1, 2, 3):
        brats(tmp_path, case.format(number), sequences, between=between, above=above)
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, [one.name for one in dataset.cases]) == (
        "brats",
        [case.format(n) for n in (1, 2, 3)],
    )
    assert dataset.channel_names == ("T1", "T1 contrast-enhanced", "T2", "FLAIR")
    order = ("t1", "t1ce", "t2", "flair") if between == "_" else SINCE_2023
    stem = f"{above}{case.format(1)}/{case.format(1)}"
    assert dataset.cases[0].images == tuple(f"{stem}{between}{kind}.nii.gz" for kind in order)
    assert dataset.cases[0].label == f"{stem}{between}seg.nii.gz"
    assert (dataset.label_names or {}).get("enhancing tumor") == enhancing
    assert ("resection cavity" in (dataset.label_names or {})) == ("-100" in case)
    assert not dataset.images_without_label and {one.group for one in dataset.cases} == {"train"}


def test_brats_for_radiotherapy_and_visits_of_one_patient(tmp_path):
    for case in ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001-2", "BraTS-MEN-RT-0002-1"):
        brats(tmp_path, case, ["t1c"], label="gtv")
    dataset = find_dataset(tmp_path)
    assert dataset.label_names == {"background": 0, "gross tumor volume": 1}
    assert [case.subject for case in dataset.cases] == ["BraTS-MEN-RT-0001"] * 2 + ["BraTS-MEN-RT-0002"]


def test_brats_that_is_validated_elsewhere(tmp_path):
    for number in (1, 2):
        brats(tmp_path, f"BraTS20_Training_00{number}", UNTIL_2021, above="MICCAI_BraTS2020_TrainingData/")
    above = "MICCAI_BraTS2020_ValidationData/"
    brats(tmp_path, "BraTS20_Validation_001", UNTIL_2021[1:], label="flair", above=above)
    groups = {case.name: (case.group, case.label is None) for case in find_dataset(tmp_path).cases}
    assert groups["BraTS20_Validation_001"] == ("test", True) and groups["BraTS20_Training_001"] == (
        "train",
        False,
    )


def test_brats_of_unlike_years(tmp_path):
    brats(tmp_path, "BraTS2021_00001", UNTIL_2021)
    brats(tmp_path, "BraTS-GLI-00001-000", SINCE_2023, between="-")
    with pytest.raises(UserFault, match="BraTS since 2023 and BraTS until 2021, whose values differ"):
        find_dataset(tmp_path)


def acdc(folder, part, numbers):
    for number in numbers:
        patient = f"{part}patient{number:03d}"
        name = f"{patient}/patient{number:03d}"
        frames = (f"{name}_frame{frame}{end}.nii.gz" for frame in ("01", "12") for end in ("", "_gt"))
        write(folder, f"{patient}/Info.cfg", f"{patient}/MANDATORY_CITATION.md", f"{name}_4d.nii.gz", *frames)
    return folder


@pytest.mark.parametrize("parts", [{"": (1, 2)}, {"training/": (1, 2), "testing/": (101,)}])
def test_acdc(tmp_path, parts):
    for part, numbers in parts.items():
        acdc(tmp_path, part, numbers)
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, dataset.notes[0][:11], dataset.images_without_label) == (
        "acdc",
        "label names",
        (),
    )
    names = [
        f"patient{n:03d}_frame{frame}"
        for numbers in parts.values()
        for n in numbers
        for frame in ("01", "12")
    ]
    assert [case.name for case in dataset.cases] == names
    assert dataset.label_names == {
        "background": 0,
        "right ventricle": 1,
        "myocardium": 2,
        "left ventricle": 3,
    }
    assert [case.subject for case in dataset.cases][:3] == ["patient001", "patient001", "patient002"]
    assert sum(case.group == "test" for case in dataset.cases) == (2 if "testing/" in parts else 0)


@pytest.mark.parametrize(
    ("folder", "group"),
    [
        ("BraTS", "train"), ("StVALentin", "train"), ("contrast", "train"), ("Trauma", "train"), ("latest", "train"),
        ("ConTest", "train"), ("PanTs", "train"), ("valve", "train"), ("Größtest", "train"), ("TS_01", "train"),
        ("test", "test"), ("Test", "test"), ("imagesTs", "test"), ("TestData", "test"), ("ISIC-2017_Test_v2", "test"),
        ("REFUGE-Test400", "test"), ("Testing Set", "test"), ("test_images", "test"), ("my-testing", "test"),
    ],
)  # fmt: skip
def test_words_and_letters_of_groups(folder, group):
    assert folder_group(f"{folder}/x.nii.gz")[0] == group
    validated = {"val", "validation", "ValidationData", "imgs_val"}
    assert all(folder_group(f"{name}/x")[1] == 0 for name in validated)
    assert folder_group("StVALentin/x")[1] is folder_group("Interval/x")[1] is None


@pytest.mark.parametrize(
    ("folder", "role"),
    [("SegTHOR", None), ("Roihu", None), ("imagesTr", "image"), ("LiverMasks", "label"), ("A_TrainingInput1", "image"),
     ("A_TrainingGroundTruth", "label"), ("labelsVa", "label"), ("magtarget", None)],
)  # fmt: skip
def test_words_and_letters_of_roles(folder, role):
    assert folder_role(folder) == role


def test_what_systems_leave_is_no_data(tmp_path):
    for number in (1, 2):
        write(tmp_path, f"images/{number}.nii.gz", f"labels/{number}.nii.gz", f"images/._{number}.nii.gz")
    write(tmp_path, "__MACOSX/images/3.nii.gz", ".cache/4.nii.gz", "images/Thumbs.db", "@eaDir/5.nii.gz")
    dataset = find_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["1", "2"] and not dataset.images_without_label


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device"])
@pytest.mark.parametrize("place", ["imagesTr/x_0000.nii.gz", "dataset.json", "notes"])
def test_what_is_neither_file_nor_folder(tmp_path, kind, place, monkeypatch):
    for number in (1, 2):
        write(tmp_path, f"imagesTr/{number}_0000.nii.gz", f"labelsTr/{number}.nii.gz")
    monkeypatch.chdir(tmp_path)  # sockets have short paths
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(place)
    else:
        os.symlink("/dev/zero", place)
    with pytest.raises(UserFault, match=f"{place} is a (named pipe|socket|device), neither file nor folder"):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "a": 1, "ignore": 2, "ignored": 3}, "'ignore' and 'ignored': one value"),
        ({"0": "ignore", "1": "a"}, "'ignore': one value, not the background's"),
        ({"background": 0, "whole": [0, 2], "core": 2}, "'whole' is a region|'whole' holds the value 0"),
        ({"background": 0, "whole": []}, "is a region|must list different"),
        ("liver", '"labels" must be an object'),
        (7, '"labels" must be an object'),
        ({"a": 1.5}, "must have a whole number"),
        ({"a": True}, "must have a whole number"),
        ({"a": None}, "must have a whole number"),
        ({"a": -1}, "from 0 to 2"),
        ({"a": 2**40}, "from 0 to 2"),
        ({"a": 1, "b": 1}, "beside another"),
        ([["a"], "b"], "is a region"),
        ([3, "b"], "beside|whole"),
    ],
)
@pytest.mark.parametrize("layout", ["nnunet", "msd", "paired"])
def test_label_names_that_are_none_and_partial_labels(tmp_path, labels, words, layout):
    mark = "_0000" if layout == "nnunet" else ""
    images, masks = ("images", "labels") if layout == "paired" else ("imagesTr", "labelsTr")
    for number in (1, 2):
        write(tmp_path, f"{images}/c{number}{mark}.nii.gz", f"{masks}/c{number}.nii.gz")
    listed = [{"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.nii.gz"} for n in (1, 2)]
    content = {"labels": labels} | ({"training": listed} if layout == "msd" else {})
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    if labels == [3, "b"]:
        labels = None
        assert find_dataset(tmp_path).label_names  # value 3 called "0": odd, and unambiguous
        return
    with pytest.raises(UserFault, match=f"dataset.json: .*({words})"):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "null", "NaN", '{"labels": {"a": NaN}}', "\x00", "{" * 5000, '"x"']
)
def test_damaged_dataset_json(tmp_path, text):
    write(tmp_path, "imagesTr/c_0000.nii.gz", "labelsTr/c.nii.gz")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserFault, match=r"dataset.json is no readable JSON: [^\n]*$"):
        find_dataset(tmp_path)


def test_dicom_without_preamble_and_with_hidden_files(tmp_path):
    write_dicom(tmp_path, series="scan{:d}", label="labels/scan{:d}.nii.gz", cases=2)
    for file in (tmp_path / "scan1").iterdir():
        content = file.read_bytes()
        assert content[128:132] == b"DICM"
        file.write_bytes(content[132:])
        file.rename(file.with_name(file.stem))
        (file.parent / f"._{file.stem}").write_bytes(b"\0\5\26\7")
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, [case.images for case in dataset.cases]) == ("dicom", [("scan1",), ("scan2",)])
    facts = measure_case(dataset.cases[0], dataset).facts
    assert facts.error is None and facts.shape == measure_case(dataset.cases[1], dataset).facts.shape


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"name": {}}, '"name" must be a text'), ({"subject": ["a"]}, '"subject" must'),
     ({"patient": " "}, '"patient" must'), ({"fold": "one"}, '"fold" must'), ({"fold": -1}, '"fold" must'),
     ({"fold": 0.5}, '"fold" must'), ({"image": {"a": 1}}, 'names no "image"'), ({"image": [1]}, 'names no "image"')],
)  # fmt: skip
def test_damaged_datalist_entries(tmp_path, entry, words):
    write(tmp_path, "a.nii.gz", "b.nii.gz")
    listed = {"training": [{"image": "a.nii.gz", "label": "b.nii.gz"} | entry]}
    (tmp_path / "list.json").write_text(json.dumps(listed))
    with pytest.raises(UserFault, match=words):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    "name", "20240101;Doe,John;None;True;[a];a#b##c;$name;50%;%train;数据;a b;1e5;@x;a=1;{x};a'b".split(";")
)
def test_odd_names_of_cases_and_folders(tmp_path, name):
    folder = tmp_path / name
    write(folder, *(f"{part}/{name}{n}.nii.gz" for part in ("images", "labels") for n in ("", "x")))
    dataset = find_dataset(folder)
    assert sorted(case.name for case in dataset.cases) == sorted((name, f"{name}x"))
    assert dataset.name and set(dataset.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
