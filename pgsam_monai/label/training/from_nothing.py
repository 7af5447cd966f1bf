"""Training from nothing: the studies that were labelled become a data set, a plan, a bundle, and a trained network.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_list

from pgsam_monai.label.fields import choice_of
from pgsam_monai.label.own_bundles import BUNDLES, DATASETS, WEIGHTS, next_name
from pgsam_monai.label.training.own_process import training_of
from pgsam_monai.label.training.planning import NETWORKS, held_labels, plan_bundle, write_dataset
from pgsam_monai.label.training.segment_names import Classes
from pgsam_monai.label.training.studies import labelled_studies
from pgsam_monai.label.training.train import STATS, Training, stats_in
from pgsam_monai.label.training.training_request import VALIDATION_SHARE

logger = logging.getLogger(__name__)

LABEL_COPIES = "labels"
"""of the data sets: labels whose values are not those of the structures here"""
PLANNED = ""
"""of a setting: as planned"""


class FromNothing(TrainTask):
    """A request plans all studies with a final label as a data set, and trains the bundle that this gives.

    Each makes a bundle of its own, in the app's folder: one that is in service is never planned anew. To go on with a
    bundle that was made so, clients train that one.
    """

    def __init__(self, app_dir: str | Path, labels: Sequence[str], conf: dict[str, str]) -> None:
        """
        Args:
            app_dir: the app's folder.
            labels: names of the structures, whose values are 1, 2, …
            conf: of the app.
        """
        super().__init__("Plans a data set of the labelled studies, and trains a bundle for it.")
        self.root, self.conf = Path(app_dir).resolve(), conf
        self.labels = {name: value for value, name in enumerate(labels, start=1)}

    def config(self) -> dict[str, Any]:
        """What clients may set: choices are lists of text, the first is the default."""
        own = self.conf.get("device")
        return {
            "device": [*([own] if own else []), *(name for name in device_list() if name != own)],
            "networks": list(NETWORKS),
            "max_epochs": PLANNED,
            "iterations_per_epoch": PLANNED,
            "val_split": VALIDATION_SHARE,
        }

    def stats(self) -> dict[str, Any]:
        """How far the present or last training has come, as of `Training`."""
        files = sorted((self.root / BUNDLES).glob(f"*/{STATS}"), key=lambda file: file.stat().st_mtime)
        return stats_in(files[-1].parents[1]) if files else {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Plan and train.

        Args:
            request: "networks", one of `NETWORKS`; else see `training_request.read_training_request`. It starts from
                what was planned, whatever it says of that.
            datastore: MONAI Label's.

        Returns:
            As of `Training`, with "bundle", its name.

        Raises:
            RequestFault, SystemExit: as of `Training`.
        """
        with training_of(WEIGHTS):
            network = choice_of(request, "networks", NETWORKS)
            bundle = self._planned(datastore, network)
            training = Training(str(bundle), self.conf)
            planned = training.bundle_config.get()["epochs"]
            wishes = {**request, "max_epochs": request.get("max_epochs") or planned}
            found = training.train({**wishes, "pretrained": False, "model_filename": ""}, datastore)
            logger.info("Trained: %s; it is served as %s from now on.", bundle, bundle.name)
            return {**found, "bundle": bundle.name}

    def _planned(self, datastore: Datastore, network: str) -> Path:
        """The bundle for what is labelled by now."""
        name, folder = next_name(self.root), self.root / DATASETS
        classes = Classes(values=self.labels, known=frozenset(self.labels.values()), background=0)
        studies = labelled_studies(datastore, classes, folder=folder / LABEL_COPIES)
        write_dataset(folder / f"{name}.json", studies, held_labels(studies, self.labels))
        return plan_bundle(self.root, name, network)
