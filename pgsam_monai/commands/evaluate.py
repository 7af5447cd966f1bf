"""`pgsam evaluate`: a bundle on its own cases, on another data set, or answering simulated users."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgsam_monai.base.command_line import check_known
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands.values import (
    axes_typed,
    one_number,
    seed_numbers,
    settle_overrides,
    whole_numbers,
)
from pgsam_monai.running import run_bundle
from pgsam_monai.runtime.choosing import exported_network
from pgsam_monai.runtime.engines import NAMES, TORCH

CONFIGS = ["train.json", "evaluate.json"]

MODULE = "pgsam_monai.predicting.exported.ExportedModule"

OF_ANOTHER_DATASET = ("protocol", "tolerance_mm")
"""Values of evaluate.json that a measurement on another data set takes too."""

OF_LABELS = ("dataset_dir", "splits_file", "tolerance_mm")
"""Values of both configs that the ranking of labels takes."""

MODES_OF = {
    "part": ("", "--interaction"),
    "clicks": ("--interaction",),
    "seeds": ("--interaction",),
    "cases": ("--interaction", "--dataset", "--rank_labels"),
    "predictions": ("--rank_labels",),
    "device": ("", "--interaction", "--dataset"),
    "mirror": ("",),
    "engine": ("", "--interaction"),
    "map": ("--dataset",),
    "intensity": ("--dataset",),
}
"""Flags → the modes that take them; "" is the plain measurement."""


def evaluate(
    bundle: str,
    *,
    part: str | None = None,
    interaction: bool = False,
    clicks: object = None,
    seeds: object = None,
    cases: int | None = None,
    dataset: str | None = None,
    map: str | None = None,
    intensity: str | None = None,
    rank_labels: bool = False,
    predictions: str | None = None,
    mirror: str | None = None,
    device: str | None = None,
    max_gb: object = None,
    engine: str | None = None,
    **overrides: object,
) -> None:
    """Measure a trained bundle: Dice, HD95 and surface Dice per class and case, to eval/PART/metrics.csv and .json.
    Cases that it was trained on are refused, but for --part training, or with --allow_trained True.

    --protocol mm measures the label maps that a user gets, in millimetres. --protocol papers, of 2-D bundles with
    slices stretched to a square, adds a table of the label maps that TransUNet's, SAMed's, H-SAM's and PG-SAM's code
    would make, measured as they do, to metrics_papers.csv and to "papers" in metrics.json. By default it is as planned.

    --dataset measures it on another data set instead: cases are predicted as `pgsam predict` does, and the classes that
    both label are compared, to eval/NAME/metrics.csv and .json. Which these are is found by their names, printed first
    and written to eval/NAME/label_map.json; an edited one is given back as --map FILE, say because there a "liver"
    leaves out its tumours. Interrupted, the same command goes on after the predicted cases.

    --interaction measures how it is corrected by clicks instead, to eval/PART/volume_clicks.csv and .json: Dice and
    surface Dice after so many clicks in the whole volume, each in the middle of the largest error of a structure,
    beside a ball painted there. Networks that take prompts (medsa) can answer clicks in two ways: what a click
    changes spreads to the slices beside it, or the network is asked anew about the click's slice. Both are
    measured, and the one with the larger mean area under Dice (AUC) goes into configs/corrections.json, which
    predict --background everything and label heed, and which you may edit or delete: of validation cases that the
    network wasn't trained on alone, and so the better figure is a little flattered. Of these networks also, slice
    by slice, to interaction.csv, .json and .png: Dice after so many clicks per slice; after wrong ones; in loose
    boxes; and how many of the clicks so far its answers obey. The user is simulated and sees the reference, so
    these numbers say nothing of images that nobody prompts. Interrupted, the same command goes on after the
    finished cases.

    --rank_labels measures no network but the data set's own labels: it lists the training cases whose labels disagree
    most with out-of-fold predictions, and draws them, to eval/label_ranking: the first place to look for wrong ones.
    For each structure it is asked how far its Dice lies below what is usual for that structure.

    Examples:
        pgsam evaluate bundles/samed_synapse --part test --protocol papers
        pgsam evaluate bundles/samed_synapse --protocol mm --mirror front-back --output_dir mirrored
        pgsam evaluate bundles/samed_synapse --engine openvino --output_dir bundles/samed_synapse/eval/openvino
        pgsam evaluate bundles/refsam3d_btcv --dataset /data/AMOS
        pgsam evaluate bundles/refsam3d_btcv --dataset /data/CHAOS_MR --map chaos.json --intensity percentile --cases 5
        pgsam evaluate bundles/medsa_hippocampus --interaction --clicks 1,3 --seeds 3 --cases 5
        pgsam evaluate bundles/samed_hippocampus --rank_labels --predictions other_folds/predictions

    Args:
        bundle: the bundle's folder.
        part: "validation" (of the fold, the default), "test" or "training".
        interaction: measure answers to simulated clicks and, of networks that take prompts (medsa), boxes.
        clicks: after how many clicks, 1,2,3,5,10 by default.
        seeds: of the simulated users who ask slice by slice, 1 by default: 3 means 0,1,2, and 4,7 these two; clicks in
            whole volumes leave nothing to chance, and take none.
        cases: with --interaction or --dataset the first so many cases, all by default; with --rank_labels how many are
            drawn and printed, 10 by default.
        dataset: folder of another data set, in any layout that pgsam-plan reads, or a datalist JSON.
        map: auto (the default), or an edited label_map.json.
        intensity: percentile replaces the bundle's CT window by each case's 0.5 and 99.5 percentiles, for MR.
        rank_labels: list the training cases with the most doubtful labels.
        predictions: folder of the training cases' predictions by networks that didn't train on them, for --rank_labels;
            by default eval/folds/predictions of the bundle.
        mirror: axes along which mirror images are asked as well, as pgsam predict does: front-back,up-down, auto, none.
        device: cpu or cuda; by default a GPU if there is one.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
        engine: torch, the default; openvino or onnxruntime, the network that pgsam export wrote; auto, what pgsam
            predict would take. With --interaction openvino encodes slices.
        overrides: any value of configs/evaluate.json or train.json; with --dataset protocol and tolerance_mm only.
    """
    set_limit(max_gb)
    given = {
        "part": part, "clicks": clicks, "seeds": seeds, "cases": cases, "map": map, "intensity": intensity,
        "predictions": predictions, "mirror": mirror, "device": device,
        "engine": engine,
    }  # fmt: skip
    modes = {"--interaction": interaction, "--dataset": dataset is not None, "--rank_labels": rank_labels}
    _check_mode(modes, given)
    count = None if cases is None else one_number("cases", cases)
    overrides = settle_overrides(bundle, CONFIGS, overrides)
    if rank_labels:
        return _rank_labels(bundle, predictions, count, overrides)
    if dataset is not None:
        options = {"label_map": map or "auto", "cases": count, "intensity": intensity, "device": device}
        return _measure_elsewhere(bundle, dataset, overrides, **options)
    overrides |= {"part": part or "validation"} | ({} if device is None else {"device": device})
    if mirror is not None:
        overrides["mirror"] = Bundle(bundle, configs=CONFIGS).mirror_axes(axes_typed(mirror))
    if interaction:
        chosen = engine or TORCH
        return _measure_interaction(bundle, clicks, seeds, cases=count, overrides=overrides, engine=chosen)
    components = exported_components(bundle, engine, overrides) if engine else {}
    run_bundle("evaluating", bundle, CONFIGS, overrides, components)


def exported_components(bundle: str, engine: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The exported network in the place of the trained one, if an engine answers."""
    own = sorted({"ckpt_dir", "device"} & overrides.keys())
    found = exported_network(bundle, engine, needs_torch=[f"--{name}" for name in own])
    if found is None:
        return {}
    print(f"{NAMES[found.engine]} answers, in {found.settings['precision']}.")
    module = {"_target_": MODULE, "bundle": str(found.bundle.folder), "engine": found.engine}
    return {"evaluate#evaluator#network": module}


