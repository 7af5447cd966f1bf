"""Files, tables and the picture of measured interaction (Med-SA's Fig. 6)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pgsam_monai.base.files import whole, write_text
from pgsam_monai.evaluation.interaction.measure import (
    EVERYTHING,
    EVERYTHING_THERE,
    InteractionSettings,
    clicks_title,
    prompts_of,
)
from pgsam_monai.evaluation.interaction.scores import (
    OVERALL,
    CaseScores,
    ClicksNeeded,
    ClicksObeyed,
    clicks_needed,
    clicks_obeyed,
    mean_dice,
)

SCHEMA_VERSION = 2
HONESTY = (
    "Clicks and boxes come from a simulated user who sees the reference: every slice that holds a class is prompted "
    "for it, the others are not and count as empty. These numbers tell how the network answers someone who knows the "
    "structure and where it ends, not what it finds by itself; only 'everything' is without any prompt, over the "
    "whole volume, and 'everything on prompted slices' gives it the knowledge of the slices. Classes are asked about "
    "one by one and do not compete. Nothing is post-processed, which `pgsam evaluate` may do. Cases that don't hold a "
    "class are left out of its means."
)
SHORT = {
    EVERYTHING: "everything", EVERYTHING_THERE: "(there)", "3 points": "3 points", "3 points with 1 wrong": "1 wrong",
    "3 points with 2 wrong": "2 wrong", "box 0.5": "box .5", "box 0.75": "box .75", "box": "box",
}  # fmt: skip
"""Heads of the table's columns."""


def write_interaction(
    cases: Sequence[CaseScores], folder: Path, *, settings: InteractionSettings, about: dict[str, object]
) -> tuple[Path, Path]:
    """Write interaction.csv, a line per number, and interaction.json; each renamed into place. Returns both.

    Args:
        cases: measured with the same settings.
        folder: made if missing.
        settings: these.
        about: what else a reader should know: bundle, hash of the weights, …
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "schema_version": SCHEMA_VERSION,
        "prompts_from": HONESTY,
        **about,
        "settings": asdict(settings),
        "dice": [asdict(row) for row in mean_dice(cases)],
        "clicks_needed": [_needed_json(one) for one in clicks_needed(cases)],
        "clicks_obeyed": [_obeyed_json(one) for one in clicks_obeyed(cases)],
        "cases": [case.to_json() for case in cases],
    }
    write_text(folder / "interaction.csv", _csv(cases))
    write_text(folder / "interaction.json", json.dumps(content, indent=1) + "\n")
    return folder / "interaction.csv", folder / "interaction.json"


def _csv(cases: Sequence[CaseScores]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "label", "seed", "prompts", "measure", "value"])
    for case in cases:
        for score in case.scores:
            seed = "" if score.seed is None else score.seed
            writer.writerow([case.name, score.label, seed, score.prompts, "dice", f"{score.dice:.6f}"])
        for one in case.needed:
            most, median = clicks_title(len(one.after)), "" if one.median is None else one.median
            start = [case.name, one.label, one.seed, most]
            writer.writerow([*start, f"median clicks to {one.goal}", median])
            writer.writerow([*start, f"share of slices that reach {one.goal}", f"{one.share:.6f}"])
        for one in case.obeyed:
            for number in range(1, len(one.given) + 1):
                start = [case.name, one.label, one.seed, clicks_title(number)]
                writer.writerow([*start, "share of clicks obeyed", f"{one.share(number):.6f}"])
    return text.getvalue()


def _obeyed_json(one: ClicksObeyed) -> dict[str, object]:
    shares = [one.share(number) for number in range(1, len(one.given) + 1)]
    return {
        "label": one.label,
        "share": one.overall,
        "shares": shares,
        "given": one.given,
        "obeyed": one.obeyed,
    }


def _needed_json(one: ClicksNeeded) -> dict[str, object]:
    return {
        "label": one.label,
        "goal": one.goal,
        "median_clicks": one.median,
        "share_of_slices": one.share,
        "after": one.after,
        "never": one.never,
    }


def format_interaction(cases: Sequence[CaseScores], settings: InteractionSettings) -> str:
    """Three text tables: Dice of every class by prompts, the clicks that slices need, and the clicks obeyed."""
    rows = mean_dice(cases)
    labels = list(dict.fromkeys(row.label for row in rows if row.label != OVERALL)) + [OVERALL]
    dice = {(row.label, row.prompts): f"{row.mean:.3f}" for row in rows}
    clicks = {clicks_title(number): str(number) for number in sorted(settings.clicks)}
    columns = [what for what in prompts_of(settings) if (OVERALL, what) in dice]
    heads = ["class", *((clicks | SHORT)[what] for what in columns)]
    body = [[label, *(dice.get((label, what), "-") for what in columns)] for label in labels]
    title = f"3-D Dice, {len(cases)} case{'s' if len(cases) != 1 else ''}; numbers are clicks per slice"
    needed, obeyed = _format_needed(clicks_needed(cases)), _format_obeyed(clicks_obeyed(cases), settings)
    return "\n".join([title, _table(heads, body), "", needed, "", obeyed])


def _format_needed(needed: Sequence[ClicksNeeded]) -> str:
    goals = sorted({one.goal for one in needed})
    by_place = {(one.label, one.goal): one for one in needed}
    most = len(needed[0].after)
    body = []
    for label in dict.fromkeys(one.label for one in needed):
        found = [by_place[label, goal] for goal in goals]
        cells = [
            (f"> {most}" if one.median is None else str(one.median), f"{100 * one.share:.0f} %")
            for one in found
        ]
        body.append(["all" if label == OVERALL else label, *(cell for pair in cells for cell in pair)])
    heads = ["class", *(head for goal in goals for head in (f"to {goal:.2f}", "reach it"))]
    return f"Clicks that half of the slices need, at most {most}\n{_table(heads, body)}"


def _format_obeyed(obeyed: Sequence[ClicksObeyed], settings: InteractionSettings) -> str:
    numbers = sorted(settings.clicks)
    body = [
        [
            "all" if one.label == OVERALL else one.label,
            *(f"{100 * one.share(number):.0f} %" for number in numbers),
            f"{100 * one.overall:.0f} %",
        ]
        for one in obeyed
    ]
    return f"Clicks so far that the answer obeys\n{_table(['class', *map(str, numbers), 'overall'], body)}"


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [list(heads), *body]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    texts = [
        "  ".join(
            cell.rjust(w) if n else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = "-" * len(texts[0])
    return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])


LEGEND_CLASSES = 12
"""With more classes, single ones aren't named."""
BOXES = {"box": ("tight box", "-"), "box 0.75": ("box of IoU 0.75", "--"), "box 0.5": ("box of IoU 0.5", ":")}
WRONG = ("3 points", "3 points with 1 wrong", "3 points with 2 wrong")


