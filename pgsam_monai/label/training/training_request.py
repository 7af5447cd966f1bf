"""What a client wants of a training, checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.label.fields import chosen, count_of, device_there, flag_of, known_name, number_of
from pgsam_monai.training.checkpoints import BEST_MODEL
from pgsam_monai.training.frozen import PREFIX

RUN_IDS = ("training", "run")
"""of a bundle's train.json, which mean the same"""
EPOCHS, VALIDATION_SHARE = 50, 0.2
GOING_ON = 0.1
"""Of the planned learning rate, for trained weights. At all of it they get worse first (a SAMed of Hippocampus fell
from a Dice of 0.88 to 0.78), so that a training which is stopped has gained nothing; in the end both came to the same
(from 0.82 to 0.83, 16 studies, 300 steps, 24 other cases)."""
OWN_VALIDATION = -1
"""val_split: the bundle's own validation cases"""
TRACKING_SCHEMES = ("http://", "https://", "file:///")


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """A training as it was asked for."""

    epochs: int
    iterations_per_epoch: int
    learning_rate: float
    validation_share: float
    """of the studies, 0 to below 1; OWN_VALIDATION for the cases that the bundle was planned with"""
    model_file: Path | None
    """the weights to start from; None to start anew"""
    device: str
    mlflow_uri: str | None


def read_training_request(
    request: Mapping[str, Any], *, root: Path, config: Mapping[str, Any], device: str
) -> TrainingRequest:
    """Check a request; clients send all defaults, empty texts among them.

    Args:
        request: what the client sent.
        root: the bundle's folder.
        config: its train.json.
        device: what the request's device comes to, see `device_there`.

    Raises:
        RequestFault: what is wrong with it.
    """
    run_id = chosen(request, "run_id") or RUN_IDS[0]
    if run_id not in RUN_IDS:
        raise RequestFault(f"run_id must be one of {', '.join(RUN_IDS)}, or left out, got {short(run_id)}.")
    if flag_of(request, "force_multi_gpu", False):
        raise RequestFault(
            "The server trains on one device; to train on several GPUs leave force_multi_gpu out and run: torchrun "
            f"--standalone --nproc_per_node=gpu -m monai.bundle run training --config_file \"['{root}/configs/"
            f"train.json','{root}/configs/multi_gpu_train.json']\"",
            status=422,
        )
    model_file = _model_file(request, root) if flag_of(request, "pretrained", True) else None
    return TrainingRequest(
        learning_rate=_learning_rate(request, config["learning_rate"] * (GOING_ON if model_file else 1)),
        epochs=count_of(request, "max_epochs", default_epochs(config)),
        iterations_per_epoch=count_of(request, "iterations_per_epoch", config["iterations_per_epoch"]),
        validation_share=_validation_share(request),
        model_file=model_file,
        device=device_there(device),
        mlflow_uri=_mlflow_uri(request),
    )


def default_epochs(config: Mapping[str, Any]) -> int:
    """Fine-tuning on a few studies is no training from scratch: at most MONAI Label's 50."""
    return min(EPOCHS, config["epochs"])


def model_files(root: Path) -> list[str]:
    """Weights in the bundle that a training can start from: model.pt first, then those kept of other trainings."""
    found = {file.name for file in (root / "models").glob("*.pt") if not file.name.startswith((".", PREFIX))}
    return [BEST_MODEL, *sorted(found - {BEST_MODEL})]


def _model_file(request: Mapping[str, Any], root: Path) -> Path:
    name = chosen(request, "model_filename") or BEST_MODEL
    file = root / "models" / known_name("model file", name, model_files(root))
    if not file.is_file():
        raise RequestFault(f"{file} is gone, put it back or send pretrained false to start anew.", status=404)
    return file


def _mlflow_uri(request: Mapping[str, Any]) -> str | None:
    """Where to report to; nowhere unless the request says so."""
    tracking = chosen(request, "tracking") or "none"
    if str(tracking).lower() == "none":
        return None
    uri = request.get("tracking_uri")
    if tracking != "mlflow" or importlib.util.find_spec("mlflow") is None:
        raise RequestFault(
            f"tracking {short(tracking)} is not here; leave it out, or send 'mlflow' once mlflow is installed beside "
            "MONAI Label.",
            status=422,
        )
    if not isinstance(uri, str) or not uri.startswith(TRACKING_SCHEMES):  # else it could be an expression
        raise RequestFault(
            f"tracking_uri must begin with {', '.join(TRACKING_SCHEMES)}, got {short(uri)}.", status=422
        )
    return uri


def _learning_rate(request: Mapping[str, Any], default: float) -> float:
    rate = number_of(request, "learning_rate", default)
    if rate <= 0:
        raise RequestFault(
            f"learning_rate must be above 0, got {short(request['learning_rate'])}; left out, it is {default:g}.",
            status=422,
        )
    return rate


def _validation_share(request: Mapping[str, Any]) -> float:
    share = number_of(request, "val_split", VALIDATION_SHARE)
    if share == OWN_VALIDATION or 0 <= share < 1:
        return share
    raise RequestFault(
        f"val_split must be 0 to below 1, or {OWN_VALIDATION} for the bundle's own validation cases, got "
        f"{short(request['val_split'])}.",
        status=422,
    )
