"""benchmarks/zero_shot.py: which slices and cases, its tables by hand, and that a file of weights is measured once."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from small_volumes import write_case

from benchmarks import zero_shot
from pgsam_monai.evaluation.interaction.scores import CaseScores, ClicksObeyed, PromptScore
from pgsam_monai.networks.sam.builders import build_sam

sets, report = sys.modules["prompting.sets"], sys.modules["prompting.report"]
CLICKS = (1, 2, 4)


def measured(name, dice, obeyed, label="liver"):
    """The same Dice for every prompt but for the clicks, which are given; 5 slices, nobody satisfied."""
    prompts = dict(zip(("1 click", "2 clicks", "4 clicks"), dice, strict=True))
    prompts |= dict.fromkeys(report.AT_ONCE, 0.5)
    scores = [
        PromptScore(case=name, label=label, seed=0, prompts=what, slices=5, dice=value)
        for what, value in prompts.items()
    ]
    kept = ClicksObeyed(case=name, label=label, seed=0, given=(5, 10, 15, 20), obeyed=obeyed)
    return CaseScores(name=name, scores=tuple(scores), needed=(), obeyed=(kept,))


@pytest.mark.parametrize(
    "count, expected", [(1, [25]), (3, [21, 25, 28]), (10, list(range(20, 30))), (99, list(range(20, 30)))]
)
def test_slices_are_spread_evenly(count, expected):
    assert sets.spread_over(range(20, 30), count) == expected


def test_other_slices_are_emptied_and_keep_their_numbers():
    label = torch.zeros(1, 3, 2, 9)
    label[0, 1, 1, 2:8] = torch.tensor([1, 2, 1, 2, 1, 2.0])
    image = torch.ones(1, 3, 2, 9)
    kept = sets.KeepSlicesd("label", 2)({"image": image, "label": label.clone()})
    assert kept["label"][0, 1, 1].tolist() == [0, 0, 0, 2, 0, 0, 1, 0, 0] and kept["image"].all()
    assert sets.KeepSlicesd("label", 2, allow_missing_keys=True)({"image": image}).keys() == {"image"}


def test_of_each_patient_the_first_frame_is_measured(tmp_path):
    for patient, late in (("patient001", 12), ("patient002", 8)):
        (tmp_path / "ACDC" / patient).mkdir(parents=True)
        for frame in (1, late):
            for end in ("", "_gt"):
                (tmp_path / f"ACDC/{patient}/{patient}_frame{frame:02d}{end}.nii.gz").touch()
    cases = sets.find_cases(sets.SETS["acdc"], tmp_path)
    assert [case["name"] for case in cases] == ["patient001_frame01", "patient002_frame01"]
    assert cases[1]["label"].endswith("patient002/patient002_frame01_gt.nii.gz")
    with pytest.raises(SystemExit, match="leave synapse out"):
        sets.find_cases(sets.SETS["synapse"], tmp_path)


def test_the_tables():
    rows = {
        "a@256": [
            measured("x", (0.2, 0.5, 0.6), (0, 5, 9, 10)), measured("y", (0.4, 0.5, 0.8), (5, 5, 6, 20)),
        ],
        "b@128": [measured("x", (0.2, 0.2, 0.1), (5, 10, 15, 20))], "nothing@256": [],
    }  # fmt: skip
    assert report.dice_table(rows, CLICKS).splitlines() == [
        "| weights | cases | 1 click | 2 clicks | 4 clicks | 3 points | box 0.5 | box 0.75 | box "
        "| each further click helps |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| a@256 | 2 | 0.300 | 0.500 | 0.700 | 0.500 | 0.500 | 0.500 | 0.500 | yes |",
        "| b@128 | 1 | 0.200 | 0.200 | 0.100 | 0.500 | 0.500 | 0.500 | 0.500 | not 1 → 2, 2 → 4 |",
    ]
    assert report.obeyed_table(rows, CLICKS).splitlines()[2:] == [
        "| a@256 | 2 | 50 % | 50 % | 75 % | 60 % |",  # 5/10, 10/20, 30/40, 60/100
        "| b@128 | 1 | 100 % | 100 % | 100 % | 100 % |",
    ]
    structures = report.structure_table({"a@256": rows["a@256"]}, CLICKS).splitlines()[2:]
    assert structures == [
        "| a@256 | liver | 2 | 0.300 | 0.500 | 0.700 | 0.500 | 0.500 | 0.500 | 0.500 | 60 % |",
        "| a@256 | mean | 2 | 0.300 | 0.500 | 0.700 | 0.500 | 0.500 | 0.500 | 0.500 | 60 % |",
    ]


def test_other_weights_take_away_what_was_measured(tmp_path):
    zero_shot.claim(tmp_path, {"weights_sha256": "a"})
    (tmp_path / "cases").mkdir()
    case = tmp_path / "cases/x.json"
    case.write_text("{}")
    zero_shot.claim(tmp_path, {"weights_sha256": "a"})
    assert case.is_file()
    zero_shot.claim(tmp_path, {"weights_sha256": "b"})
    assert not case.exists() and json.loads((tmp_path / "about.json").read_text()) == {"weights_sha256": "b"}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "run").mkdir()
    file = tmp_path / "run/model.pt"
    parts = build_sam(backbone="vit_tiny", image_size=32, num_classes=3)._asdict()
    torch.save(torch.nn.ModuleDict(parts).state_dict(), file)
    return file


def test_a_file_of_weights_is_measured_at_each_size_and_once(tmp_path, monkeypatch, capsys, weights):
    item = write_case(tmp_path, shape=(20, 18, 5), values=[0, 5])
    words = [
        "zero_shot.py", "--weights", str(weights), "--image_size", "32,48", "--image", item["image"], "--label",
        item["label"], "--structures", "liver=5", "--clicks", "2,1", "--slices_per_case", "2", "--folder",
        str(tmp_path / "out"), "--plane", "axial", "--precision", "fp32",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    zero_shot.main()
    out, err = capsys.readouterr()
    assert "| run_model@32 | 1 |" in out and "| run_model@48 | 1 |" in out
    assert "over at most 2 slices of each case alone" in out and "measured already" not in err
    (file,) = (tmp_path / "out").glob("*/run_model@32_2_slices/cases/*.json")
    scores = CaseScores.from_json(json.loads(file.read_text()))
    assert {one.slices for one in scores.scores} == {2} and scores.obeyed[0].given[0] == 2
    zero_shot.main()
    again = capsys.readouterr()
    assert again.out == out and "1 of 1 cases are measured already" in again.err
    monkeypatch.setattr(sys, "argv", [*words, "--table"])
    zero_shot.main()
    assert capsys.readouterr().out == out
    assert np.isfinite([one.dice for one in scores.scores]).all()
