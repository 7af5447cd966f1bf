"""Several data sets as one, by hand."""

import json

import numpy as np
import pytest
from dataset_builders import write_nnunet
from facts_builders import dataset_of

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import read_classes
from preprocess.fingerprint.dataset import measure_dataset
from preprocess.layouts import Case, find_dataset, looked_for, merge_datasets


def part(folder, names, *cases, **changes):
    made = [Case(name=name, images=(f"img/{name}.nii",), label=f"lab/{name}.nii") for name in cases]
    return dataset_of(folder, *made, name=folder.rpartition("/")[2], label_names=names, **changes)


def test_labels_of_one_meaning_are_one_class_and_each_case_has_its_own():
    one = part("/data/a", {"background": 0, "spleen": 1, "Liver": 6}, "c1", "c2")
    other = part("/data/sub/b", {"background": 0, "pancreas": 2, "liver": 1, "right kidney": 4}, "c2", "c3")
    merged = merge_datasets([one, other])
    assert (merged.name, merged.folder, merged.layout) == ("a_b", "/data", "merged")
    assert merged.label_names == {"background": 0, "spleen": 1, "Liver": 2, "pancreas": 3, "right kidney": 4}
    assert [case.name for case in merged.cases] == ["c1", "a_c2", "b_c2", "c3"]
    assert merged.cases[3].images == ("sub/b/img/c3.nii",)
    assert [case.labelled for case in merged.cases] == [(1, 2), (1, 2), (2, 3, 4), (2, 3, 4)]
    assert merged.cases[0].values == {1: 1, 6: 2}
    assert merged.cases[2].values == {2: 3, 1: 2, 4: 4}
    assert looked_for(merged) == {1: 2, 3: 2, 4: 2}
    assert "spleen: a; Liver: a, b; pancreas: b" in merged.notes[0]
    assert [each.to_json()["folder"] for each in merged.parts] == ["a", "sub/b"]


def test_what_was_looked_for_in_a_part_stays_so():
    one = part("/a", {"spleen": 1, "liver": 2}, "c1")
    two = dataset_of(
        "/b", Case(name="d", images=("i",), label="l", labelled=(5,)), label_names={"liver": 5, "aorta": 7}
    )
    assert [case.labelled for case in merge_datasets([one, two]).cases] == [(1, 2), (2,)]


def test_nobody_knows_the_side_where_it_was_not_told():
    sided = part("/a", {"left kidney": 1, "right kidney": 2}, "c1")
    merged = merge_datasets([part("/b", {"kidney": 1, "spleen": 2}, "d1"), sided])
    assert merged.label_names == {"background": 0, "spleen": 1, "left kidney": 2, "right kidney": 3}
    assert merged.cases[0].values == {2: 1}
    assert merged.cases[0].labelled == (1,)
    assert any("kidney of b isn't used" in note for note in merged.notes)


def test_a_name_of_several_meanings_stays_its_own_data_set_s():
    merged = merge_datasets([part("/x", {"tumor": 1, "q": 2}, "c"), part("/y", {"tumor": 1, "p": 2}, "d")])
    assert set(merged.label_names) == {"background", "tumor (x)", "tumor (y)", "q", "p"}


def test_what_nobody_labelled_gets_a_value_of_its_own_and_equal_parts_a_number():
    one = part("/1/x", {"spleen": 1, "ignore": 2}, "c")
    merged = merge_datasets([one, part("/2/x", {"spleen": 1, "liver": 2}, "c")])
    assert merged.label_names == {"background": 0, "spleen": 1, "liver": 2, "ignore": 3}
    assert merged.cases[0].values == {1: 1, 2: 3}
    assert [case.name for case in merged.cases] == ["x_c", "x_2_c"]
    assert merged.cases[0].labelled == (1,)
    assert merged.cases[1].labelled is None


