"""What a training shows on its terminal and records of itself; of several processes the first one does."""

from __future__ import annotations

import math

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardStatsHandler, from_engine
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pgsam_monai.training.loss_reading import tell_each_loss
from pgsam_monai.training.ranks import is_main_process

TAG = "train_loss"


class LossRecords:
    """Each step's loss, for TensorBoard in `folder` and, where an address is given, for MLflow, whose handler waits for
    a GPU in every step."""

    def __init__(self, folder: str, experiment: str, mlflow_uri: str | None = None) -> None:
        self.folder, self.experiment, self.mlflow_uri = folder, experiment, mlflow_uri

    def attach(self, engine: Engine) -> None:
        if not is_main_process():
            return
        writer = SummaryWriter(log_dir=self.folder)
        tell_each_loss(engine, lambda engine, step, loss: writer.add_scalar(TAG, loss, step))
        engine.add_event_handler(Events.EPOCH_COMPLETED, writer.flush)
        if self.mlflow_uri:
            places = {"tracking_uri": self.mlflow_uri, "experiment_name": self.experiment}
            loss = {"tag_name": TAG, "output_transform": from_engine(["loss"], first=True)}
            MLFlowHandler(**places, **loss).attach(engine)


class ValidationRecords:
    """The metrics of each validation, for TensorBoard in `folder` and as lines of the log, unless told otherwise."""

    def __init__(self, folder: str, lines: bool = True) -> None:
        self.folder, self.lines = folder, lines

    def attach(self, engine: Engine) -> None:
        if not is_main_process():
            return
        if self.lines:
            StatsHandler(name="validation", iteration_log=False).attach(engine)
        TensorBoardStatsHandler(log_dir=self.folder, iteration_log=False).attach(engine)


class TrainingProgress:
    """One bar over the whole training: iterations done, time left, loss, last validation Dice."""

    def __init__(self, evaluator: Engine | None = None, key_metric: str = "val_mean_dice") -> None:
        self.evaluator = evaluator
        self.key_metric = key_metric
        self.bar: tqdm | None = None
        self.loss = math.nan

    def attach(self, engine: Engine) -> None:
        if not is_main_process():
            return
        engine.add_event_handler(Events.STARTED, self.start)
        tell_each_loss(engine, self.step)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.EXCEPTION_RAISED, self.stop)

    def start(self, engine: Engine) -> None:
        total = engine.state.max_epochs * engine.state.epoch_length
        self.bar = tqdm(
            total=total,
            initial=engine.state.iteration,
            desc="training",
            unit="it",
            smoothing=0.05,
            mininterval=1,
        )

    def step(self, engine: Engine, iteration: int, loss: float) -> None:
        self.loss = loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * loss
        shown = {"epoch": f"{engine.state.epoch}/{engine.state.max_epochs}", "loss": f"{self.loss:.3f}"}
        if self.evaluator is not None and self.evaluator.state.metrics.get(self.key_metric) is not None:
            shown["dice"] = f"{self.evaluator.state.metrics[self.key_metric]:.3f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def stop(self, engine: Engine, *fault: BaseException) -> None:
        self.bar.close()
        if fault:
            raise fault[0]
