"""What a bundle's training does before its first step: once without a network, then with all its parts."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import set_determinism

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.locks import TRAINING, keep, release
from pgsam_monai.base.trained_for import planned_in
from pgsam_monai.base.trained_on import digests_of
from pgsam_monai.data.loading import TrainingLoader
from pgsam_monai.data.splits import require_files
from pgsam_monai.networks.compiled import compile_blocks
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.training.checkpoints import EarlyStop, TrainingCheckpoints
from pgsam_monai.training.divergence import FiniteLoss
from pgsam_monai.training.ranks import is_main_process, join_ranks
from pgsam_monai.training.room import require_checkpoint_room
from pgsam_monai.training.starting import start_from

logger = logging.getLogger(__name__)


def prepare_process(
    cases: Sequence[Sequence[Mapping[str, Any]]], dataset_dir: str, *, ckpt_dir: str, seed: int,
    ranks: bool = False,
) -> None:  # fmt: skip
    """Before there is any network: whether its data are here, and the seed that its random weights come from.

    Args:
        cases: of training and of validation.
        dataset_dir: where they should lie.
        ckpt_dir: where checkpoints go; it is this training's alone until that ends.
        seed: of weights and data.
        ranks: this is one of torchrun's processes.

    Raises:
        SystemExit: files are missing, before weights are fetched for nothing.
        FolderInUse: another training writes there.
    """
    require_files([case for part in cases for case in part], dataset_dir)
    if is_main_process():
        keep(ckpt_dir, refusal=TRAINING)
    if ranks:
        join_ranks()
    keep_freed_memory()
    set_determinism(seed=seed)


def prepare_training(
    network: DescribedNetwork, trainer: Engine, evaluator: Engine, checkpoints: TrainingCheckpoints, *, bundle: str,
    seen: Mapping[str, Any], cases: Sequence[Mapping[str, Any]] | None = None,
    initial_model: str | Path | None = None, early_stop_epochs: int = 0, resume: bool = False,
    compile: bool = False,
) -> None:  # fmt: skip
    """The weights that training starts from, what watches it, and whether it goes on with an earlier one.

    Args:
        network: without a data-parallel wrapper.
        trainer, evaluator: of training and validation, not run yet.
        checkpoints: of that network.
        bundle: its folder; what it is planned for is written into all weights that are saved.
        seen: what the config says of it, for `TrainedFor.seeing`.
        cases: that it trains on; their digests are written into all weights, see `base.trained_on`.
        initial_model: see `start_from`.
        early_stop_epochs: see `EarlyStop`.
        resume: go on with the last checkpoint.
        compile: see `compiled.compile_blocks`; a data-parallel wrapper runs the same blocks.

    Raises:
        UserFault: early stopping without validation cases; nothing to compile with.
    """
    network.trained_for = planned_in(bundle).seeing(**seen)
    if cases is not None:
        names = (case["name"] for case in cases)
        network.trained_on = digests_of(names, dataset=network.trained_for.dataset)
    prepare_trainer(
        network, trainer, evaluator, checkpoints, initial_model=initial_model, early_stop_epochs=early_stop_epochs,
        resume=resume, compile=compile,
    )  # fmt: skip


def prepare_trainer(
    network: DescribedNetwork, trainer: Engine, evaluator: Engine, checkpoints: TrainingCheckpoints, *,
    initial_model: str | Path | None = None, early_stop_epochs: int = 0, resume: bool = False,
    compile: bool = False,
) -> None:  # fmt: skip
    """As `prepare_training`, for a training without a plan and without cases."""
    if not len(evaluator.data_loader):
        _go_without_validation(checkpoints, early_stop_epochs)
    start_from(network, initial_model)
    if is_main_process():
        require_checkpoint_room(checkpoints.folder, network)
    FiniteLoss(checkpoints.optimizer).attach(trainer)
    checkpoints.attach(trainer, evaluator)
    EarlyStop(checkpoints, early_stop_epochs).attach(trainer)
    if is_main_process():  # after the checkpoints, which save the last network at that event
        trainer.add_event_handler(Events.COMPLETED, lambda: release(checkpoints.folder))
    end_workers_after(trainer)
    if compile:
        compile_blocks(network)
    if resume:
        checkpoints.resume(trainer)


def end_workers_after(trainer: Engine) -> None:
    """Let the processes that load for a training end with it."""
    loader = trainer.data_loader
    if isinstance(loader, TrainingLoader):  # bundles of earlier versions have another
        trainer.add_event_handler(Events.COMPLETED, lambda: loader.end_workers())


def _go_without_validation(checkpoints: TrainingCheckpoints, early_stop_epochs: int) -> None:
    if early_stop_epochs:
        raise UserFault(
            "early_stop_epochs waits for a better validation, and there are no validation cases; set it to 0."
        )
    checkpoints.selection = "last"
    logger.info("There are no validation cases: nothing is validated, and the last network is kept.")


# glibc's mallopt parameters (malloc.h)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEPT_BYTES = 2**31 - 1
PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory instead of handing it back to the kernel, which would clear it anew.

    Training steps on two cores ran 1.2 to 1.3 times as fast with it (docs/results.md). Where the C library is not
    glibc it does nothing, and says so by returning False.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: KEPT_BYTES, M_TOP_PAD: PAD_BYTES}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
