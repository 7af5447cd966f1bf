from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import OBLIQUE, write_msd, write_volume
from tiny_bundle import plan_tiny

from pgsam_monai.label.training.segment_names import (
    Classes,
    class_named,
    meaning_of,
    read_classes,
    read_study_label,
    segment_values,
)

SYNAPSE = Classes(
    values={"spleen": 1, "Liver": 6, "adrenal glands": 12},
    known=frozenset({1, 6, 12, 13}),
    background=0,
)


def slicer(*names: str) -> dict:
    """What 3D Slicer sends: a number from 1 for each of its segments, the background among them."""
    return {
        "label_info": [{"name": name, "idx": n} for n, name in enumerate(names, start=1)],
        "client_id": "x",
    }


@pytest.mark.parametrize(
    "info, expected",
    [
        ({}, None),
        ({"label_info": []}, None),
        ({"label_info": None, "params": {}}, None),
        ({"label_info": ["spleen"]}, None),
        (slicer("liver", "spleen"), [("liver", 1), ("spleen", 2)]),
        (slicer("background", "liver", "spleen"), [("liver", 1), ("spleen", 2)]),
        (slicer("liver", "Background", "spleen"), [("liver", 1), ("spleen", 2)]),
        (slicer("background_scribbles", "foreground_scribbles", "liver"), [("liver", 1)]),
        ({"label_info": [{"name": "liver", "idx": 6}, {"name": "spleen"}]}, [("liver", 6), ("spleen", 2)]),
        ({"label_info": [{"name": "background", "idx": 0}, {"name": "liver", "idx": 6}]}, [("liver", 6)]),
        ({"model": "m", "params": {"label_names": {"liver": 2, "spleen": 1}}}, [("liver", 2), ("spleen", 1)]),
        ({"params": {"label_names": {"liver": "2"}}}, None),
    ],
)
def test_names_and_values_are_read_as_clients_send_them(info, expected):
    assert segment_values(info) == expected


@pytest.mark.parametrize(
    "name, expected",
    [("Liver", "Liver"), ("liver ", "Liver"), ("SPLEEN", "spleen"), ("lung", None), ("", None)],
)
def test_classes_are_found_whatever_their_capitals(name, expected):
    assert class_named(name, SYNAPSE) == expected


def test_the_exact_name_counts_first_and_a_doubtful_one_not_at_all():
    twice = Classes(values={"ca": 1, "CA": 2}, known=frozenset({1, 2}), background=0)
    assert class_named("CA", twice) == "CA" and class_named("ca", twice) == "ca"
    assert class_named("Ca", twice) is None


def test_what_is_unknown_becomes_background_and_is_told():
    segments = [("liver", 1), ("lung", 2), ("heart", 3), ("spleen", 1)]
    meant, warnings = meaning_of(segments, [0, 1, 2, 5], SYNAPSE, study="s1")
    assert meant == {0: 0, 1: 6, 2: 0, 5: 0}
    lung, shared, nameless = warnings
    assert lung.startswith("Study 's1': its segment 'lung' is left out, the bundle knows only spleen, Liver")
    assert "'liver' and 'spleen' share the value 1" in shared and "[5]" in nameless
    assert "heart" not in "".join(warnings), "a segment without voxels is nobody's loss"


def voxels(*values: int) -> np.ndarray:
    label = np.zeros((4, 3, 2), np.uint8)
    label.ravel()[: len(values)] = values
    return label


def read(tmp_path, label, info, classes=SYNAPSE, suffix=".nii.gz"):
    file = tmp_path / f"labels/final/s1{suffix}"
    if not file.exists():
        write_volume(file, label)
    before = file.read_bytes()
    found = read_study_label(file, info, classes, study="s1", folder=tmp_path / "copies")
    assert file.read_bytes() == before
    return file, found


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_copy_has_the_data_sets_values_on_the_labels_own_grid(tmp_path, suffix):
    from pgsam_monai.base.volume import read_label_file

    label = voxels(1, 2, 2, 3)
    file, found = read(tmp_path, label, slicer("liver", "adrenal GLANDS", "lung"), suffix=suffix)
    assert found.file != file and found.classes == {6, 12} and len(found.warnings) == 1
    copied, affine = read_label_file(found.file)
    assert np.array_equal(copied, voxels(6, 12, 12, 0))
    assert np.allclose(affine, OBLIQUE, atol=1e-4)


def test_without_need_the_file_itself_trains(tmp_path):
    file, found = read(tmp_path, voxels(1), slicer("spleen", "lung"))
    assert (found.file, found.classes, found.warnings) == (file, {1}, ())
    assert not (tmp_path / "copies").exists()


def test_without_names_values_are_the_data_sets(tmp_path):
    file, found = read(tmp_path, voxels(1, 6, 13), {})
    assert (found.file, found.classes, found.warnings) == (file, {1, 6, 13}, ())


def test_without_names_unknown_values_are_told(tmp_path):
    file, found = read(tmp_path, voxels(1, 2, 7), {"ts": 1})
    assert found.file == file and found.classes == {1}
    (sentence,) = found.warnings
    assert "its values [2, 7] are left out, the bundle knows [1, 6, 12, 13]" in sentence


def test_a_label_saved_anew_has_its_copy_at_the_same_place(tmp_path):
    file, first = read(tmp_path, voxels(1), slicer("liver"))
    again = read_study_label(file, slicer("adrenal glands"), SYNAPSE, study="s1", folder=tmp_path / "copies")
    assert again.file == first.file
    assert np.unique(np.asarray(nib.load(again.file).dataobj)).tolist() == [0, 12]
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [first.file.name]


def test_the_background_may_be_another_value(tmp_path):
    inverse = Classes(values={"disc": 128, "cup": 0}, known=frozenset({0, 128}), background=255)
    _, found = read(tmp_path, voxels(1, 2), slicer("cup", "disc"), inverse)
    assert found.classes == {0, 128}
    copied = np.asarray(nib.load(found.file).dataobj)
    assert copied.ravel()[:3].tolist() == [0, 128, 255] and np.all(copied.ravel()[2:] == 255)


def test_values_beyond_a_byte_are_kept(tmp_path):
    large = Classes(values={"plaque": 420}, known=frozenset({420}), background=0)
    _, found = read(tmp_path, voxels(1), slicer("plaque"), large)
    assert np.asarray(nib.load(found.file).dataobj).max() == 420


def test_classes_of_a_bundle(tmp_path):
    folder = write_msd(tmp_path / "Task02_Heart", cases=5, values=(0, 5, 205))
    found = read_classes(plan_tiny(folder, tmp_path, networks="samed"))
    assert list(found.values.values()) == [5, 205]
    assert (found.known, found.background) == ({5, 205}, 0)
