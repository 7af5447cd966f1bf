"""Checkpoints that survive a kill, and what is decided by them: which model is kept, and when to stop early."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import remove_remains, whole
from pgsam_monai.base.trained_for import OtherPlan
from pgsam_monai.training.divergence import check_weights
from pgsam_monai.training.frozen import (
    KEY,
    digest_of,
    frozen_file,
    is_kept,
    remove_other_frozen,
    split_state,
    with_frozen,
)
from pgsam_monai.training.ranks import is_main_process
from pgsam_monai.training.room import save_tensors
from pgsam_monai.weights.files import load_weights

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "checkpoint_last.pt"
START_ANEW = f"delete {LAST_CHECKPOINT} to train anew; a model.pt beside it stays"
BEST_MODEL = "model.pt"
PREVIOUS = "previous.pt"
"""What model.pt was before the last training that replaced it."""
LEAST_SECONDS = 60.0
"""Between two writings of the last checkpoint: short epochs aren't each worth one, and a kill costs about a minute."""


def save_checkpoint(content: Any, file: Path) -> None:
    """Write with torch.save, whole or not at all, and onto the disk itself.

    Raises:
        Diverged: it holds values that are no finite numbers.
        OSError: no room, or no right to write.
    """
    check_weights(content)
    with whole(file, synced=True) as partial:
        save_tensors(content, partial)


def keep_previous(model: Path) -> None:
    """Give model.pt its second name, previous.pt; model.pt itself is only ever replaced, never written into."""
    with whole(model.with_name(PREVIOUS)) as partial:
        try:
            os.link(model.resolve(), partial)
        except OSError:  # file systems without links
            shutil.copyfile(model, partial)


def put_aside(model: Path) -> None:
    """Let model.pt be previous.pt, where there is one, so that none lies there until another is whole."""
    if model.is_file():
        os.replace(model, model.with_name(PREVIOUS))


def bare(network: nn.Module) -> nn.Module:
    """The network itself, without its data-parallel wrapper."""
    return network.module if isinstance(network, DistributedDataParallel) else network


