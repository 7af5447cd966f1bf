"""The numbers of a few-shot curve on disk, a row per run, as CSV, JSON and picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import whole, write_text
from pgsam_monai.base.json_files import made_of, read_json

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished run."""

    network: str
    cases: int
    """training cases; subjects, where several cases show one"""
    seed: int
    dice: float | None
    """of the held-out cases, mean over classes of the classes' means; None where no case defines it"""
    dice_by_class: dict[str, float | None]
    steps: int
    """of the optimiser"""
    wall_s: float
    """of the training process, with its start, the cases it is the first to preprocess, and the last validation"""
    cpu_s: float
    """likewise, of all its threads and data loading workers"""
    resumed: bool
    """the training was interrupted: wall_s and cpu_s are of its last part alone"""


def read_rows(folder: Path) -> list[Row]:
    """Rows of all finished runs in a curve's folder, by cases and seed."""
    found = [read_row(file) for file in folder.glob("cases_*/result.json")]
    return sorted(found, key=lambda row: (row.cases, row.seed))


def read_row(file: Path) -> Row:
    """The row of a finished run."""
    remedy = "delete it, then that run is measured again"
    return made_of(read_json(file, remedy=remedy), lambda content: Row(**content), file=file, remedy=remedy)


def write_results(rows: Sequence[Row], folder: Path) -> None:
    """Write few_shot.csv, with a column of Dice per class, and few_shot.json; each renamed into place."""
    labels = list(dict.fromkeys(label for row in rows for label in row.dice_by_class))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = [f"dice_{label}" for label in labels]
    writer.writerow(["network", "cases", "seed", "dice", *classes, "steps", "wall_s", "cpu_s", "resumed"])
    for row in rows:
        scores = (row.dice, *(row.dice_by_class.get(label) for label in labels))
        cells = ["" if score is None else f"{score:.6f}" for score in scores]
        times = (f"{row.wall_s:.1f}", f"{row.cpu_s:.1f}", row.resumed)
        writer.writerow([row.network, row.cases, row.seed, *cells, row.steps, *times])
    write_text(folder / "few_shot.csv", text.getvalue())
    content = {"schema_version": SCHEMA_VERSION, "runs": [asdict(row) for row in rows]}
    write_text(folder / "few_shot.json", json.dumps(content, indent=1) + "\n")


ASIDE = 1.025
"""Factor between the single points of neighbouring networks, which would hide each other."""
MARGIN = 1.15
"""Factor of the axis beyond the first and the last number of cases."""


Curves = Mapping[str, Sequence[Row]]
"""name -> rows; those without a Dice are left out"""


def draw_curves(curves: Curves, file: str | Path, *, units: str = "cases") -> Path:
    """Draw Dice against the number of training cases: mean line, band of one standard deviation, single runs.

    Args:
        curves: by name.
        file: the PNG, renamed into place when complete.
        units: what the rows count, "cases" or "subjects".

    Raises:
        ValueError: no row has a Dice.
    """
    return draw_panels({"": curves}, file, units=units)


def draw_panels(panels: Mapping[str, Curves], file: str | Path, *, units: str = "cases") -> Path:
    """As `draw_curves`, of several data sets by title, two in a row; a name has one colour in all of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = min(2, len(panels)), -(-len(panels) // 2)
    figure = Figure(figsize=(6.4 * columns, 4.4 * rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = canvas.figure.add_subplot(rows, columns, number)
        axes.set_title(title)
        _draw_panel(axes, curves, colours, units=units)
        if number == 1:
            told = "mean ± standard deviation; dots: single runs"
            axes.legend(frameon=False, title=told, title_fontsize="small")
    with whole(file) as partial:
        figure.savefig(partial, format="png", dpi=150 if len(panels) == 1 else 100)
    return Path(file)


def _draw_panel(axes, curves: Curves, colours: Mapping[str, str], *, units: str) -> None:
    from matplotlib.ticker import NullLocator

    points = {name: by_cases(rows) for name, rows in curves.items()}
    sizes = sorted({cases for scores in points.values() for cases in scores})
    if not sizes:
        raise UserFault("draw_curves: no run has a Dice yet; let at least one finish.")
    for number, (name, scores) in enumerate(points.items()):
        aside = ASIDE ** (number - (len(points) - 1) / 2)
        _draw_curve(axes, name, scores, colour=colours[name], aside=aside)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlim(sizes[0] / MARGIN, sizes[-1] * MARGIN)
    axes.set_xlabel(f"training {units} (logarithmic)")
    axes.set_ylabel("mean Dice of the held-out cases")
    axes.grid(alpha=0.3)


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
