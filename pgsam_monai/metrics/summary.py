"""Means over cases with their uncertainty, and the files and tables that hold them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.metrics.cases import MM, PAPERS, PROTOCOLS, CaseMetrics, ClassMetrics

METRICS = ("dice", "hd95", "nsd")
OVERALL = "mean"
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one class over all cases."""

    label: str
    """class name, or "mean" for the mean over classes"""
    metric: str
    mean: float
    std: float
    """between cases, divisor n - 1; for "mean" between the cases' means over classes; NaN below two cases"""
    n: int
    """cases that have a value"""
    low: float
    """lower end of the 95 % interval; NaN below two cases, or two subjects"""
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All scores of one evaluation."""

    protocol: str
    tolerance_mm: float
    cases: int
    scores: tuple[Score, ...]
    outcomes: dict[str, dict[str, int]]
    """cases by class and by outcome: found, missed, spurious, absent, unlabelled"""

    def score(self, label: str, metric: str) -> Score:
        return next(s for s in self.scores if (s.label, s.metric) == (label, metric))


def summarise(
    rows: Sequence[CaseMetrics], seed: int = 0, *, subjects: Sequence[Hashable] | None = None
) -> Summary:
    """Fold the cases' metrics.

    A class's mean is over the cases that have a value. The overall mean is the mean of the classes' means,
    as in the papers. The 95 % interval is a percentile bootstrap over cases (2000 resamples, `seed`), all
    classes of a case drawn together; where `subjects` says whom each case shows, over subjects, all cases of one
    drawn together, for they resemble each other. Raises ValueError for no rows or rows of unlike protocols or classes.
    """
    if not rows:
        raise UserFault("summarise: no cases were evaluated.")
    kinds = {(row.protocol, row.tolerance_mm, tuple(c.label for c in row.classes)) for row in rows}
    if len(kinds) > 1:
        raise UserFault(f"summarise: cases differ in protocol, tolerance or classes: {sorted(kinds)}.")
    protocol, tolerance_mm, labels = kinds.pop()
    units = np.arange(len(rows)) if subjects is None else _numbered(subjects)
    draws = _draws(units, seed)
    scores = []
    for metric in METRICS:
        values = np.array([[getattr(c, metric) for c in row.classes] for row in rows])  # (N, K)
        scores += _scores(metric, labels, values, draws, units)
    outcomes = {
        label: dict(Counter(row.classes[index].outcome for row in rows)) for index, label in enumerate(labels)
    }
    return Summary(
        protocol=protocol, tolerance_mm=tolerance_mm, cases=len(rows), scores=tuple(scores), outcomes=outcomes
    )


def _numbered(subjects: Sequence[Hashable]) -> np.ndarray:
    """(N,) a number from 0 for each case's subject, in the order in which they first come."""
    places: dict[Hashable, int] = {}
    return np.array([places.setdefault(subject, len(places)) for subject in subjects])


def _draws(units: np.ndarray, seed: int) -> np.ndarray:
    """(R, N) times that each case is drawn, with all cases of its unit."""
    number = units.max() + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
    return drawn[:, units]


def _scores(
    metric: str, labels: Sequence[str], values: np.ndarray, draws: np.ndarray, units: np.ndarray
) -> list[Score]:
    means = _mean(values, np.ones((1, len(values))))[0]  # (K,)
    resampled = _mean(values, draws)  # (R, K)
    columns = [
        *((label, values[:, index], means[index], resampled[:, index]) for index, label in enumerate(labels))
    ]
    by_case = _row_means(values)
    columns.append((OVERALL, by_case, _row_means(means[None])[0], _row_means(resampled)))
    scores = []
    for label, cases, mean, samples in columns:
        measured = np.isfinite(cases)
        cases, samples = cases[measured], samples[np.isfinite(samples)]
        several = len(set(units[measured])) > 1
        low, high = np.percentile(samples, (2.5, 97.5)) if several else (math.nan, math.nan)
        std = float(cases.std(ddof=1)) if len(cases) > 1 else math.nan
        scores.append(
            Score(
                label=label,
                metric=metric,
                mean=float(mean),
                std=std,
                n=len(cases),
                low=float(low),
                high=float(high),
            )
        )
    return scores


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, K) weighted means over cases of `values` (N, K) by `weights` (R, N); NaN values are left out."""
    valid = np.isfinite(values)
    total, count = weights @ np.where(valid, values, 0.0), weights @ valid.astype(float)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _row_means(values: np.ndarray) -> np.ndarray:
    return _mean(values.T, np.ones((1, values.shape[1])))[0]


def write_metrics(
    rows: Sequence[CaseMetrics], summary: Summary, folder: str | Path, *,
    about: Mapping[str, Sequence[Any]] | None = None, papers: tuple[Sequence[CaseMetrics], Summary] | None = None,
) -> tuple[Path, Path]:  # fmt: skip
    """Write `metrics.csv` (one line per case and class) and `metrics.json` (cases and summary) into `folder`.

    `summary` is that of the rows; `about` has further columns after the case's name, with a value for each row. Each
    file is renamed into place when complete. NaN is empty in the CSV and null in the JSON. Returns both paths.

    `papers`: the cases and their summary by the papers' protocol, for an entry "papers" of the JSON and
    `metrics_papers.csv`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = about or {}
    told = [{name: values[place] for name, values in about.items()} for place in range(len(rows))]
    content = {"schema_version": 1, **_content(rows, summary, told)}
    theirs = folder / f"metrics_{PAPERS}.csv"
    if papers is None:
        theirs.unlink(missing_ok=True)  # of an earlier measurement
    else:
        write_text(theirs, _table(papers[0], [{}] * len(papers[0])))
        content[PAPERS] = _content(*papers, [{}] * len(papers[0]))
    json_text = json.dumps(finite_or_none(content), indent=1, allow_nan=False) + "\n"
    table = write_text(folder / "metrics.csv", _table(rows, told))
    return table, write_text(folder / "metrics.json", json_text)