class TrainingCheckpoints:
    """Writes `model.pt` (the chosen network, a flat state dict) and `checkpoint_last.pt` (all it takes to go on),
    each atomically, tensors and plain numbers only, and resumes from the latter.

    The last checkpoint is written after an epoch: the first, the last, one that replaced model.pt, and any that ends
    `seconds` after the one before. Parameters that aren't trained are in no checkpoint but, once per training, in a
    file beside it, by whose hash the checkpoint names it (`training.frozen`).

    A model.pt of an earlier training, which this one doesn't go on with, is kept as `previous.pt`.

    Args:
        folder: where both files go.
        network, optimizer, lr_scheduler: what is saved and restored.
        selection: model.pt holds the "best" network in validation, or the "last", which is not chosen by any
            metric and hence the honest one where validation cases are also the reported ones.
        key_metric: evaluator metric, larger is better, that decides which network is the best.
        seconds: least time between two writings of the last checkpoint; 0 for every epoch.
    """

    def __init__(
        self,
        folder: str,
        *,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: Any,
        selection: str = "best",
        key_metric: str = "val_mean_dice",
        seconds: float = LEAST_SECONDS,
    ) -> None:
        if selection not in ("best", "last"):
            raise UserFault(f"TrainingCheckpoints: selection must be 'best' or 'last', got '{selection}'.")
        self.selection = selection
        self.folder = Path(folder)
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.key_metric = key_metric
        self.seconds = seconds
        self.saved_epoch, self.saved_at = 0, -math.inf
        """the epoch that the last checkpoint holds, and when it was written (s of a monotonic clock)"""
        self.frozen: str | None = None
        """digest of the frozen part, once that lies in the folder"""
        self.best = {"metric": -math.inf, "epoch": 0}
        self.own_model = False
        """whether model.pt is of this training"""

    def attach(self, trainer: Engine, evaluator: Engine) -> None:
        """Register after the trainer's own handlers, so that an epoch is saved once it has been validated."""
        if is_main_process() and self.folder.is_dir():
            remove_remains(self.folder)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.keep_best, trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save_due)
        trainer.add_event_handler(Events.COMPLETED, self.save_end)
        trainer.add_event_handler(Events.COMPLETED, self.ensure_model)

    def keep_best(self, evaluator: Engine, trainer: Engine) -> None:
        metric = float(evaluator.state.metrics[self.key_metric])
        if not metric > self.best["metric"]:
            return
        self.best = {"metric": metric, "epoch": trainer.state.epoch}
        if self.selection == "best":
            self.save_model()

    def save_model(self) -> None:
        if not is_main_process():
            return
        model, state = self.folder / BEST_MODEL, bare(self.network).state_dict()
        if not self.own_model and model.is_file():
            check_weights(state)
            keep_previous(model)
            logger.info("%s of an earlier training is kept as %s.", model, PREVIOUS)
        save_checkpoint(state, model)
        self.own_model = True

    def ensure_model(self, trainer: Engine) -> None:
        """The last network where that is wanted, or where no validation was defined (no structure present)."""
        if self.selection == "last":
            self.save_model()
        elif self.best["epoch"] == 0:
            logger.warning(
                "No validation gave a %s; %s holds the last epoch's network.", self.key_metric, BEST_MODEL
            )
            self.save_model()

    def save_due(self, trainer: Engine) -> None:
        """Where an epoch's end is worth a checkpoint, which always agrees with the model.pt beside it."""
        replaced = self.best["epoch"] == trainer.state.epoch
        if replaced or time.monotonic() - self.saved_at >= self.seconds:
            self.save_last(trainer)

    def save_end(self, trainer: Engine) -> None:
        """The last epoch, unless it is saved already."""
        if trainer.state.epoch > self.saved_epoch:
            self.save_last(trainer)

    def save_last(self, trainer: Engine) -> None:
        self.saved_epoch = trainer.state.epoch
        if is_main_process():
            changing, frozen = split_state(bare(self.network))
            if self.frozen is None and frozen:
                self.frozen = self._save_frozen(frozen)
            state = {
                "model": changing,
                KEY: self.frozen,
                "optimizer": self.optimizer.state_dict(),
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "scaler": trainer.scaler.state_dict() if getattr(trainer, "scaler", None) else {},
                "epoch": trainer.state.epoch,
                "best": self.best,
            }
            save_checkpoint(state, self.folder / LAST_CHECKPOINT)
            remove_other_frozen(self.folder, self.frozen)
        self.saved_at = time.monotonic()

    def _save_frozen(self, frozen: dict[str, Tensor]) -> str:
        """Once per training, before any checkpoint that needs it; not where the very same lies there already."""
        digest = digest_of(frozen)
        file = frozen_file(self.folder, digest)
        if not is_kept(file, digest):
            save_checkpoint(frozen, file)
        return digest

    def resume(self, trainer: Engine) -> None:
        """Continue after the last completed epoch; starts from the beginning, saying so, if there is none."""
        path = self.folder / LAST_CHECKPOINT
        if not path.is_file():
            logger.info("Nothing to resume: %s does not exist; training starts at epoch 1.", path)
            return
        state = _read_checkpoint(path)
        try:
            self._restore(state, trainer)
        except OtherPlan as error:
            raise UserFault(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise UserFault(
                f"{path} doesn't fit this training ({type(error).__name__}: {reason}); {START_ANEW}, or restore the "
                "configs that it was trained with."
            ) from error
        if state["epoch"] >= trainer.state.max_epochs:
            logger.warning("Training is complete (%d epochs); raise max_epochs to go on.", state["epoch"])
            # An engine that is asked to run a finished training starts anew; it must not here.
            trainer.add_event_handler(Events.STARTED, trainer.terminate)
            return
        # The epoch's length is today's, not the checkpoint's: the data set may have grown in between.
        trainer.state.epoch = state["epoch"]
        trainer.state.iteration = state["epoch"] * trainer.state.epoch_length
        logger.info("Resuming after epoch %d of %d.", state["epoch"], trainer.state.max_epochs)

    def _restore(self, state: dict[str, Any], trainer: Engine) -> None:
        bare(self.network).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if getattr(trainer, "scaler", None) and state["scaler"]:
            trainer.scaler.load_state_dict(state["scaler"])
        self.best = {"metric": float(state["best"]["metric"]), "epoch": int(state["best"]["epoch"])}
        self.own_model = self.best["epoch"] > 0
        self.saved_epoch = state["epoch"] = int(state["epoch"])


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        return with_frozen(load_weights(path), path)
    except UserFault as error:
        raise UserFault(f"{str(error).rstrip('.')}; {START_ANEW}.") from error


class EarlyStop:
    """Ends training when the key metric has not risen for `patience_epochs` epochs; 0 never does.

    Attach to the trainer after the checkpoints, whose best epoch it reads."""

    def __init__(self, checkpoints: TrainingCheckpoints, patience_epochs: int = 0) -> None:
        self.checkpoints = checkpoints
        self.patience_epochs = patience_epochs

    def attach(self, engine: Engine) -> None:
        if self.patience_epochs > 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        waited = engine.state.epoch - self.checkpoints.best["epoch"]
        if waited >= self.patience_epochs:
            logger.info("Early stop: no better %s for %d epochs.", self.checkpoints.key_metric, waited)
            engine.terminate()
