"""Training from the server: a bundle goes on learning from the studies that were labelled there.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.others.generic import device_list, name_to_device

from pgsam_monai.base.cases import as_paths
from pgsam_monai.base.config_values import as_data
from pgsam_monai.configs import training_workflow
from pgsam_monai.data.splits import select_cases
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.training.own_process import training_of
from pgsam_monai.label.training.segment_names import read_classes
from pgsam_monai.label.training.studies import Study, labelled_studies, split_studies
from pgsam_monai.label.training.training_request import (
    OWN_VALIDATION,
    VALIDATION_SHARE,
    TrainingRequest,
    default_epochs,
    model_files,
    read_training_request,
)

logger = logging.getLogger(__name__)

STATS = "models/train_stats.json"
RUNS = "eval/studies"
"""TensorBoard's folders, one per training, beside those of the bundle's own training."""
LABEL_COPIES = "store/study_labels"
RECORDS = "pgsam_monai.training.records.ValidationRecords"
WARMUP_SHARE = 10
"""Of a training, at most one in so many iterations warms up."""
LEAST_VALIDATIONS = 5
"""In a training that has as many epochs."""


class Training(BundleTrainTask):
    """A request trains the bundle on all studies with a final label, from the raw files, through its store.

    It starts from models/model.pt, with a tenth of the planned learning rate, unless told otherwise. What it writes:
    `StudyCheckpoints`. Everything else is as planned, but for the few slices of a recipe, which were drawn for
    another data set, and for lengths, which follow the epochs asked for.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        """
        Args:
            path: the bundle's folder.
            conf: of the app.
        """
        super().__init__(path, conf)
        self.root = Path(path)

    def config(self) -> dict[str, Any]:
        """What clients may set: choices are lists of text, the first is the default."""
        config, own = self.bundle_config.get(), self.conf.get("device")
        return {
            "device": [*([own] if own else []), *(name for name in device_list() if name != own)],
            "max_epochs": default_epochs(config),
            "iterations_per_epoch": config["iterations_per_epoch"],
            "pretrained": True,
            "model_filename": model_files(self.root),
            "val_split": VALIDATION_SHARE,
        }

    def stats(self) -> dict[str, Any]:
        """How far the present or last training has come: epoch, total_epochs, best_metric, total_time at its end."""
        return stats_in(self.root)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train.

        Args:
            request: see `read_training_request`.
            datastore: MONAI Label's.

        Returns:
            {"epochs", "best_metric", "best_epoch"}: validation Dice and the epoch it is of, None without validation.

        Raises:
            RequestFault: what the client can mend.
            SystemExit: likewise, in a process of its own, whose last line is then the sentence.
        """
        with training_of(self.root.name):
            return self.train(request, datastore)

    def train(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """As a call, whose faults are told by somebody else."""
        logging.getLogger("ignite").setLevel(logging.WARNING)
        config = self.bundle_config.get()
        wanted = read_training_request(
            request,
            root=self.root,
            config=config,
            device=name_to_device(request.get("device") or self.conf.get("device")),
        )
        if request.get("multi_gpu") and torch.cuda.device_count() > 1:
            logger.info("The server trains on one device: %s.", wanted.device)
        studies = labelled_studies(
            datastore, read_classes(self.root), folder=(self.root / LABEL_COPIES).resolve()
        )
        training, validation = self._split(studies, wanted.validation_share)
        logger.info("%d studies for training, %d for validation.", len(training), len(validation))
        changed = overrides(self.root, config, wanted, training=training, validation=validation)
        best = self._run(changed, components(self.root, config, wanted, validate=bool(validation)))
        measured = math.isfinite(best["metric"])
        return {
            "epochs": wanted.epochs,
            "best_metric": best["metric"] if measured else None,
            "best_epoch": best["epoch"] if measured else None,
        }

    def _run(self, values: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
        """Train with these overrides; the best "metric" in validation and its "epoch"."""
        workflow = training_workflow(self.bundle_config_path, self.bundle_metadata_path, values, parts)
        workflow.initialize()
        workflow.run()
        return workflow.parser.get_parsed_content("checkpoints").best

    def _split(
        self, studies: Sequence[Study], share: float
    ) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """Cases for training and for validation; tuples, which MONAI hands on as they are: a list it evaluates."""
        if share != OWN_VALIDATION:
            training, validation = split_studies(studies, share)
            return tuple(study.case for study in training), tuple(study.case for study in validation)
        own = self.bundle_config.get_parsed_content
        cases = select_cases(
            self.root / "configs/splits.json", own("dataset_dir"), fold=own("fold"), part="validation"
        )
        lacking = [case["name"] for case in cases if not all(map(Path.exists, as_paths(case["label"])))]
        if lacking:
            raise RequestFault(
                f"val_split {OWN_VALIDATION} needs the {len(cases)} validation cases that the bundle was planned with, "
                f"{len(lacking)} are not in '{own('dataset_dir')}'; send a share of the studies, as 0.2.",
                status=422,
            )
        return tuple(study.case for study in studies), tuple(cases)


def stats_in(bundle: Path) -> dict[str, Any]:
    """What the present or last training of a bundle has written of its progress."""
    with suppress(OSError, ValueError):
        return json.loads((bundle / STATS).read_text(encoding="utf-8"))
    return {}


def overrides(
    root: Path,
    config: Mapping[str, Any],
    wanted: TrainingRequest,
    *,
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The values that this training has otherwise than the bundle's train.json."""
    iterations = wanted.epochs * wanted.iterations_per_epoch
    start = wanted.model_file
    changed = {
        "bundle_root": str(root),
        "device": wanted.device,
        "epochs": wanted.epochs,
        "schedule_epochs": wanted.epochs,
        "stage_epochs": wanted.epochs,
        "iterations_per_epoch": wanted.iterations_per_epoch,
        "learning_rate": wanted.learning_rate,
        "warmup_iterations": min(config["warmup_iterations"], iterations // WARMUP_SHARE),
        "val_interval": min(config["val_interval"], max(1, wanted.epochs // LEAST_VALIDATIONS)),
        "early_stop_epochs": config["early_stop_epochs"] if validation else 0,
        "model_selection": "best" if validation else "last",
        "resume": False,
        "initial_model": None if start is None else str(start),
        "output_dir": str(root / RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")),
        "mlflow_uri": wanted.mlflow_uri or None,
        "train#dataset#data": tuple(training),
        "train#dataset#progress": False,
        "validate#dataset#data": tuple(validation),
        "validate#dataset#progress": False,
    }
    if start is not None:  # it holds what these would be loaded for, the frozen parts included
        changed |= {"weights": None, "clip_weights": None}
    if "few_slices" in config["train"]["dataset"]:
        changed["train#dataset#few_slices"] = None
    return {key: value for key, value in changed.items() if key.split("#")[0] in config}


def components(
    root: Path, config: Mapping[str, Any], wanted: TrainingRequest, *, validate: bool
) -> dict[str, Any]:
    """The parts that this training has otherwise than the bundle's train.json."""
    return {
        "train#handlers": _handlers(
            config, root, validate=validate, from_start=wanted.model_file is not None
        ),
        "validate#handlers": [
            {**each, "lines": False} if each["_target_"] == RECORDS else each
            for each in config["validate"]["handlers"]
        ],
        "checkpoints#_target_": "pgsam_monai.label.training.study_checkpoints.StudyCheckpoints",
    }


def _handlers(
    config: Mapping[str, Any], root: Path, *, validate: bool, from_start: bool
) -> list[dict[str, Any]]:
    """The bundle's training handlers with lines for a bar, and without validation where there are no cases."""
    handlers = []
    for handler in copy.deepcopy(config["train"]["handlers"]):
        name = handler["_target_"].rpartition(".")[2]
        if name == "TrainingProgress":
            handler = {
                "_target_": "pgsam_monai.label.training.progress.ProgressLines",
                "evaluator": "@validate#evaluator",
                "stats_file": as_data(str(root / STATS)),
            }
        if name == "ValidationHandler":
            handler["exec_at_start"] = from_start
        if name != "ValidationHandler" or validate:
            handlers.append(handler)
    return handlers
