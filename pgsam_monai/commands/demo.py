"""`pgsam demo`: the whole way, from a folder of images to measured predictions, on a phantom or on your data."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PHANTOM_NAME = "phantom_abdomen"
PHANTOM_EPOCHS = 8


def run_demo(
    plan: Callable[..., None],
    *,
    data: str | None,
    folder: Path,
    cases: int,
    seed: int,
    resolution: int | None,
    epochs: int | None,
    network: str = "samed",
) -> None:
    """Write (or take) the data, plan, train, evaluate, predict one case; print where everything lies.

    `plan` is the planner's function, handed in because this package knows nothing of the planner.
    Started again after an interruption it continues; delete `folder` to begin anew.
    """
    started = time.monotonic()
    dataset = Path(data).resolve() if data else _phantom(folder, cases, seed)
    # The last network, so that no held-out case has had a say in choosing it.
    overrides = ["model_selection=last"]
    if epochs or not data:
        overrides.append(f"epochs={epochs or PHANTOM_EPOCHS}")
    bundle = _plan(plan, dataset, folder, resolution, overrides, network)
    configs = bundle / "configs"
    train, both = f"{configs}/train.json", [f"{configs}/train.json", f"{configs}/evaluate.json"]
    # An interrupted demo goes on where it was; the first time there is nothing to resume, which it says.
    _step("Training", ["-m", "monai.bundle", "run", "training", "--resume", "True", "--config_file", train])
    _step(
        "Evaluating on held-out cases",
        ["-m", "monai.bundle", "run", "evaluating", "--config_file", str(both)],
    )
    predictions = _predict_one(bundle, dataset, folder, guide_maps=network == "pgsam")
    _summary(bundle, folder, predictions, minutes=(time.monotonic() - started) / 60)


def _phantom(folder: Path, cases: int, seed: int) -> Path:
    from pgsam_monai.data.phantom import write_phantom

    dataset = folder / PHANTOM_NAME
    print(f"Drawing {cases} phantom abdomens (shapes, not patients) in {dataset}", flush=True)
    write_phantom(dataset, cases=cases, seed=seed)
    return dataset.resolve()


def _plan(
    plan: Callable[..., None],
    dataset: Path,
    folder: Path,
    resolution: int | None,
    overrides: list[str],
    network: str,
) -> Path:
    name = re.sub(r"\W+", "_", dataset.name.lower())
    options = {
        "networks": network,
        "name": name,
        "plans_dir": str(folder / "plans"),
        "bundles_dir": str(folder / "bundles"),
    }
    if resolution:
        options["resolution"] = resolution
    words = [f"--{key}={value}" for key, value in options.items()] + [f"--override={o}" for o in overrides]
    print(f"\n=== Planning\n$ {shlex.join(['pgsam-plan', str(dataset), *words])}", flush=True)
    plan(str(dataset), override=overrides, **options)
    return folder / "bundles" / f"{network}_{name}"


def _predict_one(bundle: Path, dataset: Path, folder: Path, *, guide_maps: bool) -> list[Path]:
    from pgsam_monai.data.splits import select_cases
    from pgsam_monai.predicting.predict import predict

    case = select_cases(bundle / "configs/splits.json", dataset, fold=0, part="unseen")[0]
    print(f"\n=== Predicting one case: {case['name']}", flush=True)
    return predict(bundle, case["image"], folder / "predictions", overlays=True, guide_maps=guide_maps)


def _summary(bundle: Path, folder: Path, predictions: list[Path], *, minutes: float) -> None:
    print(f"\nDone in {minutes:.1f} minutes.")
    for what, where in {
        "report": folder / "plans" / bundle.name.partition("_")[2] / "report.html",
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
