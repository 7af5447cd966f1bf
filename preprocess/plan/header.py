"""plan.json's entry "dataset": what was planned for, and how it is found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preprocess.layouts import Dataset, by_name, find_dataset, looked_for, merge_datasets


def dataset_header(
    dataset: Dataset, *, channels: Sequence[str], skipped: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """See `plan.records.Plan.dataset`.

    Args:
        dataset: without the skipped cases.
        channels: their names.
        skipped: [{"case", "reason"}].
    """
    return {
        "name": dataset.name,
        "folder": dataset.folder,
        "layout": dataset.layout,
        "file_format": dataset.file_format,
        "channels": list(channels),
        "num_cases": len(dataset.cases),
        "skipped": list(skipped),
    } | _unusual(dataset)


def _unusual(dataset: Dataset) -> dict[str, Any]:
    """What only a data set has whose labels don't say everything, are regions, or come from several data sets."""
    regions = {name: list(values) for name, values in (dataset.regions or {}).items()}
    said = {
        "looked_for": by_name(looked_for(dataset), dataset.label_names),
        "ignore": dataset.ignore,
        "regions": regions,
        "parts": [part.to_json() for part in dataset.parts],
    }
    return {name: value for name, value in said.items() if value not in (None, {}, [])}


def find_again(header: Mapping[str, Any]) -> Dataset:
    """The data set that a plan was made for, where its folder says that it is.

    Raises:
        UserFault, OSError: it isn't there any more.
    """
    if "parts" not in header:
        return find_dataset(header["folder"], layout=header["layout"], name=header["name"])
    found = [
        find_dataset(Path(header["folder"], part["folder"]), layout=part["layout"], name=part["name"])
        for part in header["parts"]
    ]
    return merge_datasets(found, name=header["name"])