def _check_mode(modes: Mapping[str, bool], given: Mapping[str, object]) -> None:
    """Refuse two modes at once, and flags that the chosen one doesn't take."""
    chosen = [mode for mode, wished in modes.items() if wished]
    if len(chosen) > 1:
        raise UserFault(f"{' and '.join(chosen)} measure different things; give one of them.")
    mode = chosen[0] if chosen else ""
    for name, value in given.items():
        if value is None or mode in MODES_OF[name]:
            continue
        if mode and "" in MODES_OF[name]:
            raise UserFault(f"--{name} is not for {mode}; leave it out.")
        raise UserFault(f"--{name} belongs to {' or '.join(MODES_OF[name])}; give both or neither.")


def _rank_labels(
    bundle: str, predictions: str | None, count: int | None, overrides: Mapping[str, Any]
) -> None:
    for name in overrides:
        check_known(name, {*OF_LABELS, "rank_labels", "predictions", "cases"})
    from pgsam_monai.evaluation.label_ranking import SHOWN, rank_labels

    rank_labels(bundle, predictions=predictions, shown=SHOWN if count is None else count, overrides=overrides)


def _measure_interaction(bundle: str, clicks: object, seeds: object, **options: Any) -> None:
    from pgsam_monai.evaluation.interaction.evaluate import evaluate_interaction
    from pgsam_monai.evaluation.interaction.measure import InteractionSettings

    settings = InteractionSettings(
        clicks=tuple([1, 2, 3, 5, 10] if clicks is None else whole_numbers("clicks", clicks)),
        seeds=tuple(seed_numbers(1 if seeds is None else seeds)),
    )
    with _going_on():
        evaluate_interaction(bundle, settings, **options)


def _measure_elsewhere(bundle: str, dataset: str, overrides: Mapping[str, Any], **options: Any) -> None:
    for name in overrides:
        check_known(name, {*OF_ANOTHER_DATASET, "dataset", "map", "cases", "intensity", "device"})
    from pgsam_monai.evaluation.other_dataset import evaluate_elsewhere

    with _going_on():
        evaluate_elsewhere(bundle, _find_dataset(dataset), options=overrides, **options)


@contextmanager
def _going_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Finished cases are kept; the same command goes on after them.")


def _find_dataset(folder: str) -> dict[str, Any]:
    """The planner's view of a data set in plain words, cases by name: see `evaluate_elsewhere`."""
    from pgsam_monai.data.splits import located
    from preprocess.layouts import find_dataset
    from preprocess.layouts.tree import natural_key
    from preprocess.splits.splits import case_entry

    try:
        found = find_dataset(folder)
    except UserFault as fault:
        raise UserFault(f"evaluate: {fault}") from fault
    alone = len(found.images_without_label)
    for note in (*found.notes, *([f"{alone} images without a label are left out"] if alone else [])):
        print(f"note: {note}")
    cases = sorted(found.cases, key=lambda case: natural_key(case.name))
    return {
        "name": found.name,
        "folder": found.folder,
        "cases": [located(case.name, case_entry(case, None), Path(found.folder)) for case in cases],
        "label_names": {v: name for name, v in (found.label_names or {}).items() if v != found.ignore},
        "ignore": found.ignore,
    }
