"""Every layout, built from small files, is found without being told."""

from __future__ import annotations

import json
import shutil

import pytest
from dataset_builders import (
    write_datalist,
    write_dicom,
    write_la,
    write_la_h5,
    write_msd,
    write_nnunet,
    write_paired,
    write_pictures,
    write_promise12,
    write_synapse,
    write_transunet,
)

from preprocess.layouts import LAYOUTS, Case, describe_dataset, find_dataset


def test_nnunet_groups_channels_and_reads_names(tmp_path):
    dataset = find_dataset(write_nnunet(tmp_path / "Dataset004_Foo Bar", cases=10, channels=2, test=1))
    assert (dataset.layout, dataset.name, dataset.file_format) == ("nnunet", "foo_bar", "volume")
    assert [case.name for case in dataset.cases] == [f"case_{n}" for n in range(1, 12)]
    assert dataset.cases[0] == Case(
        name="case_1",
        images=("imagesTr/case_1_0000.nii.gz", "imagesTr/case_1_0001.nii.gz"),
        label="labelsTr/case_1.nii.gz",
    )
    assert (dataset.cases[-1].group, dataset.cases[-1].label) == ("test", None)
    assert dataset.label_names == {"background": 0, "organ1": 1, "organ2": 2}
    assert dataset.channel_names == ("channel0", "channel1")


def test_nnunet_keeps_a_case_whose_channel_is_missing(tmp_path):
    write_nnunet(tmp_path, channels=3)
    (tmp_path / "imagesTr/case_2_0001.nii.gz").unlink()
    cases = {case.name: case for case in find_dataset(tmp_path).cases}
    assert len(cases["case_1"].images) == 3
    assert cases["case_2"].images == ("imagesTr/case_2_0000.nii.gz", "imagesTr/case_2_0002.nii.gz")


def test_nnunet_pictures(tmp_path):
    write_pictures(tmp_path, image="imagesTr/p{:d}_0000.png", label="labelsTr/p{:d}.png")
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "RGB"}, "labels": {}, "file_ending": ".png"}'
    )
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, dataset.file_format, len(dataset.cases)) == ("nnunet", "picture", 3)


def test_nnunet_explicit_listing(tmp_path):
    write_paired(tmp_path, image="anywhere/{:d}.nii.gz", label="else/{:d}.nii.gz")
    listing = {f"c{n}": {"images": [f"anywhere/{n}.nii.gz"], "label": f"else/{n}.nii.gz"} for n in (1, 2)}
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset": listing, "labels": {"b": 2}}))
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, [case.name for case in dataset.cases]) == ("nnunet", ["c1", "c2"])
    assert dataset.label_names == {"b": 2}


def test_msd(tmp_path):
    dataset = find_dataset(write_msd(tmp_path / "Task09_Organ", cases=3, channels=2, test=2))
    assert (dataset.layout, dataset.name) == ("msd", "organ")
    assert [case.group for case in dataset.cases] == ["train"] * 3 + ["test"] * 2
    assert dataset.cases[0].images == ("imagesTr/organ_001.nii.gz",)
    assert dataset.channel_names == ("MR0", "MR1")
    assert dataset.label_names == {"background": 0, "organ1": 1, "organ2": 2}


def test_msd_named_with_four_digits_is_not_nnunet(tmp_path):
    write_paired(tmp_path, image="imagesTr/p_{:04d}.nii.gz", label="labelsTr/p_{:04d}.nii.gz")
    assert (find_dataset(tmp_path).layout, len(find_dataset(tmp_path).cases)) == ("paired", 3)


def test_msd_listing_decides_and_partners_are_recorded(tmp_path):
    write_msd(tmp_path, cases=4)
    (tmp_path / "labelsTr/organ_001.nii.gz").unlink()
    (tmp_path / "imagesTr/organ_002.nii.gz").unlink()
    shutil.copy(tmp_path / "imagesTr/organ_003.nii.gz", tmp_path / "imagesTr/extra.nii.gz")
    dataset = find_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["organ_003", "organ_004"]
    assert dataset.images_without_label == ("imagesTr/organ_001.nii.gz",)
    assert dataset.labels_without_image == ("labelsTr/organ_002.nii.gz",)
    assert "imagesTr/extra.nii.gz" in dataset.notes[0]