def test_masks_of_structures_are_called_by_their_new_values():
    case = Case(name="c", images=("i",), label={"1": "m/liver", "2": "m/kidney"})
    masks = dataset_of("/m", case, name="m", label_names={"background": 0, "liver": 1, "kidney": 2})
    sided = part("/a", {"left kidney": 1, "liver": 3}, "d")
    merged = merge_datasets([sided, masks])
    assert merged.cases[1].label == {"2": "m/m/liver"}
    assert merged.cases[1].values is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file_format": "picture"}, "picture and volume files"),
        ({"label_names": None}, "names no structures"),
        ({"regions": {"a": (1, 2)}}, "labels regions"),
    ],
)
def test_what_cannot_be_merged_is_a_sentence(changes, words):
    fields = {"label_names": {"a": 1}} | changes
    with pytest.raises(UserFault, match=words):
        merge_datasets([part("/a", {"a": 1}, "c"), part("/b", fields.pop("label_names"), "d", **fields)])


def write_parts(folder):
    """A has organ1 and organ2 as 1 and 2, B calls 1 "organ2" and 2 "vessel"."""
    for name, labels in (("A", {"organ1": 1, "organ2": 2}), ("B", {"organ2": 1, "vessel": 2})):
        made = write_nnunet(folder / name, cases=3)
        listing = json.loads((made / "dataset.json").read_text())
        (made / "dataset.json").write_text(json.dumps(listing | {"labels": {"background": 0, **labels}}))
    return folder / "A", folder / "B"


def test_files_are_measured_with_the_merged_values(tmp_path):
    merged = merge_datasets([find_dataset(folder) for folder in write_parts(tmp_path)])
    made = measure_dataset(merged, workers=1)
    assert [sorted(case.labels) for case in made.cases] == [[1, 2]] * 3 + [[2, 3]] * 3
    assert made.summary.labels[2].cases == 6
    label = merged.cases[3].label_below(merged.folder)
    plain = read_classes(label["file"]).voxels
    assert np.array_equal(read_classes(label).voxels, np.select([plain == 1, plain == 2], [2, 3], 0))


def test_a_merged_plan_trains_is_measured_and_found_again(tmp_path):
    from tiny_bundle import TINY, run_bundle

    from preprocess.commands.main import plan

    places = {"plans_dir": str(tmp_path / "plans"), "bundles_dir": str(tmp_path / "bundles")}
    plan(
        *map(str, write_parts(tmp_path)), merge=True, name="both", networks="unet", target="cpu",
        override=[*TINY, "image_size=32", "folds=2"], **places,
    )  # fmt: skip
    bundle = tmp_path / "bundles/unet_both"
    run_bundle("training", bundle)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    content = json.loads((bundle / "eval/validation/metrics.json").read_text())
    outcomes = {
        case["name"]: {row["label"] for row in case["classes"] if row["outcome"] == "unlabelled"}
        for case in content["cases"]
    }
    assert outcomes
    assert all(
        names == ({"vessel"} if case.startswith("a") else {"organ1"}) for case, names in outcomes.items()
    )
    _check_own_labels(bundle, tmp_path)
    before = (tmp_path / "plans/both/splits.json").read_text()
    plan(from_plan=str(tmp_path / "plans/both/plan.json"), **places)
    assert (tmp_path / "plans/both/splits.json").read_text() == before


def _check_own_labels(bundle, folder):
    """B's values are those of A's organ2 and of its own vessel; nothing else is there."""
    from tiny_bundle import read_voxels

    from pgsam_monai.predicting.predict import predict

    scan = folder / "B/imagesTr/case_1_0000.nii.gz"
    (whole,) = predict(bundle, scan, folder / "whole", device="cpu")
    (own,) = predict(bundle, scan, folder / "own", device="cpu", labels_of="b")
    voxels, ours = read_voxels(whole)[0], read_voxels(own)[0]
    assert np.array_equal(ours, np.select([voxels == 2, voxels == 3], [1, 2], 0))
    with pytest.raises(UserFault, match="its data sets are a, b"):
        predict(bundle, scan, folder / "own", labels_of="c")
