"""Puts facts, faults, pictures and decisions together and fills the page's template."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.labels import values_of
from pgsam_monai.base.splits import by_subject
from preprocess.networks.declared import capabilities
from preprocess.plan.records import Plan
from preprocess.report.charts import intensity_charts
from preprocess.report.thumbnails import colour_of, make_thumbnails
from preprocess.rules import collect_evidence
from preprocess.rules.decision import shown_value
from preprocess.rules.slices import LARGE_SIZE, LOW_RES_STRIDE, MIN_SPAN, SMALL_SIZE, structure_spans
from preprocess.splits.records import Splits

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent
MAX_CASE_ROWS = 400


def make_report(plan: Plan, splits: Splits, measured: Any | None) -> str:
    """The whole page as HTML.

    Args:
        plan, splits: what was decided.
        measured: `planning.Measured`: data set, fingerprint, faults; None for a recipe without data.
    """
    context = {
        "plan": plan,
        "splits": splits,
        "legend": _legend(plan),
        "texts": _texts(plan),
        "decision_tables": _decision_tables(plan),
        "folds": splits.folds,
        "faults": _faults(measured),
        "tiles": _tiles(plan, splits, measured),
        "sizes": _shown_sizes(plan),
        "min_span": MIN_SPAN,
        "stride": LOW_RES_STRIDE,
    }
    context |= _facts_of(plan, measured)
    return _template().render(context)


@functools.cache
def _template() -> Template:
    """Compiled once: that is a third of the work of planning a small data set."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = shown_value
    return environment.get_template("report.html.j2")


def _facts_of(plan: Plan, measured: Any | None) -> dict[str, Any]:
    if measured is None:
        return {
            "thumbnails": (),
            "frame_ratio": 1.0,
            "charts": (),
            "structures": (),
            "cases": (),
            "hidden_cases": 0,
            "span_limit": 1.0,
        }
    values = {name: decision.value for name, decision in plan.decisions.items()}
    cases = measured.fingerprint.cases
    structures = _structures(plan, measured)
    thumbnails = make_thumbnails(measured.dataset, cases, values)
    widest = max([span for row in structures for span in row["spans"]], default=1.0)
    return {
        "thumbnails": thumbnails,
        "frame_ratio": _frame_ratio(thumbnails),
        "charts": intensity_charts(cases, plan.dataset["channels"], values["intensity"]),
        "structures": structures,
        "span_limit": max(widest, 2 * MIN_SPAN),
        "cases": [_case_row(case) for case in cases[:MAX_CASE_ROWS]],
        "hidden_cases": max(0, len(cases) - MAX_CASE_ROWS),
    }


def _frame_ratio(thumbnails: Sequence[Any]) -> float:
    """Width by height of the frame that holds all pictures without much black."""
    ratios = [picture.width / picture.height for picture in thumbnails]
    return round(min(max(min(ratios, default=1.0), 0.8), 1.6), 3)


def _shown_sizes(plan: Plan) -> tuple[int, int]:
    """Input sides in pixels between which the plan had the choice, the smaller first."""
    planned = [
        entries["image_size"].value for entries in plan.configurations.values() if "image_size" in entries
    ]
    least = min(planned, default=SMALL_SIZE)
    return (least, SMALL_SIZE) if least < SMALL_SIZE else (SMALL_SIZE, LARGE_SIZE)


def _structures(plan: Plan, measured: Any) -> list[dict[str, Any]]:
    """One row per foreground label: its sizes, and its spans in the low-resolution mask at `_shown_sizes`."""
    from preprocess.rules import Machine

    machine = Machine(target="cpu", memory_gb=1, target_reason="", memory_reason="")
    evidence = collect_evidence(measured.fingerprint, measured.dataset, machine=machine)
    axis, labels, names = plan.value("slice_axis"), plan.value("labels"), plan.value("label_names")
    spans = [structure_spans(evidence, slice_axis=axis, image_size=size) for size in _shown_sizes(plan)]
    rows = []
    for index, value in ((n, value) for n, entry in enumerate(labels) if n for value in values_of(entry)):
        facts = evidence.labels.get(value)
        if facts is None or value not in spans[0]:
            continue
        rows.append(
            {
                "name": names[index],
                "value": value,
                "colour": colour_of(index),
                "facts": facts,
                "looked_for": evidence.looked_for.get(value),
                "in_plane_mm": facts.in_plane_mm[axis][0],
                "share": facts.slices.get(axis, 0.0),
                "spans": (spans[0][value], spans[1][value]),
            }
        )
    return rows


def _legend(plan: Plan) -> list[tuple[str, str]]:
    names = plan.value("label_names")
    return [(colour_of(index), name) for index, name in enumerate(names) if index]


def _texts(plan: Plan) -> list[tuple[str, list[str]]]:
    """Structure and its texts, where a network of the plan reads them."""
    if not any(capabilities(network).texts for network in plan.configurations):
        return []
    texts = plan.value("texts")
    several = {name: text if isinstance(text, list) else [text] for name, text in texts.items()}
    return [(name, several[name]) for name in plan.value("label_names")]


def _decision_tables(plan: Plan) -> list[tuple[str, Mapping[str, Any]]]:
    own = [(f"For the network {network}", entries) for network, entries in plan.configurations.items()]
    shared = {name: decision for name, decision in plan.decisions.items() if name != "texts"}
    return [("For every network", shared), *own]


def _faults(measured: Any | None) -> list[Any]:
    order = {"fatal": 0, "warning": 1, "mended": 2}
    faults: Sequence[Any] = measured.faults if measured else ()
    return sorted(faults, key=lambda fault: order[fault.level])


def _tiles(plan: Plan, splits: Splits, measured: Any | None) -> list[tuple[str, str]]:
    tiles = [("Cases", str(plan.dataset["num_cases"])), ("Structures", str(len(plan.value("labels")) - 1))]
    if splits.subjects:
        tiles.insert(1, ("Subjects", str(len(by_subject(splits.cases, splits.cases)))))
    if measured is not None and measured.fingerprint.summary.num_cases:
        summary = measured.fingerprint.summary
        tiles.append(("Median shape", " × ".join(f"{n:.0f}" for n in summary.shape.median)))
        tiles.append(("Median spacing, mm", " × ".join(f"{mm:.3g}" for mm in summary.spacing.median)))
    tiles.append(("Modality", plan.value("modality")))
    for network, entries in plan.configurations.items():
        backbone = f"{entries['backbone'].value} at " if "backbone" in entries else ""
        size = entries["patch"].value if "patch" in entries else [entries["image_size"].value]
        tiles.append((network, backbone + " × ".join(map(str, size))))
    tiles.append(("Folds", str(len(splits.folds))))
    return tiles


def _case_row(case: Any) -> dict[str, Any]:
    return {
        "name": case.name,
        "group": case.group,
        "shape": " × ".join(str(n) for n in case.shape),
        "spacing": " × ".join(f"{mm:.3g}" for mm in case.spacing),
        "orientation": case.orientation or "none",
        "dtype": case.dtype,
        "labels": ", ".join(str(value) for value in sorted(case.labels)) or "none",
        "labelled": None if case.labelled is None else ", ".join(map(str, case.labelled)),
        "error": case.error,
    }