def test_msd_entry_without_any_file_stays_a_case_so_that_reading_names_it(tmp_path):
    write_msd(tmp_path, cases=3)
    (tmp_path / "labelsTr/organ_001.nii.gz").unlink()
    (tmp_path / "imagesTr/organ_001.nii.gz").unlink()
    assert "organ_001" in [case.name for case in find_dataset(tmp_path).cases]


@pytest.mark.parametrize("raw_data", [False, True])
def test_synapse(tmp_path, raw_data):
    dataset = find_dataset(write_synapse(tmp_path, raw_data=raw_data, test=1 if raw_data else 0))
    base = "RawData/Training/" if raw_data else ""
    assert dataset.layout == "synapse"
    assert dataset.cases[0] == Case(
        name="case0001", images=(f"{base}img/img0001.nii.gz",), label=f"{base}label/label0001.nii.gz"
    )
    assert dataset.label_names["pancreas"] == 11
    assert [case.group for case in dataset.cases] == ["train"] * 3 + ["test"] * raw_data
    assert any("assumed" in note for note in dataset.notes)


def test_synapse_label_names_from_the_data_set_win(tmp_path):
    write_synapse(tmp_path)
    (tmp_path / "labels.json").write_text('{"background": 0, "moon": 1}')
    dataset = find_dataset(tmp_path)
    assert (dataset.label_names, dataset.notes) == ({"background": 0, "moon": 1}, ())


def test_transunet_cases_are_their_slices(tmp_path):
    dataset = find_dataset(write_transunet(tmp_path / "Synapse"))
    assert (dataset.layout, dataset.file_format) == ("transunet", "archive")
    train, _, test = dataset.cases
    assert (train.name, len(train.images), train.label) == ("case0001", 8, "@images")
    assert train.images[:2] == ("train_npz/case0001_slice000.npz", "train_npz/case0001_slice001.npz")
    assert test == Case(
        name="case0003", images=("test_vol_h5/case0003.npy.h5",), label="@images", group="test"
    )


def test_transunet_list_restricts_the_slices(tmp_path):
    write_transunet(tmp_path)
    (tmp_path / "lists/lists_Synapse/train.txt").write_text("case0002_slice003\ncase0002_slice010\n")
    dataset = find_dataset(tmp_path)
    assert dataset.cases[0].images == ("train_npz/case0002_slice003.npz",)
    assert "1 of 16" in dataset.notes[0]
    assert "case0002_slice010" in dataset.notes[1]


@pytest.mark.parametrize("folder", ["", "Training Set"])
def test_la(tmp_path, folder):
    dataset = find_dataset(write_la(tmp_path) / folder)
    base = "" if folder else "Training Set/"
    assert (dataset.layout, dataset.file_format) == ("la", "volume")
    assert [case.name for case in dataset.cases] == ["0RZD", "1D7C", "1GU1"]
    assert dataset.cases[0] == Case(
        name="0RZD", images=(f"{base}0RZD/lgemri.nrrd",), label=f"{base}0RZD/laendo.nrrd"
    )
    assert dataset.label_names == {"background": 0, "left atrium": 255}
    assert dataset.channel_names == ("LGE-MRI",)
    assert any("assumed" in note for note in dataset.notes)


def test_la_a_single_case(tmp_path):
    (case,) = find_dataset(write_la(tmp_path) / "Training Set/1D7C").cases
    assert (case.name, case.images, case.label) == ("1D7C", ("lgemri.nrrd",), "laendo.nrrd")


@pytest.mark.parametrize("labelled", [False, True])
def test_la_testing_set(tmp_path, labelled):
    write_la(tmp_path, test=("UPT6", "UTBU"), test_labels=labelled)
    tests = [case for case in find_dataset(tmp_path).cases if case.group == "test"]
    assert [case.name for case in tests] == ["UPT6", "UTBU"]
    assert tests[0].label == ("Testing Set/UPT6/laendo.nrrd" if labelled else None)


