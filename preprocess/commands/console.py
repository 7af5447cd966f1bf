"""What `pgsam-plan` shows: what was found, what is wrong, what was decided and why, and what to type next."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pgsam_monai.base.splits import by_subject
from preprocess.checks import FATAL, Fault
from preprocess.networks.declared import capabilities
from preprocess.planning import Planned
from preprocess.rules import OVERRIDE, Decision
from preprocess.rules.decision import shown_value
from preprocess.splits.records import Splits

SHOWN_VALUE = 44
PIPED_WIDTH = 132
MINOR = frozenset({"poly_power", "schedule_epochs", "pixel_mean", "pixel_std", "ce_weight", "dice_weight"})
"""Decisions left to plan.json and the report."""


def show_planned(planned: Planned) -> None:
    """The decisions with their reasons, times, places and the next command."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print()
    shared = dict(planned.plan.decisions)
    if not any(capabilities(network).texts for network in planned.plan.configurations):
        shared.pop("texts")
    _table(console, "Decisions", shared)
    for network, entries in planned.plan.configurations.items():
        _table(console, f"Decisions for {network}", entries)
    console.print(_splits_line(planned))
    times = planned.times_s
    total = sum(times.values())
    steps = ", ".join(f"{name} {time_s:.2f}" for name, time_s in times.items() if time_s >= 0.005)
    console.print(f"Took {total:.2f} s ({steps}).")
    console.print(
        "\nPlan      ", Text(str(planned.folder.plan), style="bold"), "  (edit, then --from_plan)", sep=""
    )
    console.print(
        "Report    ", Text(str(planned.folder.report), style="bold"), "  (open in a browser)", sep=""
    )
    for bundle in planned.bundles:
        console.print("Bundle    ", Text(str(bundle), style="bold"), sep="")
        texts = bundle / "configs/texts.json"
        if texts.is_file():
            console.print(
                "Texts     ", Text(str(texts), style="bold"), "  (edit, or `pgsam describe`)", sep=""
            )
    console.print("\nNext:")
    for bundle in planned.bundles:
        print(f"  python -m monai.bundle run training --config_file {_config(bundle)}")


def refusal(faults: Sequence[Fault]) -> str:
    """Why no plan was written; the faults themselves were shown before."""
    fatal = [fault for fault in faults if fault.level == FATAL]
    plural = "s" if len(fatal) > 1 else ""
    sentence = f"{len(fatal)} fatal fault{plural}, so no plan was written. Mend the files"
    if all(fault.case for fault in fatal):
        return f"{sentence}, or go on without the faulty cases with --skip_faulty."
    return f"{sentence}: {'; '.join(f'{fault.found} ({fault.remedy})' for fault in fatal if not fault.case)}."


def _table(console: Console, title: str, entries: Mapping[str, Decision]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("decision", no_wrap=True)
    table.add_column("value", overflow="fold", max_width=SHOWN_VALUE)
    table.add_column("reason")
    for name, decision in entries.items():
        if name in MINOR and decision.source != OVERRIDE:
            continue
        style = "bold yellow" if decision.source == OVERRIDE else ""
        value = f"{len(decision.value)} texts" if name == "texts" else shown_value(decision.value)
        table.add_row(name, Text(value, style=style), Text(decision.reason))
    console.print(table)


def _splits_line(planned: Planned) -> str:
    splits = planned.splits
    sizes = _sizes(splits, [fold.training for fold in splits.folds])
    validation = _sizes(splits, [fold.validation for fold in splits.folds])
    line = (
        f"Splits: {len(splits.folds)} fold{'s' if len(splits.folds) > 1 else ''}, each "
        f"{sizes} to train and {validation} to validate on; {len(splits.test)} test cases."
    )
    line += f" Few-shot: {splits.few_shot['spec']}." if splits.few_shot else ""
    wished = (
        planned.plan.decisions["subjects"].source == OVERRIDE
    )  # whose reason tells of the rule's own finding
    return line + (f"\nSubjects: {splits.subjects['reason']}" if splits.subjects and wished else "")


def _sizes(splits: Splits, parts: Sequence[Sequence[str]]) -> str:
    """As in "8 subjects (16 cases)"."""
    cases = f"{_range(sorted({len(part) for part in parts}))} cases"
    if not splits.subjects:
        return cases
    subjects = sorted({len(by_subject(splits.cases, part)) for part in parts})
    return f"{_range(subjects)} subjects ({cases})"


def _range(counts: list[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _config(bundle: Path) -> str:
    import shlex

    return shlex.quote((bundle / "configs/train.json").as_posix())
