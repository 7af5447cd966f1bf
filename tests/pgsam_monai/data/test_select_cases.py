"""splits.json becomes lists of cases."""

import json
import re

import pytest

from pgsam_monai.base.cases import case_name
from pgsam_monai.data.splits import FewSlices, images_only, read_few_slices, require_files, select_cases


@pytest.fixture
def splits_file(tmp_path):
    splits = {
        "seed": 0,
        "cases": {
            "a": {"image": ["images/a_0000.nii.gz", "images/a_0001.nii.gz"], "label": "labels/a.nii.gz"},
            "b": {"image": ["images/b.png"], "label": "labels/b.png", "slices": [0]},
            "c": {"image": ["npz/c_slice000.npz", "npz/c_slice001.npz"], "label": "@images"},
            "d": {"image": "images/d.nii.gz", "label": None},
        },
        "folds": [{"training": ["a", "b"], "validation": ["c"]}],
        "test": ["d"],
    }
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(splits))
    return path


def test_parts(splits_file):
    first, second = select_cases(splits_file, "/data", part="training")
    assert first["image"] == ["/data/images/a_0000.nii.gz", "/data/images/a_0001.nii.gz"]
    assert second == {
        "name": "b", "image": "/data/images/b.png", "label": "/data/labels/b.png", "slices": [0],
    }  # fmt: skip
    (archive,) = select_cases(splits_file, "/data", part="validation")
    assert archive["label"] == archive["image"] == ["/data/npz/c_slice000.npz", "/data/npz/c_slice001.npz"]
    test = select_cases(splits_file, "/data", part="test")
    assert test == [{"name": "d", "image": "/data/images/d.nii.gz"}]
    assert select_cases(splits_file, "/data", part="unseen") == test
    assert images_only([second]) == [{"name": "b", "image": "/data/images/b.png"}]


def test_unseen_is_validation_without_test_cases(splits_file):
    splits = json.loads(splits_file.read_text())
    splits_file.write_text(json.dumps({**splits, "test": []}))
    assert [case["name"] for case in select_cases(splits_file, "/data", part="unseen")] == ["c"]


def test_all_cases_train_but_those_of_the_test(splits_file):
    splits = json.loads(splits_file.read_text())
    folds = [*splits["folds"], {"training": ["a"], "validation": ["d"]}]
    splits_file.write_text(json.dumps({**splits, "folds": folds}))
    cases = select_cases(splits_file, "/data", fold="all_cases")
    assert [case["name"] for case in cases] == ["a", "b", "c"]
    assert select_cases(splits_file, "/data", fold="all_cases", part="validation") == []
    assert len(select_cases(splits_file, "/data", fold="all_cases", part="test")) == 1


def test_all_cases_of_splits_that_keep_a_few_are_refused(splits_file):
    splits = json.loads(splits_file.read_text())
    splits_file.write_text(json.dumps({**splits, "few_shot": {"spec": "5", "level": "case"}}))
    with pytest.raises(
        ValueError, match=re.escape("keep few training cases (5), all_cases would train on all")
    ):
        select_cases(splits_file, "/data", fold="all_cases")


def test_faults(splits_file, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'training'"):
        select_cases(splits_file, "/data", part="trainning")
    with pytest.raises(ValueError, match="fold must be 0 to 0, or all_cases, got 3"):
        select_cases(splits_file, "/data", fold=3)
    with pytest.raises(FileNotFoundError, match="plan the data set again"):
        select_cases(tmp_path / "none.json", "/data")
    splits = json.loads(splits_file.read_text())
    splits["folds"][0]["training"] = ["d"]
    splits_file.write_text(json.dumps(splits))
    with pytest.raises(ValueError, match=re.escape("Case 'd' of part 'training' has no label")):
        select_cases(splits_file, "/data")


def test_few_slices_are_a_function_of_seed_and_number():
    tenth = FewSlices(spec="slices:10%", seed=1234, share=0.1)
    chosen = tenth.draw(2211)
    assert len(chosen) == 221 and chosen == sorted(set(chosen)) and chosen[-1] < 2211
    assert chosen[:5] == [6, 10, 23, 30, 59]  # for good: published numbers hang on the draw
    assert tenth.draw(2211) == chosen
    assert FewSlices(spec="slices:10%", seed=1, share=0.1).draw(2211) != chosen
    assert len(tenth.draw(3)) == 1
    assert FewSlices(spec="slices:4", seed=1, count=4).draw(4) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="'slices:4': the training list holds 3 slices only"):
        FewSlices(spec="slices:4", seed=1, count=4).draw(3)


def test_the_draw_is_stated_in_the_splits(splits_file):
    splits = json.loads(splits_file.read_text())
    assert read_few_slices(splits_file) is None
    for wish, expected in (
        (None, None),
        ({"spec": "5", "level": "case"}, None),
        ({"spec": "slices:10%", "level": "slice", "share": 0.1}, {"share": 0.1}),
        ({"spec": "slices:50", "level": "slice", "count": 50}, {"count": 50}),
    ):
        splits_file.write_text(json.dumps({**splits, "seed": 7, "few_shot": wish}))
        few = None if expected is None else FewSlices(spec=wish["spec"], seed=7, **expected)
        assert read_few_slices(splits_file) == few


def test_missing_files_end_the_program_with_a_sentence(splits_file, tmp_path):
    cases = select_cases(splits_file, tmp_path, part="training")
    with pytest.raises(SystemExit, match=r"5 of the 5 files .* '.*a_0000.nii.gz'; .*--dataset_dir FOLDER"):
        require_files(cases, tmp_path)
    for name in (
        "images/a_0000.nii.gz",
        "images/a_0001.nii.gz",
        "labels/a.nii.gz",
        "images/b.png",
        "labels/b.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    require_files(cases, tmp_path)
    require_files([], tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("img/img0001.nii.gz", "img0001"),
        ("imagesTr/hippocampus_001_0000.nii.gz", "hippocampus_001"),
        ("exam_2017.nrrd", "exam_2017"),
        ("train_npz/case0005_slice000.npz", "case0005"),
        ("test_vol_h5/case0001.npy.h5", "case0001"),
        ("scan.v2.PNG", "scan.v2"),
    ],
)
def test_case_name(path, name):
    assert case_name(path) == name