def test_la_missing_partners_are_recorded(tmp_path):
    write_la(tmp_path)
    (tmp_path / "Training Set/0RZD/laendo.nrrd").unlink()
    (tmp_path / "Training Set/1D7C/lgemri.nrrd").unlink()
    dataset = find_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["1GU1"]
    assert dataset.images_without_label == ("Training Set/0RZD/lgemri.nrrd",)
    assert dataset.labels_without_image == ("Training Set/1D7C/laendo.nrrd",)


@pytest.mark.parametrize("folder", ["", "2018LA_Seg_Training Set"])
def test_la_archives_and_their_lists_beside_or_above(tmp_path, folder):
    dataset = find_dataset(write_la_h5(tmp_path / "data") / folder)
    assert (dataset.layout, dataset.file_format) == ("la_h5", "archive")
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("0RZD", "train"), ("1D7C", "train"), ("1GU1", "train"), ("UPT6", "test"),
    ]  # fmt: skip
    base = "" if folder else "2018LA_Seg_Training Set/"
    assert (dataset.cases[0].images, dataset.cases[0].label) == ((f"{base}0RZD/mri_norm2.h5",), "@images")
    assert dataset.label_names == {"background": 0, "left atrium": 1}


def test_la_archives_without_lists_all_train(tmp_path):
    cases = find_dataset(write_la_h5(tmp_path / "data", lists=False)).cases
    assert {case.group for case in cases} == {"train"} and len(cases) == 4


def test_la_lists_leave_cases_out_and_name_absent_ones(tmp_path):
    write_la_h5(tmp_path / "data")
    (tmp_path / "data/train.list").write_text("1D7C\n9ABC\n")
    dataset = find_dataset(tmp_path / "data")
    assert [case.name for case in dataset.cases] == ["1D7C", "UPT6"]
    assert any("2 cases stand in no list: left out (0RZD, 1GU1)" in note for note in dataset.notes)
    assert any("1 names in train.list have no file (9ABC)" in note for note in dataset.notes)


@pytest.mark.parametrize("parts", [False, True])
def test_promise12(tmp_path, parts):
    dataset = find_dataset(write_promise12(tmp_path, parts=parts, test=2))
    assert (dataset.layout, dataset.file_format) == ("promise12", "volume")
    assert [(case.name, case.group) for case in dataset.cases] == [
        ("Case00", "train"), ("Case01", "train"), ("Case02", "train"),
        ("test_Case00", "test"), ("test_Case01", "test"),
    ]  # fmt: skip
    base = "TrainingData_Part1/" if parts else ""
    assert dataset.cases[0].images == (f"{base}Case00.mhd",)
    assert dataset.cases[0].label == f"{base}Case00_segmentation.mhd"
    assert dataset.cases[-1].label is None
    assert dataset.label_names == {"background": 0, "prostate": 1}
    assert dataset.channel_names == ("T2-weighted MR",)


def test_promise12_beside_other_volumes_is_just_paired(tmp_path):
    write_promise12(tmp_path)
    write_paired(tmp_path, image="x{:d}.mhd", label="x{:d}_seg.mhd", cases=2)
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, len(dataset.cases), dataset.label_names) == ("paired", 5, None)


def test_datalist_with_folds_and_parts(tmp_path):
    write_datalist(tmp_path, cases=4, validation=1, test=1)
    for folder in (tmp_path, tmp_path / "datalist.json"):
        dataset = find_dataset(folder)
        assert dataset.layout == "datalist"
        assert [(case.name, case.fold, case.group) for case in dataset.cases] == [
            ("p1_t1", 1, "train"),
            ("p2_t1", 0, "train"),
            ("p3_t1", 1, "train"),
            ("p4_t1", 0, "train"),
            ("p5_t1", 0, "train"),
            ("p6_t1", None, "test"),
        ]


def test_datalist_paths_outside_the_folder_become_absolute(tmp_path):
    write_paired(tmp_path / "elsewhere", cases=2)
    label = (tmp_path / "elsewhere/labels/case_{}.nii.gz").as_posix()
    image = "../elsewhere/images/case_{}.nii.gz"
    entries = [{"image": image.format(n), "label": label.format(n)} for n in (1, 2)]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/mine.json").write_text(json.dumps({"training": entries}))
    case = find_dataset(tmp_path / "lists").cases[0]
    assert case.images == (str(tmp_path / "elsewhere/images/case_1.nii.gz"),)
    assert case.label == str(tmp_path / "elsewhere/labels/case_1.nii.gz")