def draw_interaction(cases: Sequence[CaseScores], settings: InteractionSettings, file: str | Path) -> Path:
    """Draw mean Dice against clicks per slice, boxes and everything as lines; beside it 3 points, 0 to 2 of them wrong.

    Thin lines are single classes, bold ones their mean.

    Args:
        cases: measured with these settings.
        settings: give the numbers of clicks.
        file: the PNG, renamed into place when complete.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = mean_dice(cases)
    dice = {(row.label, row.prompts): row.mean for row in rows}
    figure = Figure(figsize=(11.2, 4.6), layout="constrained")
    left, right = FigureCanvasAgg(figure).figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    clicks = sorted(settings.clicks)
    _draw_lines(left, clicks, [clicks_title(number) for number in clicks], dice, named=True)
    for what, (title, style) in BOXES.items():
        left.axhline(
            dice[OVERALL, what], color="0.45", linestyle=style, linewidth=1.2, label=f"{title}, mean"
        )
    if (OVERALL, EVERYTHING) in dice:
        left.axhline(dice[OVERALL, EVERYTHING], color="black", linestyle="-.", label="no prompt, mean")
    left.set_xticks(clicks)
    left.set_xlabel("clicks per slice and class")
    left.set_ylabel("3-D Dice, mean of the cases")
    figure.legend(frameon=False, fontsize="small", loc="outside right upper")
    _draw_lines(right, [0, 1, 2], WRONG, dice, named=False)
    right.set_xticks([0, 1, 2])
    right.set_xlabel("wrong ones of 3 points")
    for axes in (left, right):
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    with whole(file) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return Path(file)


def _draw_lines(axes, places: Sequence[int], prompts: Sequence[str], dice: dict, *, named: bool) -> None:
    labels = [label for label in dict.fromkeys(label for label, _ in dice) if label != OVERALL]
    named = named and len(labels) <= LEGEND_CLASSES
    for number, label in enumerate(labels):
        values = [dice[label, what] for what in prompts]
        style = {"color": f"C{number % 10}", "linewidth": 0.8, "alpha": 0.6, "marker": ".", "markersize": 4}
        axes.plot(places, values, label=label if named else None, **style)
    values = [dice[OVERALL, what] for what in prompts]
    axes.plot(
        places, values, color="black", linewidth=2, marker="o", markersize=5, label="mean of the classes"
    )
