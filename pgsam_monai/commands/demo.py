"""`pgsam demo`: the whole way, from a folder of images to measured predictions, on a phantom or on your data."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PHANTOM_NAME = "phantom_abdomen"
PHANTOM_EPOCHS = 8


def demo(
    data: str | None = None,
    *,
    folder: str = "demo",
    cases: int = 30,
    seed: int = 0,
    resolution: int | None = None,
    epochs: int | None = None,
    network: str = "samed",
) -> None:
    """Plan, train, evaluate and predict on a drawn phantom abdomen, or on your own folder, start to end.

    Started again after an interruption it continues; delete the folder to begin anew.

    Examples:
        pgsam demo
        pgsam demo --data /data/Task04_Hippocampus --network pgsam

    Args:
        data: a data set folder; without it phantom cases are drawn (shapes, not patients).
        folder: where data, plans, bundle, predictions and pictures go.
        cases: how many phantoms to draw.
        seed: of the phantoms.
        resolution: the network's input size; the plan chooses it otherwise.
        epochs: training length; the plan chooses it otherwise.
        network: one of those that `pgsam-plan --help` lists.
    """
    from preprocess.networks.declared import capabilities

    started, place = time.monotonic(), Path(folder)
    dataset = Path(data).resolve() if data else _phantom(place, cases, seed)
    # The last network, so that no held-out case has had a say in choosing it.
    overrides = ["model_selection=last"]
    if epochs or not data:
        overrides.append(f"epochs={epochs or PHANTOM_EPOCHS}")
    planned = _plan(dataset, place, resolution, overrides, network)
    bundle, planned_network = planned.bundles[0], next(iter(planned.plan.configurations))
    configs = bundle / "configs"
    train, both = f"{configs}/train.json", [f"{configs}/train.json", f"{configs}/evaluate.json"]
    # An interrupted demo goes on where it was; the first time there is nothing to resume, which it says.
    _step("Training", ["-m", "monai.bundle", "run", "training", "--resume", "True", "--config_file", train])
    _step(
        "Evaluating on held-out cases",
        ["-m", "monai.bundle", "run", "evaluating", "--config_file", str(both)],
    )
    predictions = _predict_one(bundle, dataset, place, guide_maps=capabilities(planned_network).guide_maps)
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.")
    _summary(planned.folder.report, bundle, place, predictions)


def _phantom(folder: Path, cases: int, seed: int) -> Path:
    from pgsam_monai.data.phantom import write_phantom

    dataset = folder / PHANTOM_NAME
    print(f"Drawing {cases} phantom abdomens (shapes, not patients) in {dataset}", flush=True)
    write_phantom(dataset, cases=cases, seed=seed)
    return dataset.resolve()


def _plan(dataset: Path, folder: Path, resolution: int | None, overrides: list[str], network: str) -> Any:
    """What the planner made, a `planning.Planned`."""
    from preprocess.commands.main import plan_and_show

    options = {
        "networks": network,
        "name": re.sub(r"\W+", "_", dataset.name.lower()),
        "plans_dir": str(folder / "plans"),
        "bundles_dir": str(folder / "bundles"),
    }
    if resolution:
        options["resolution"] = resolution
    words = [f"--{key}={value}" for key, value in options.items()] + [f"--override={o}" for o in overrides]
    print(f"\n=== Planning\n$ {shlex.join(['pgsam-plan', str(dataset), *words])}", flush=True)
    return plan_and_show(str(dataset), override=overrides, **options)


def _predict_one(bundle: Path, dataset: Path, folder: Path, *, guide_maps: bool) -> list[Path]:
    from pgsam_monai.data.splits import select_cases
    from pgsam_monai.predicting.predict import predict

    case = select_cases(bundle / "configs/splits.json", dataset, fold=0, part="unseen")[0]
    print(f"\n=== Predicting one case: {case['name']}", flush=True)
    return predict(bundle, case["image"], folder / "predictions", overlays=True, guide_maps=guide_maps)


def _summary(report: Path, bundle: Path, folder: Path, predictions: list[Path]) -> None:
    for what, where in {
        "report": report,
        "bundle": bundle,
        "metrics": bundle / "eval/validation/metrics.csv",
        "prediction": predictions[0],
        "overlays": folder / "predictions/overlays",
        "TensorBoard": f"tensorboard --logdir {bundle / 'eval'}",
    }.items():
        print(f"  {what:12} {where}")


def _step(title: str, arguments: list[str]) -> None:
    """Run one step as the command a user would type, and stop the demo where it fails."""
    print(f"\n=== {title}\n$ {shlex.join(['python', *arguments])}", flush=True)
    status = subprocess.run([sys.executable, *arguments], check=False).returncode
    if status:
        sys.exit(f"pgsam demo: '{title}' failed with exit status {status}; the message above says why.")
