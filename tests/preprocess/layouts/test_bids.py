"""BIDS: raw data and derivatives, sessions, runs, several images and labels of a subject."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_builders import OBLIQUE, write_volume

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import read_label
from preprocess.layouts import find_dataset

NOISE = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
MASK = (NOISE > 60).astype(np.uint8)


def write(folder, *files, voxels=NOISE, affine=OBLIQUE):
    for file in files:
        is_label = file.endswith(("dseg.nii.gz", "mask.nii.gz", "msk.nii.gz", "roi.nii.gz"))
        write_volume(folder / file, MASK if is_label else voxels, affine)
    return folder


def scans(sub, *kinds, ses="", below="anat"):
    folder, name = (f"sub-{sub}/ses-{ses}", f"sub-{sub}_ses-{ses}") if ses else (f"sub-{sub}", f"sub-{sub}")
    return [f"{folder}/{below}/{name}_{kind}.nii.gz" for kind in kinds]


def derived(*args, pipeline="manual", **options):
    return [f"derivatives/{pipeline}/{path}" for path in scans(*args, **options)]


@pytest.mark.parametrize(
    ("label", "name"),
    [("dseg", None), ("label-lesion_mask", "lesion"), ("desc-tumor_mask", "tumor"), ("T1w_label-L_roi", "L"),
     ("space-orig_desc-aseg_dseg", None), ("space-MNI152_label-lesion_mask", "lesion")],
)  # fmt: skip
def test_derivatives(tmp_path, label, name):
    for sub in ("01", "02", "A7"):
        write(tmp_path, *scans(sub, "T1w"), *derived(sub, label))
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    dataset = find_dataset(tmp_path)
    assert (dataset.layout, dataset.channel_names) == ("bids", ("T1w",))
    assert [(case.name, case.subject) for case in dataset.cases] == [
        (f"sub-{s}",) * 2 for s in ("01", "02", "A7")
    ]
    assert (
        dataset.cases[0].images == tuple(scans("01", "T1w"))
        and dataset.cases[0].label == derived("01", label)[0]
    )
    assert dataset.label_names == ({"background": 0, name: 1} if name else None)


def test_labels_beside_the_images_and_without_pipeline_folder(tmp_path):
    """As ISLES 2022: derivatives/sub-…, _msk, and FLAIR on another grid."""
    for sub in ("strokecase0001", "strokecase0002"):
        write(tmp_path, *scans(sub, "dwi", "adc", ses="0001", below="dwi"))
        write(tmp_path, *scans(sub, "FLAIR", ses="0001"), voxels=NOISE[:2])
        write(tmp_path, f"derivatives/sub-{sub}/ses-0001/sub-{sub}_ses-0001_msk.nii.gz")
    dataset = find_dataset(tmp_path)
    assert dataset.channel_names == ("adc", "dwi") and len(dataset.cases[0].images) == 2
    assert [case.name for case in dataset.cases] == [
        "sub-strokecase0001_ses-0001",
        "sub-strokecase0002_ses-0001",
    ]
    assert any("FLAIR is no channel: it isn't on the grid" in note for note in dataset.notes)


def test_sessions_and_runs_are_cases_of_one_subject(tmp_path):
    for ses in ("1", "2"):
        write(tmp_path, *scans("01", "T1w", ses=ses), *derived("01", "dseg", ses=ses))
    write(tmp_path, *scans("02", "run-1_T1w", "run-2_T1w", ses="1"))
    write(tmp_path, *derived("02", "run-1_dseg", "run-2_dseg", ses="1"))
    write(tmp_path, *scans("03", "run-01_T1w", ses="1"), *derived("03", "dseg", ses="1"))
    dataset = find_dataset(tmp_path)
    names = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1_run-1", "sub-02_ses-1_run-2", "sub-03_ses-1"]
    assert [case.name for case in dataset.cases] == names
    assert [case.subject for case in dataset.cases] == ["sub-01"] * 2 + ["sub-02"] * 2 + ["sub-03"]
    assert not dataset.images_without_label and not dataset.labels_without_image


def test_kinds_that_all_have_are_channels(tmp_path):
    for sub in ("01", "02", "03"):
        write(tmp_path, *scans(sub, "T1w", "FLAIR", "acq-ax_T2w"), *derived(sub, "dseg"))
    (tmp_path / scans("03", "acq-ax_T2w")[0]).unlink()
    dataset = find_dataset(tmp_path)
    assert dataset.channel_names == ("FLAIR", "T1w")
    assert dataset.cases[2].images == tuple(scans("03", "FLAIR", "T1w"))
    assert "acq-ax_T2w is no channel: not all labelled examinations have it" in dataset.notes


def test_nothing_in_common(tmp_path):
    write(tmp_path, *scans("01", "T1w"), *derived("01", "dseg"), *scans("02", "T2w"), *derived("02", "dseg"))
    with pytest.raises(UserFault, match="common to all 2 labelled examinations .T1w in 1, T2w in 1."):
        find_dataset(tmp_path)


def test_masks_of_several_structures_and_a_brain_mask(tmp_path):
    for sub in ("01", "02"):
        write(
            tmp_path,
            *scans(sub, "T1w"),
            *derived(sub, "label-edema_mask", "label-core_mask", "desc-brain_mask"),
        )
    (tmp_path / derived("02", "label-core_mask")[0]).unlink()
    dataset = find_dataset(tmp_path)
    assert dataset.label_names == {"background": 0, "core": 1, "edema": 2}
    assert dataset.cases[1].label == {"2": derived("02", "label-edema_mask")[0]}
    assert any("left out: desc-brain_mask" in note for note in dataset.notes)
    assert read_label(dataset.cases[0].label_below(tmp_path)).overlaps == ((1, 2, int(MASK.sum())),)


def test_several_segmentations(tmp_path):
    write(tmp_path, *scans("01", "T1w"), *derived("01", "desc-aseg_dseg", "desc-aparc_dseg"))
    with pytest.raises(
        UserFault, match="several kinds of label maps: desc-aparc_dseg, desc-aseg_dseg; leave one"
    ):
        find_dataset(tmp_path)


def test_films_field_maps_and_probabilities_are_no_images(tmp_path):
    for sub in ("01", "02"):
        write(tmp_path, *scans(sub, "T1w"), *derived(sub, "dseg", "label-GM_probseg"))
        write(tmp_path, *scans(sub, "task-rest_bold", below="func"), *scans(sub, "dwi", below="dwi"))
        (tmp_path / f"sub-{sub}/dwi/sub-{sub}_dwi.bval").touch()
    assert find_dataset(tmp_path).channel_names == ("T1w",)


def test_tables(tmp_path):
    for sub in ("01", "02"):
        write(tmp_path, *scans(sub, "T1w"), *derived(sub, "dseg"))
    (tmp_path / "derivatives/manual/dseg.tsv").write_text("index\tname\n0\tbackground\n1\tthalamus\n")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-09\t31\n")
    dataset = find_dataset(tmp_path)
    assert dataset.label_names == {"background": 0, "thalamus": 1}
    assert dataset.notes[-2:] == (
        "1 subjects have images but aren't in participants.tsv (sub-02)",
        "1 subjects have no images, but are in participants.tsv (sub-09)",
    )


@pytest.mark.parametrize("content", [b"", b"a\tb\n1\t2\n", b"\xff\xfe\x00", b"participant_id\n\x00\n"])
def test_damaged_participants(tmp_path, content):
    write(tmp_path, *scans("01", "T1w"), *derived("01", "dseg"))
    (tmp_path / "participants.tsv").write_bytes(content)
    dataset = find_dataset(tmp_path)
    assert len(dataset.cases) == 1 and "participants.tsv" in dataset.notes[-1]


def test_a_subject_without_label_is_told(tmp_path):
    write(tmp_path, *scans("01", "T1w"), *derived("01", "dseg"), *scans("02", "T1w"), *derived("03", "dseg"))
    dataset = find_dataset(tmp_path)
    assert dataset.images_without_label == tuple(scans("02", "T1w"))
    assert dataset.labels_without_image == tuple(derived("03", "dseg"))
