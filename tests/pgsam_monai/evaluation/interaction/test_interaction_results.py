"""What measured interaction comes to: means, medians, files, tables, the figure."""

from __future__ import annotations

import csv
import json

import pytest

from pgsam_monai.evaluation.interaction.measure import InteractionSettings, prompts_of
from pgsam_monai.evaluation.interaction.results import draw_interaction, format_interaction, write_interaction
from pgsam_monai.evaluation.interaction.scores import (
    CaseScores,
    ClicksNeeded,
    ClicksObeyed,
    PromptScore,
    clicks_needed,
    clicks_obeyed,
    mean_dice,
)

SETTINGS = InteractionSettings(clicks=(1, 3), seeds=(0, 1))


def score(case, label, prompts, dice, seed=0):
    return PromptScore(case=case, label=label, seed=seed, prompts=prompts, slices=4, dice=dice)


def needed(case, label, after, never, goal=0.8):
    return ClicksNeeded(case=case, label=label, seed=0, goal=goal, after=after, never=never)


def obeyed(case, label, given, held):
    return ClicksObeyed(case=case, label=label, seed=0, given=given, obeyed=held)


def made(name, dice, labels=("liver", "spleen")):
    """All prompts with the same Dice; the first label's slices need few clicks, the others' many."""
    rows = tuple(
        score(name, label, prompts, dice, seed)
        for prompts in prompts_of(SETTINGS)
        for label in labels
        for seed in (0, 1)
    )
    wanted = tuple(
        needed(name, label, (3, 1, 0) if label == "liver" else (0, 1, 1), 0 if label == "liver" else 3, goal)
        for label in labels
        for goal in (0.8, 0.9)
    )
    kept = tuple(
        obeyed(name, label, (4, 7, 9), (4, 5, 6) if label == "liver" else (0, 1, 3)) for label in labels
    )
    return CaseScores(name=name, scores=rows, needed=wanted, obeyed=kept)


def test_means_are_over_cases_then_over_classes():
    cases = [
        CaseScores(name="a", needed=(), obeyed=(), scores=(
            score("a", "liver", "box", 0.8, 0), score("a", "liver", "box", 0.6, 1), score("a", "spleen", "box", 0.3),
        )),
        CaseScores(name="b", needed=(), obeyed=(), scores=(score("b", "liver", "box", 0.9),)),
    ]  # fmt: skip
    rows = {row.label: row for row in mean_dice(cases)}
    assert rows["liver"].mean == pytest.approx(0.8) and rows["liver"].cases == 2
    assert rows["liver"].std == pytest.approx(0.2 / 2**0.5)
    assert rows["spleen"].mean == pytest.approx(0.3) and rows["spleen"].std is None
    assert rows["mean"].mean == pytest.approx(0.55)  # of 0.8 and 0.3
    assert rows["mean"].std == pytest.approx(0.4 / 2**0.5)  # of cases: 0.5 and 0.9
    with pytest.raises(ValueError, match="none of the cases holds"):
        mean_dice([CaseScores(name="a", scores=(), needed=(), obeyed=())])


@pytest.mark.parametrize(
    "after, never, median, share",
    [((3, 1, 0), 0, 1, 1), ((1, 1, 1), 1, 2, 0.75), ((0, 0, 1), 1, 3, 0.5), ((1, 0, 0), 2, None, 1 / 3),
     ((0, 0), 4, None, 0)],
)  # fmt: skip
def test_slices_that_never_reach_the_goal_count_in_the_median(after, never, median, share):
    one = needed("a", "liver", after, never)
    assert one.median == median and one.share == pytest.approx(share)


def test_clicks_are_pooled_over_cases_and_classes():
    cases = [made("a", 0.5), made("b", 0.7)]
    rows = {(row.label, row.goal): row for row in clicks_needed(cases)}
    assert rows["liver", 0.8].after == (6, 2, 0) and rows["spleen", 0.9].never == 6
    assert rows["mean", 0.8].after == (6, 4, 2) and rows["mean", 0.8].never == 6


