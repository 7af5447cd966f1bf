"""Tables and files of clicks in whole volumes."""

from __future__ import annotations

import csv
import json

from pgsam_monai.evaluation.interaction.volume_cases import ANSWERS, BRUSH, VolumeSettings
from pgsam_monai.evaluation.interaction.volume_results import format_volumes, write_volumes
from pgsam_monai.evaluation.interaction.whole_volume import ClickedStructure

SETTINGS = VolumeSettings(clicks=(2, 1), tolerance_mm=1.5)
SPREAD, ASKED = ANSWERS.values()


def clicked(answers, label, *dice):
    return ClickedStructure(
        case="a", label=label, answers=answers, dice=dice, seconds=(2.0, 0.5), obeyed=1, clicks=2,
        nsd={number: each / 2 for number, each in enumerate(dice)},
    )  # fmt: skip


FOUND = [
    clicked(SPREAD, "liver", 0.5, 0.7, 0.9), clicked(BRUSH, "liver", 0.5, 0.5, 0.5),
    clicked(SPREAD, "spleen", 0.1, 0.3, 0.5), clicked(BRUSH, "spleen", 0.1, 0.1, 0.1),
]  # fmt: skip
BOTH = [*FOUND, clicked(ASKED, "liver", 0.5, 0.6, 0.6), clicked(ASKED, "spleen", 0.1, 0.6, 0.6)]


def test_one_way_needs_no_name_in_the_table():
    lines = format_volumes(FOUND, SETTINGS).splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["class", "0", "1", "2", "AUC"], ["liver", "0.500", "0.700", "0.900", "0.700"],
        ["spleen", "0.100", "0.300", "0.500", "0.300"], ["mean", "0.300", "0.500", "0.700", "0.500"],
    ]  # fmt: skip
    assert lines[5].split() == [*BRUSH.split(), "0.300", "0.300", "0.300", "0.300"]
    assert lines[6] == "Surface Dice at 1.5 mm" and lines[7].split() == ["class", "0", "1", "2"]
    assert lines[8].split() == ["liver", "0.250", "0.350", "0.450"] and lines[11].startswith(BRUSH)
    assert lines[12] == (
        "Clicks that spread: clicks to Dice 0.8: 2 (median), reached by 1 of 2; 0.9: 2 (median), reached by 1 "
        "of 2; 0.95: not by half of them, reached by 0 of 2"
    )
    assert lines[13].endswith("(medians). Obeyed by the last answer: 2 of 4 clicks.") and len(lines) == 14


def test_both_ways_stand_under_their_names():
    lines = format_volumes(BOTH, SETTINGS).splitlines()
    assert lines[2] == SPREAD and lines[6] == ASKED and lines[10].startswith(BRUSH)
    assert lines[9].split() == ["mean", "0.300", "0.600", "0.600", "0.525"]
    assert sum(line.startswith("Seconds: ") for line in lines) == 2


def test_files_hold_both_scores(tmp_path):
    table = write_volumes(BOTH, SETTINGS, tmp_path, {"bundle": "medsa_pair"})
    with table.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["case", "label", "answers", "clicks", "dice", "nsd"] and len(rows) == 1 + 6 * 3
    assert rows[3] == ["a", "liver", SPREAD, "2", "0.900000", "0.450000"]
    content = json.loads((tmp_path / "volume_clicks.json").read_text())
    assert content["bundle"] == "medsa_pair" and content["tolerance_mm"] == 1.5
    assert content["structures"][0]["nsd"] == {"0": 0.25, "1": 0.35, "2": 0.45}
