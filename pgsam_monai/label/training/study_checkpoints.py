"""Checkpoints of a training whose bundle is in service meanwhile."""

from __future__ import annotations

import logging
import math
import os

from ignite.engine import Engine

from pgsam_monai.training.checkpoints import (
    BEST_MODEL,
    TrainingCheckpoints,
    bare,
    keep_previous,
    save_checkpoint,
)

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished.pt"
"""Weights that wait for the training's end; what a stopped one leaves."""


class StudyCheckpoints(TrainingCheckpoints):
    """As its base, but model.pt, which is in service, is replaced by something whole and better only.

    A training that starts from weights is validated before its first step. From then on whatever is better goes into
    service at once, so that a training which is stopped or killed has made nothing worse. Where nothing is known of
    the start (a training anew, or one without validation) model.pt is replaced when the training is complete; until
    then the weights wait in `unfinished.pt`, which the next training can start from. What was in service before is
    kept as `previous.pt`. The last checkpoint of `pgsam train` stays as it is: there is nothing to resume here.
    """

    start_metric: float | None = None
    """of the network before training"""
    published: int | None = None
    """the epoch of the network that has gone into service"""

    def attach(self, trainer: Engine, evaluator: Engine) -> None:
        """After the network has its first weights, which may be those of an unfinished training."""
        super().attach(trainer, evaluator)
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def keep_best(self, evaluator: Engine, trainer: Engine) -> None:
        metric = float(evaluator.state.metrics[self.key_metric])
        if trainer.state.epoch == 0:
            if math.isfinite(metric):
                self.start_metric = metric
                self.best = {"metric": metric, "epoch": 0}
            return
        super().keep_best(evaluator, trainer)
        if self.start_metric is not None and self.best["epoch"] == trainer.state.epoch:
            self.publish(trainer.state.epoch)

    def save_model(self) -> None:
        """To where it waits for the end of the training, or for `publish`."""
        save_checkpoint(bare(self.network).state_dict(), self.folder / UNFINISHED)

    def save_last(self, trainer: Engine) -> None:
        """Only where the last is wanted."""
        if self.selection == "last":
            self.save_model()

    def ensure_model(self, trainer: Engine) -> None:
        """At the end: into service with what waits, unless the start was better."""
        if self.selection == "best" and self.start_metric is None and self.best["epoch"] == 0:
            logger.warning("No study for validation holds a structure; the last epoch's network is kept.")
            self.save_model()
        if (self.folder / UNFINISHED).is_file():
            self.publish(self.best["epoch"] or trainer.state.epoch)
        elif self.published is None:
            logger.info(
                "No epoch was better than before the training (validation Dice %.3f); %s stays as it is.",
                self.start_metric, BEST_MODEL,
            )  # fmt: skip

    def publish(self, epoch: int) -> None:
        """Put the waiting weights into service."""
        model, waiting = self.folder / BEST_MODEL, self.folder / UNFINISHED
        if self.published is None and model.exists():
            keep_previous(model)
        os.replace(waiting, model)
        self.published = epoch
        logger.info("%s now holds the network of epoch %d.", model, epoch)
