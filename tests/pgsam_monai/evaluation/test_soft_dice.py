"""soft_dice.json grows with the cases, and is whole whenever a run is killed."""

import json
import os

import pytest
import torch
from monai.data import MetaTensor

from pgsam_monai.base.json_files import DamagedFile
from pgsam_monai.evaluation.soft_dice import FILE, KeepSoftDiced, read_soft_dice, write_soft_dice
from pgsam_monai.inference.confidence import KEY

NAMES = ["background", "liver", 'odd "name"']


def item(name, *confidence):
    pred = MetaTensor(torch.zeros(1, 2, 2, 1))
    if confidence:
        pred.meta[KEY] = torch.tensor(confidence)
    return {"name": name, "pred": pred}


def test_a_case_after_the_other(tmp_path):
    keep = KeepSoftDiced("pred", folder=tmp_path, names=NAMES)
    one = item("a", 0.99, 0.5, 0.25)
    assert keep(one)["pred"] is one["pred"]
    KeepSoftDiced("pred", folder=tmp_path, names=NAMES)(item("b", 0.99, float("nan"), 0.75))
    keep(item("a", 0.99, 0.625, 0.25))
    assert read_soft_dice(tmp_path / FILE) == {"a": {"liver": 0.625, NAMES[2]: 0.25}, "b": {NAMES[2]: 0.75}}


def test_inferers_that_tell_nothing_leave_nothing(tmp_path):
    keep = KeepSoftDiced("pred", folder=tmp_path, names=NAMES)
    keep(item("a"))
    assert not (tmp_path / FILE).exists()
    for each in (item("a", 0.99, 0.5, 0.25), item("b", 0.99, 0.5, 0.25), item("a")):  # mirrored, say
        keep(each)
    assert list(read_soft_dice(tmp_path / FILE)) == ["b"]


def test_a_killed_write_loses_nothing(tmp_path, monkeypatch):
    keep = KeepSoftDiced("pred", folder=tmp_path, names=NAMES)
    keep(item("a", 0.99, 0.5, 0.25))

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(item("b", 0.99, 0.5, 0.25))
    assert list(read_soft_dice(tmp_path / FILE)) == ["a"]
    keep(item("b", 0.99, 0.5, 0.25))
    assert list(read_soft_dice(tmp_path / FILE)) == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema_version": 1}', '{"schema_version": 1, "cases": {"a": {"liver": 7}}}',
     '{"schema_version": 1, "cases": [1]}'],
)  # fmt: skip
def test_a_damaged_one_is_a_sentence(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DamagedFile, match="delete it, and measure again"):
        KeepSoftDiced("pred", folder=tmp_path, names=NAMES)(item("a", 0.9, 0.5, 0.25))


def test_no_cases_are_json_too(tmp_path):
    assert read_soft_dice(write_soft_dice(tmp_path / FILE, {})) == {}
    assert json.loads((tmp_path / FILE).read_text())["cases"] == {}