def test_obeyed_clicks_are_pooled_over_cases_and_classes():
    one = obeyed("a", "liver", (4, 7, 9), (4, 5, 6))
    assert [one.share(number) for number in (1, 2, 3)] == [1, 5 / 7, 6 / 9]
    assert one.overall == 15 / 20
    rows = {row.label: row for row in clicks_obeyed([made("a", 0.5), made("b", 0.7, labels=("liver",))])}
    assert rows["liver"].given == (8, 14, 18) and rows["liver"].obeyed == (8, 10, 12)
    assert rows["spleen"].given == (4, 7, 9) and rows["spleen"].obeyed == (0, 1, 3)
    assert rows["mean"].given == (12, 21, 27) and rows["mean"].obeyed == (8, 11, 15)
    assert clicks_obeyed([]) == []


def test_files_hold_every_number_and_say_where_prompts_come_from(tmp_path):
    cases = [made("a", 0.5), made("b", 0.7, labels=("liver",))]
    table, record = write_interaction(
        cases, tmp_path / "eval", settings=SETTINGS, about={"bundle": "medsa_pair"}
    )
    content = json.loads(record.read_text())
    assert "simulated user who sees the reference" in content["prompts_from"]
    assert content["bundle"] == "medsa_pair" and content["settings"]["clicks"] == [1, 3]
    assert {
        "label": "liver",
        "prompts": "box",
        "mean": 0.6,
        "std": pytest.approx(0.2 / 2**0.5),
        "cases": 2,
    } in content["dice"]
    assert content["clicks_needed"][0] == {
        "label": "liver", "goal": 0.8, "median_clicks": 1, "share_of_slices": 1, "after": [6, 2, 0], "never": 0,
    }  # fmt: skip
    assert content["clicks_obeyed"][0] == {
        "label": "liver", "share": 0.75, "shares": [1, 5 / 7, 6 / 9], "given": [8, 14, 18], "obeyed": [8, 10, 12],
    }  # fmt: skip
    assert [CaseScores.from_json(one) for one in content["cases"]] == cases
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * len(prompts_of(SETTINGS)) + 3 * 2 * 2 + 3 * 3
    assert ["b", "liver", "0", "2 clicks", "share of clicks obeyed", "0.714286"] in [
        list(row.values()) for row in rows
    ]
    assert list(rows[0].values()) == ["a", "liver", "0", "everything", "dice", "0.500000"]
    assert {row["measure"] for row in rows if row["prompts"] == "3 clicks"} >= {
        "dice",
        "median clicks to 0.8",
    }
    assert not list(tmp_path.rglob("*.partial"))


def test_the_table_has_a_row_per_class_and_their_mean():
    text = format_interaction([made("a", 0.5), made("b", 0.7)], SETTINGS)
    lines = text.splitlines()
    assert lines[0] == "3-D Dice, 2 cases; numbers are clicks per slice"
    assert lines[1].split()[:5] == ["class", "everything", "(there)", "1", "3"]
    assert [line.split()[0] for line in lines[3:5]] == ["liver", "spleen"] and lines[6].startswith("mean")
    assert "0.600" in lines[3] and "> 3" in text and "40 %" in text
    assert "Clicks so far that the answer obeys" in lines
    assert lines[-3].split() == ["spleen", "0", "%", "33", "%", "20", "%"]
    assert lines[-1].split() == ["all", "50", "%", "50", "%", "48", "%"]  # (4 + 0) / 8, (6 + 3) / 18, 19 / 40


def test_the_figure_is_drawn_with_and_without_everything(tmp_path):
    cases = [made("a", 0.5), made("b", 0.7, labels=("liver",))]
    prompted = [
        CaseScores(
            name=one.name,
            needed=one.needed,
            obeyed=one.obeyed,
            scores=tuple(s for s in one.scores if "every" not in s.prompts),
        )  # fmt: skip
        for one in cases
    ]
    for number, some in enumerate((cases, prompted)):
        file = draw_interaction(some, SETTINGS, tmp_path / f"{number}.png")
        assert file.read_bytes().startswith(b"\x89PNG")
    assert "everything" not in format_interaction(prompted, SETTINGS)
