"""The table of what was found."""

from __future__ import annotations

from pgsam_monai.base.cases import IN_THE_IMAGES
from preprocess.layouts.labelled import by_name, looked_for, told
from preprocess.layouts.records import Case, Dataset

_SHOWN_AT_EACH_END = 3


def describe_dataset(dataset: Dataset) -> str:
    """What was found, as plain text: totals, first and last cases, partners that are missing, notes."""
    train = [case for case in dataset.cases if case.group == "train"]
    test = [case for case in dataset.cases if case.group == "test"]
    labelled = sum(case.label is not None for case in test)
    facts = [
        ("data set", dataset.name),
        ("folder", dataset.folder),
        ("layout", f"{dataset.layout} ({dataset.file_format} files)"),
        ("training", f"{len(train)} cases with label"),
        ("test", f"{len(test)} cases, {labelled} with label" if test else "none"),
    ]
    if dataset.channel_names:
        facts.append(("channels", ", ".join(dataset.channel_names)))
    if dataset.label_names:
        facts.append(("labels", ", ".join(f"{value} {name}" for name, value in dataset.label_names.items())))
    if dataset.regions:
        facts.append(("regions", ", ".join(f"{name} {list(v)}" for name, v in dataset.regions.items())))
    if partial := by_name(looked_for(dataset), dataset.label_names):
        facts.append(("partial", f"looked for: {told(partial, len(train))}"))
    lines = [f"{key:<9} {value}" for key, value in facts]
    lines += _case_table(dataset.cases)
    lines += _lone("image without label", dataset.images_without_label)
    lines += _lone("label without image", dataset.labels_without_image)
    lines += [f"note      {note}" for note in dataset.notes]
    return "\n".join(lines)


def _case_table(cases: tuple[Case, ...]) -> list[str]:
    if not cases:
        return []
    shown = list(cases)
    hidden = len(cases) - 2 * _SHOWN_AT_EACH_END
    if hidden > 1:
        shown = [*cases[:_SHOWN_AT_EACH_END], *cases[-_SHOWN_AT_EACH_END:]]
    rows = [(case.name, case.group, _images(case), _label(case)) for case in shown]
    if hidden > 1:
        rows.insert(_SHOWN_AT_EACH_END, ("...", "", f"{hidden} cases more", ""))
    rows.insert(0, ("case", "group", "image", "label"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    padded = [
        [*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]] for row in rows
    ]
    return ["", *("  ".join(row).rstrip() for row in padded), ""]


def _images(case: Case) -> str:
    more = f" (+{len(case.images) - 1})" if len(case.images) > 1 else ""
    return case.images[0] + more


def _label(case: Case) -> str:
    if case.label is None:
        return "-"
    more = f" (+{len(case.label) - 1})" if isinstance(case.label, dict) and len(case.label) > 1 else ""
    return "in the same file" if case.label == IN_THE_IMAGES else f"{case.label_file}{more}"


def _lone(kind: str, paths: tuple[str, ...]) -> list[str]:
    return [f"{kind}: {path}" for path in paths]