@pytest.mark.parametrize(
    ("series", "label", "file"),
    [
        ("images/study{:d}", "labels/study{:d}.nii.gz", "{:d}.dcm"),
        ("study{:d}", "study{:d}/label.nrrd", "{:d}.dcm"),
        ("study{:d}/dicom", "study{:d}/seg.mha", "{:08d}"),
        ("study{:d}/series7", "masks/study{:d}_seg.nii.gz", "IM{:d}"),
        ("study{:d}", "study{:d}_seg.nii.gz", "{:d}.IMA"),
    ],
)
def test_dicom_series_with_label_volumes(tmp_path, series, label, file):
    dataset = find_dataset(write_dicom(tmp_path, series=series, label=label, file=file))
    assert dataset.layout == "dicom"
    assert dataset.cases == tuple(
        Case(name=f"study{n}", images=(series.format(n),), label=label.format(n)) for n in (1, 2)
    )


def test_dicom_without_labels_and_a_single_series(tmp_path):
    write_dicom(tmp_path / "many", label=None, series="s{:d}")
    dataset = find_dataset(tmp_path / "many")
    assert (dataset.layout, dataset.cases, dataset.images_without_label) == ("dicom", (), ("s1", "s2"))
    assert find_dataset(tmp_path / "many/s1").images_without_label == (".",)


@pytest.mark.parametrize(
    ("image", "label", "names"),
    [
        ("images/case_{:d}.nii.gz", "labels/case_{:d}.nii.gz", "case_{:d}"),
        ("imagesTr/a{:d}.nii.gz", "labelsTr/a{:d}.nii.gz", "a{:d}"),
        ("case{:d}_img.nii.gz", "case{:d}_seg.nii.gz", "case{:d}"),
        ("p{:d}/image.mha", "p{:d}/label.mha", "p{:d}"),
        ("patient_{:05d}/imaging.nii.gz", "patient_{:05d}/segmentation.nii.gz", "patient_{:05d}"),
        ("volume_{:d}.nii", "segmentation_{:d}.nii", "{:d}"),
        ("img/img{:d}.nrrd", "Ground Truth/label {:d}.seg.nrrd", "{:d}"),
        ("scans/s{:d}.nrrd", "masks/s{:d}_mask.nrrd", "s{:d}"),
        ("s{:d}.nii.gz", "labels/s{:d}.nii.gz", "s{:d}"),
        ("Training_Input/x{:d}.nii.gz", "Part1_GroundTruth/x{:d}_segmentation.nii.gz", "x{:d}"),
        ("ct_train_{:d}_image.nii.gz", "ct_train_{:d}_label.nii.gz", "ct_train_{:d}"),
        ("images/a{:d}.hdr", "labels/a{:d}.hdr", "a{:d}"),
        ("images/a{:d}.mhd", "labels/a{:d}.nii.gz", "a{:d}"),
    ],
)
def test_paired_naming_habits(tmp_path, image, label, names):
    write_paired(tmp_path, image=image, label=label, cases=10)
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "paired"
    assert dataset.cases == tuple(
        Case(name=names.format(n), images=(image.format(n),), label=label.format(n)) for n in range(1, 11)
    )
    assert dataset.images_without_label == dataset.labels_without_image == ()


def test_paired_channels_beside_each_other(tmp_path):
    for channel in ("t1", "t1ce", "t2", "flair"):
        image = "b_{0:03d}/b_{0:03d}_" + channel + ".nii.gz"
        write_paired(tmp_path, image=image, label="b_{0:03d}/b_{0:03d}_seg.nii.gz")
    dataset = find_dataset(tmp_path)
    assert dataset.channel_names == ("flair", "t1", "t1ce", "t2")
    assert dataset.cases[0].images[0] == "b_001/b_001_flair.nii.gz"
    assert [case.name for case in dataset.cases] == ["b_001", "b_002", "b_003"]