def _table(rows: Sequence[CaseMetrics], told: Sequence[Mapping[str, Any]]) -> str:
    """As CSV, a line per case and class; `told` has further columns of each case."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(asdict(rows[0].classes[0]))
    writer.writerow(["case", *told[0], *columns])
    for row, more in zip(rows, told, strict=True):
        for record in row.classes:
            cells = (getattr(record, column) for column in columns)
            writer.writerow([row.name, *more.values(), *("" if cell != cell else cell for cell in cells)])
    return text.getvalue()


def _content(
    rows: Sequence[CaseMetrics], summary: Summary, told: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "protocol": summary.protocol,
        "title": PROTOCOLS[summary.protocol],
        "tolerance_mm": summary.tolerance_mm,
        "hd95_unit": hd95_unit(summary.protocol),
        "summary": [asdict(score) for score in summary.scores],
        "outcomes": summary.outcomes,
        "cases": [
            {"name": row.name, **more, "classes": [asdict(record) for record in row.classes]}
            for row, more in zip(rows, told, strict=True)
        ],
    }


def read_metrics(file: str | Path) -> list[CaseMetrics]:
    """The cases of a `metrics.json`, null as NaN.

    Raises:
        MissingFile, DamagedFile: as `read_json`.
    """
    remedy = "measure these cases again"

    def rows(content: Mapping[str, Any]) -> list[CaseMetrics]:
        common = {name: content[name] for name in ("protocol", "tolerance_mm")}
        return [
            CaseMetrics(name=case["name"], classes=tuple(map(_class_metrics, case["classes"])), **common)
            for case in content["cases"]
        ]

    return made_of(read_json(file, remedy=remedy), rows, file=file, remedy=remedy)


def _class_metrics(record: Mapping[str, Any]) -> ClassMetrics:
    return ClassMetrics(**{name: math.nan if value is None else value for name, value in record.items()})


def hd95_unit(protocol: str) -> str:
    return "mm" if protocol == MM else "voxels"


def finite_or_none(value: Any) -> Any:
    """The same with None for numbers that JSON doesn't know."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_table(summary: Summary) -> str:
    """The summary as a text table, one line per class and one for their mean."""
    unit = hd95_unit(summary.protocol)
    surface = summary.protocol == MM
    header = ["class", "Dice", "95 % interval", f"HD95 {unit}", "cases", "missed", "spurious"]
    if surface:
        header.insert(4, f"NSD {summary.tolerance_mm:g} mm")
    kinds = ["missed", "spurious"]
    if any("unlabelled" in counts for counts in summary.outcomes.values()):
        kinds.append("unlabelled")
        header.append("unlabelled")
    lines = [header]
    for label in [*summary.outcomes, OVERALL]:
        dice, hd95, nsd = (summary.score(label, metric) for metric in METRICS)
        outcomes = [summary.outcomes[label]] if label in summary.outcomes else list(summary.outcomes.values())
        counts = [str(sum(o.get(kind, 0) for o in outcomes)) for kind in kinds]
        line = [
            label,
            _number(dice.mean, 3),
            f"{_number(dice.low, 3)} to {_number(dice.high, 3)}",
            _number(hd95.mean, 1),
        ]
        lines.append([*line, *([_number(nsd.mean, 3)] if surface else []), str(dice.n), *counts])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = "-" * len(texts[0])
    title = f"{PROTOCOLS[summary.protocol]}, {summary.cases} cases"
    return "\n".join([title, texts[0], rule, *texts[1:-1], rule, texts[-1]])


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
