"""Measured interaction as a picture: Dice by clicks, and what wrong prompts cost (Med-SA's Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.base.files import whole
from pgsam_monai.evaluation.interaction.measure import EVERYTHING, InteractionSettings, clicks_title
from pgsam_monai.evaluation.interaction.scores import OVERALL, CaseScores, mean_dice

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