def test_paired_groups_by_folder(tmp_path):
    for part in ("train", "val", "test"):
        write_paired(
            tmp_path, image=part + "/images/{:d}.nii.gz", label=part + "/labels/{:d}.nii.gz", cases=1
        )
    (tmp_path / "test/labels/1.nii.gz").unlink()
    cases = find_dataset(tmp_path).cases
    assert [(case.name, case.group, case.fold, case.label) for case in cases] == [
        ("train_1", "train", None, "train/labels/1.nii.gz"),
        ("val_1", "train", 0, "val/labels/1.nii.gz"),
        ("test_1", "test", None, None),
    ]


def test_missing_partners_are_recorded(tmp_path):
    write_paired(tmp_path, cases=12)
    (tmp_path / "images/case_10.nii.gz").unlink()
    (tmp_path / "images/case_9.nii.gz").unlink()
    (tmp_path / "labels/case_3.nii.gz").unlink()
    dataset = find_dataset(tmp_path)
    assert len(dataset.cases) == 9
    assert dataset.images_without_label == ("images/case_3.nii.gz",)
    assert dataset.labels_without_image == ("labels/case_9.nii.gz", "labels/case_10.nii.gz")
    assert "label without image: labels/case_9.nii.gz" in describe_dataset(dataset)


@pytest.mark.parametrize(
    ("image", "label", "names"),
    [
        ("images/a{:d}.png", "masks/a{:d}.png", "a{:d}"),
        ("images/a{:d}.jpg", "masks/a{:d}_mask.png", "a{:d}"),
        ("a{:d}.jpg", "a{:d}_segmentation.png", "a{:d}"),
        ("ISIC_{:d}.jpg", "ISIC_{:d}_Segmentation.png", "ISIC_{:d}"),
        ("a{:d}.tif", "a{:d}_label.tiff", "a{:d}"),
        ("img{:d}.png", "mask{:d}.png", "{:d}"),
    ],
)
def test_pictures_naming_habits(tmp_path, image, label, names):
    write_pictures(tmp_path, image=image, label=label, cases=11)
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, dataset.file_format) == ("pictures", "picture")
    assert dataset.cases == tuple(
        Case(name=names.format(n), images=(image.format(n),), label=label.format(n)) for n in range(1, 12)
    )


def test_volumes_win_over_preview_pictures(tmp_path):
    write_paired(tmp_path)
    write_pictures(tmp_path, image="previews/a{:d}.png", label="previews/a{:d}_mask.png")
    assert find_dataset(tmp_path).layout == "paired"


def test_forced_layout_and_name(tmp_path):
    write_msd(tmp_path)
    dataset = find_dataset(tmp_path, layout="paired", name="My Set")
    assert (dataset.layout, dataset.name, len(dataset.cases)) == ("paired", "my_set", 3)


def test_hidden_files_are_ignored(tmp_path):
    write_paired(tmp_path)
    (tmp_path / "images/._case_1.nii.gz").write_bytes(b"resource fork")
    assert find_dataset(tmp_path).images_without_label == ()


def test_thousands_of_cases_are_found_fast(tmp_path):
    import time

    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for number in range(3000):
            (tmp_path / folder / f"case_{number}.nii.gz").touch()
    start = time.process_time()
    assert len(find_dataset(tmp_path).cases) == 3000
    assert time.process_time() - start < 3  # CPU seconds; about 0.7 are usual


def test_description_is_short_and_complete(tmp_path):
    text = describe_dataset(find_dataset(write_msd(tmp_path / "Task01_Organ", cases=20)))
    assert "layout    msd (volume files)" in text
    assert "labels    0 background, 1 organ1, 2 organ2" in text
    assert "14 cases more" in text
    assert len(text.splitlines()) < 20


def test_every_layout_is_tested_above():
    assert list(LAYOUTS) == [
        "nnunet",
        "msd",
        "synapse",
        "transunet",
        "la",
        "la_h5",
        "promise12",
        "brats",  # these two in test_layouts_as_they_come.py
        "acdc",
        "kits",  # these three in test_layouts_challenges.py
        "lits",
        "mmwhs",
        "refuge",  # in test_layouts_pictures.py
        "bids",  # in test_bids.py
        "datalist",
        "dicom",
        "structures",  # in test_structure_masks.py
        "paired",
        "pictures",
    ]
