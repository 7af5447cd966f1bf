"""Few-shot curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import whole
from pgsam_monai.evaluation.few_shot_results import Row

ASIDE = 1.025
"""Factor between the single points of neighbouring networks, which would hide each other."""


def draw_curves(curves: Mapping[str, Sequence[Row]], file: str | Path) -> Path:
    """Draw Dice against the number of training cases: mean line, band of one standard deviation, single runs.

    Args:
        curves: name -> rows; rows without a Dice are left out.
        file: the PNG, renamed into place when complete.

    Raises:
        ValueError: no row has a Dice.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    points = {name: by_cases(rows) for name, rows in curves.items()}
    sizes = sorted({cases for scores in points.values() for cases in scores})
    if not sizes:
        raise UserFault("draw_curves: no run has a Dice yet; let at least one finish.")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    for number, (name, scores) in enumerate(points.items()):
        _draw_curve(axes, name, scores, colour=f"C{number}", aside=ASIDE ** (number - (len(points) - 1) / 2))
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("training cases (logarithmic)")
    axes.set_ylabel("mean Dice of the held-out cases")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, title="mean ± standard deviation; dots: single runs", title_fontsize="small")
    with whole(file) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return Path(file)


def by_cases(rows: Sequence[Row]) -> dict[int, list[float]]:
    """Training cases, rising -> the seeds' Dice."""
    scores: dict[int, list[float]] = {}
    for row in sorted(rows, key=lambda row: (row.cases, row.seed)):
        if row.dice is not None:
            scores.setdefault(row.cases, []).append(row.dice)
    return scores


def spread(scores: Sequence[float]) -> float:
    """Standard deviation between seeds, divisor n - 1; 0 of a single one."""
    return stdev(scores) if len(scores) > 1 else 0.0


def _draw_curve(axes, name: str, scores: Mapping[int, Sequence[float]], *, colour: str, aside: float) -> None:
    means = [mean(values) for values in scores.values()]
    spreads = [spread(values) for values in scores.values()]
    low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.fill_between(list(scores), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(list(scores), means, color=colour, marker="o", markersize=5, label=name)
    for cases, values in scores.items():
        axes.plot([cases * aside] * len(values), values, ".", color=colour, alpha=0.6, markersize=4)
