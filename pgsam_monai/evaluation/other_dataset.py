"""How good a trained bundle is on another data set: its own inference, and the classes that both of them label."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import visible, write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.replacing import is_kept, keep_aside
from pgsam_monai.bundle import Bundle
from pgsam_monai.configs import set_component
from pgsam_monai.evaluation.label_mapping import LabelMap, format_label_map, match_labels, read_label_map
from pgsam_monai.evaluation.predictions import PREDICTIONS, evaluate_predictions
from pgsam_monai.metrics.cases import MM, OF_OURS, without_papers
from pgsam_monai.predicting.each import SomeFailed
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.predicting.predict import predict_cases
from pgsam_monai.predicting.products import Products
from pgsam_monai.transforms import ReadCased

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

logger = logging.getLogger(__name__)

AUTO = "auto"
MAP_FILE, SETTINGS_FILE = "label_map.json", "settings.json"
OWN_RESULTS = ("training", "validation", "test", "unseen", "inference", "few_shot")
"""Folders of a bundle's eval/ that hold results on its own data set."""
PERCENTILES = (0.5, 99.5)
LEAST_IN_CT = -100
"""HU; air and fat lie below it, and there is some in any CT. A case without is something else."""


def evaluate_elsewhere(
    bundle: str | Path,
    dataset: Mapping[str, Any],
    *,
    label_map: str | Path = AUTO,
    cases: int | None = None,
    intensity: str | None = None,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Predict another data set's cases and measure the shared classes; returns the folder with the results.

    That is eval/<data set> of the bundle: label_map.json, predictions (the bundle's values), metrics.csv and .json.
    Cases whose prediction is newer than the model and its configs are not predicted again.

    Args:
        bundle: a trained bundle's folder, of any network.
        dataset: {"name", "folder", "cases": [{"name", "image", "label"}], "label_names": {value: name}, ("ignore":
            the value of voxels that nobody labelled)}; cases without a label are left out.
        label_map: "auto" pairs classes by their names (`evaluation.label_mapping.match_labels`); else an
            edited label_map.json.
        cases: the first so many labelled ones; None for all.
        intensity: "percentile" replaces the bundle's CT window by percentiles of each case, for MR; None keeps it.
        device: "cpu", "cuda", …; by default a GPU if there is one.
        options: protocol or tolerance_mm, where they differ from the bundle's evaluate.json.
        say: hears what is compared, and how it goes on.

    Raises:
        FileNotFoundError: no trained bundle, or no such label map.
        SomeFailed: of several cases, after the others were measured.
        ValueError: no class is shared, no case has a label, or an argument that doesn't fit the bundle.
    """
    trained = Bundle.trained(bundle, device=device)
    folder = _results_folder(trained.folder, dataset["name"])
    measures = _measures(trained, options or {})
    chosen = _choose(dataset, cases, say)
    _check_channels(dataset["name"], chosen, trained.channels)
    _settle_intensity(trained, chosen[0], intensity)
    labels = _labels(trained, dataset, label_map, folder, say)
    settings = {"dataset": str(dataset["folder"]), "intensity": intensity or "as trained"}
    chosen, failed = _predict_missing(trained, chosen, folder, settings, say)
    own = {name: labels.own[name] for name in labels.pairs}
    measures |= {"reference_labels": labels.pairs, "ignore": dataset.get("ignore")}
    evaluate_predictions(chosen, folder, labels=own, **measures)
    if failed:
        raise failed
    return folder


def _results_folder(root: Path, name: str) -> Path:
    if name in OWN_RESULTS:
        raise UserFault(
            f"evaluate: a data set called '{name}' would overwrite the bundle's own eval/{name}; rename its folder."
        )
    return root / "eval" / name


def _measures(bundle: Bundle, options: Mapping[str, Any]) -> dict[str, Any]:
    """Protocol and tolerance, checked before hours of predicting."""
    planned = bundle.config("evaluate.json")
    own = {"protocol": without_papers(planned["protocol"]), "tolerance_mm": planned["tolerance_mm"]}
    measures = {name: options.get(name, value) for name, value in own.items()}
    if measures["protocol"] not in (MM, OF_OURS):
        raise UserFault(f"evaluate: with --dataset, --protocol takes {MM}, got {measures['protocol']}.")
    if not isinstance(measures["tolerance_mm"], int | float) or not measures["tolerance_mm"] >= 0:
        raise UserFault(
            f"evaluate: --tolerance_mm takes a length of at least 0, got {measures['tolerance_mm']}."
        )
    return measures


def _choose(dataset: Mapping[str, Any], count: int | None, say: Callable[[str], None]) -> list[dict]:
    labelled = [dict(case) for case in dataset["cases"] if case.get("label")]
    without = len(dataset["cases"]) - len(labelled)
    if without:
        say(f"{without} of {len(dataset['cases'])} cases have no label and are left out.")
    if not labelled:
        raise UserFault(f"evaluate: no case of data set '{dataset['name']}' has a label; label some cases.")
    if count is not None and count < 1:
        raise UserFault(f"evaluate: --cases must be at least 1, got {count}.")
    return labelled[:count]


def _check_channels(name: str, cases: Sequence[Mapping[str, Any]], channels: int) -> None:
    """Files per case, where they are channels; those within one file are counted when it is read."""
    for case in cases:
        files = case["image"]
        slices = isinstance(files, list) and files[0].endswith(".npz")
        if isinstance(files, list) and not slices and len(files) != channels:
            raise UserFault(
                f"evaluate: the bundle takes {channels} channel{'s' if channels > 1 else ''}, case '{case['name']}' "
                f"of '{name}' has {len(files)}; choose another data set, or a datalist JSON with the fitting files."
            )


def _settle_intensity(bundle: Bundle, first: Mapping[str, Any], intensity: str | None) -> None:
    """Replace the bundle's CT window if that is wished, warn if it seems needed."""
    scheme = bundle.decisions["intensity"]
    windowed = scheme["scheme"] == "window"
    if intensity is not None:
        if intensity != "percentile":
            raise UserFault(f"evaluate: --intensity takes percentile, got '{intensity}'.")
        if not windowed:
            raise UserFault(
                f"evaluate: --intensity percentile replaces a CT window, this bundle has none (its scheme is "
                f"'{scheme['scheme']}'); leave it out."
            )
        return _use_percentiles(bundle.parser)
    if windowed and float(ReadCased("image")({"image": first["image"]})["image"].min()) >= LEAST_IN_CT:
        logger.warning(
            "Case '%s' holds nothing below %d, so it hardly is CT in HU, and the bundle clips to %g to %g HU; give "
            "--intensity percentile if it is another modality, such as MR.",
            first["name"], LEAST_IN_CT, scheme["low"], scheme["high"],
        )  # fmt: skip


def _use_percentiles(parser: ConfigParser) -> None:
    """In a config whose preprocessing is not built yet."""
    names = [transform["_target_"] for transform in parser["preprocessing"]["transforms"]]
    if "ScaleIntensityRanged" not in names:
        raise UserFault(
            "evaluate: --intensity percentile replaces ScaleIntensityRanged in the preprocessing of inference.json, "
            f"which has only {', '.join(names)}; leave it out."
        )
    place = names.index("ScaleIntensityRanged")
    percentiles = {
        "_target_": "pgsam_monai.transforms.ScalePercentilesd",
        "keys": "image",
        "low": PERCENTILES[0],
        "high": PERCENTILES[1],
    }
    set_component(parser, f"preprocessing::transforms::{place}", percentiles)


def _labels(
    bundle: Bundle,
    dataset: Mapping[str, Any],
    label_map: str | Path,
    folder: Path,
    say: Callable[[str], None],
) -> LabelMap:
    """The label map, shown and written before anything is predicted."""
    own, other = bundle.labels, dataset["label_names"]
    if str(label_map) == AUTO:
        labels = match_labels(own, other, own_context=bundle.name, other_context=dataset["name"])
    else:
        labels = read_label_map(label_map, own=own, other=other)
    say(format_label_map(labels))
    file = folder / MAP_FILE
    _write_map({"bundle": bundle.name, "dataset": dataset["name"], **labels.to_json()}, file, say)
    if not labels.pairs:
        unnamed = "" if other else ", which names no labels"
        raise UserFault(
            f"evaluate: the bundle shares no class with data set '{dataset['name']}'{unnamed}; say what belongs "
            f"together in '{file}' and give it back with --map {file}."
        )
    return labels


def _write_map(content: Mapping[str, Any], file: Path, say: Callable[[str], None]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if file.is_file() and file.read_bytes() == text.encode("utf-8"):
        return
    if kept := keep_aside(file, ours_too=True):
        say(f"The label map has changed; the former one is kept as {kept}.")
    write_text(file, text)


def _predict_missing(
    bundle: Bundle,
    cases: Sequence[Mapping[str, Any]],
    folder: Path,
    settings: Mapping[str, str],
    say: Callable[[str], None],
) -> tuple[list[Mapping[str, Any]], SomeFailed | None]:
    """Predict the cases that have no prediction of this model, data set and intensity yet.

    Returns:
        the cases that have one now, and what became of the others.
    """
    file, predictions = folder / SETTINGS_FILE, folder / PREDICTIONS
    before = read_json(file, remedy="delete it, and its cases are predicted anew") if file.is_file() else None
    made_of = [bundle.model_file, bundle.config_file("inference.json"), bundle.config_file("texts.json")]
    newest = max(path.stat().st_mtime_ns for path in made_of if path.is_file())
    if before != settings and predictions.is_dir():
        say("Predictions of other files or intensities are made anew.")
        for outdated in (path for path in visible(predictions) if path.is_file() and not is_kept(path)):
            _make_place(outdated, say)
            outdated.unlink(missing_ok=True)
    write_text(file, json.dumps(settings, indent=1) + "\n")
    todo = [case for case in cases if not _is_newer(predictions, case["name"], newest)]
    if len(todo) < len(cases):
        say(f"{len(cases) - len(todo)} of {len(cases)} cases are predicted already.")
    failed = None
    try:
        if todo:
            predict_cases(bundle, todo, _products(predictions, todo, say))
    except SomeFailed as fault:
        failed = fault
        cases = [case for case in cases if _is_newer(predictions, case["name"], newest)]
        if not cases:
            raise
    return list(cases), failed


def _products(folder: Path, cases: Sequence[Mapping[str, Any]], say: Callable[[str], None]) -> Products:
    """What is written for these cases; outdated predictions are replaced, corrected ones kept aside."""
    products = Products(folder=folder)
    for file in (file for case in cases for file in products.files(case)):
        _make_place(file, say)
    return products


def _make_place(file: Path, say: Callable[[str], None]) -> None:
    if kept := keep_aside(file):
        say(f"'{file}' is none of ours, or was changed since it was predicted; it is kept as {kept}.")


def _is_newer(predictions: Path, name: str, time_ns: int) -> bool:
    try:
        return prediction_file(predictions, name).stat().st_mtime_ns > time_ns
    except FileNotFoundError:
        return False
