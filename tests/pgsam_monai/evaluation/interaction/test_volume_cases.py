"""Clicks in whole volumes by several ways: each case measured once, and kept."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from answering_network import AnsweringNetwork, draw_blocks, make_model

from pgsam_monai.base.errors import UserFault
from pgsam_monai.evaluation.interaction.volume_cases import (
    ANSWERS,
    BRUSH,
    VolumeSettings,
    measure_volume,
    measure_volumes,
)
from pgsam_monai.interactive.segmenter import Segmenter

SETTINGS = VolumeSettings(clicks=(2, 1), tolerance_mm=2.0)


@pytest.fixture
def case(tmp_path):
    image, label = draw_blocks()
    for name, voxels in (("image", image), ("label", label)):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    return {"name": "a", **{name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "label")}}


@pytest.fixture
def segmenters():
    model = make_model(AnsweringNetwork(pool=1))
    return {
        answers: Segmenter(model, background="everything", corrections=way)
        for way, answers in ANSWERS.items()
    }


def test_every_way_answers_on_every_structure_from_the_same_start(segmenters, case):
    found = measure_volume(segmenters, case, SETTINGS)
    assert len(found) == 6 and {one.label for one in found} == {"liver", "spleen"}
    assert {one.answers for one in found} == {*ANSWERS.values(), BRUSH}
    for label in ("liver", "spleen"):
        own = [one for one in found if one.label == label]
        assert len({one.dice[0] for one in own}) == 1 and len({one.nsd[0] for one in own}) == 1
        assert all(len(one.dice) == 3 and one.nsd.keys() == {0, 1, 2} for one in own)


def test_what_was_not_looked_for_is_left_out(segmenters, case):
    found = measure_volume(segmenters, {**case, "labelled": [0, 3]}, SETTINGS)
    assert {one.label for one in found} == {"liver"}


def test_a_case_is_measured_once(segmenters, case, tmp_path):
    said, options = [], {"folder": tmp_path / "kept", "stamp": lambda case: "now"}
    first = measure_volumes(segmenters, [case], SETTINGS, say=said.append, **options)
    assert measure_volumes({}, [case], SETTINGS, say=said.append, **options) == first
    assert said[0].startswith("a: Dice after so many clicks that spread: ") and len(said) == 2
    assert "1 of 1 cases are measured already" in said[1]


def test_a_kept_case_without_surfaces_is_measured_anew_by_its_stamp(segmenters, case, tmp_path):
    options = {"folder": tmp_path, "say": lambda line: None}
    measure_volumes(segmenters, [case], SETTINGS, stamp=lambda case: "format 1", **options)
    content = json.loads((tmp_path / "a.json").read_text())
    for one in content["structures"]:
        del one["nsd"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = measure_volumes(segmenters, [case], SETTINGS, stamp=lambda case: "format 2", **options)
    assert all(one.nsd for one in found)
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserFault, match=r"a\.json' is damaged.*measured again"):
        measure_volumes(segmenters, [case], SETTINGS, stamp=lambda case: "format 1", **options)
