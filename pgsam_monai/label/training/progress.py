"""A training's progress in lines, for the server's task status and log; and in numbers, for clients' bars."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path

from ignite.engine import Engine, Events

from pgsam_monai.base.files import write_text
from pgsam_monai.training.loss_reading import tell_each_loss

logger = logging.getLogger(__name__)

LINE_S = 30
"""Between two lines within an epoch."""


class ProgressLines:
    """Logs a line per epoch, and every half minute within one: loss, validation Dice, best so far, time left.

    It stands where a training on a terminal has its bar. Attach it after what validates.
    """

    def __init__(
        self, evaluator: Engine, stats_file: str, key_metric: str = "val_mean_dice", line_s: float = LINE_S
    ) -> None:
        """
        Args:
            evaluator: of the validation.
            stats_file: where the numbers go that MONAI Label's clients show.
            key_metric: the evaluator's.
            line_s: seconds between two lines within an epoch.
        """
        self.evaluator, self.key_metric = evaluator, key_metric
        self.stats_file, self.line_s = Path(stats_file), line_s
        self.best: tuple[float, int] | None = None
        self.losses: list[float] = []
        self.began = self.told = 0.0

    def attach(self, engine: Engine) -> None:
        """To the trainer."""
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.validated, engine)
        engine.add_event_handler(Events.STARTED, self.start)
        tell_each_loss(engine, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.tell_epoch)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self.finish)

    def start(self, engine: Engine) -> None:
        self.began = self.told = time.monotonic()
        logger.info("Training %d epochs of %d steps.", engine.state.max_epochs, engine.state.epoch_length)
        self._write(engine)

    def validated(self, evaluator: Engine, trainer: Engine) -> None:
        dice = self._dice()
        if dice is None:
            return
        if trainer.state.epoch == 0:
            logger.info("Validation Dice before training: %.3f.", dice)
        if self.best is None or dice > self.best[0]:
            self.best = (dice, trainer.state.epoch)

    def step(self, engine: Engine, iteration: int, loss: float) -> None:
        self.losses.append(loss)
        done = (iteration - 1) % engine.state.epoch_length + 1
        if done < engine.state.epoch_length and time.monotonic() - self.told > self.line_s:
            self._tell(engine, f", step {done} of {engine.state.epoch_length}")

    def tell_epoch(self, engine: Engine) -> None:
        self._tell(engine, "")
        self.losses.clear()
        self._write(engine)

    def finish(self, engine: Engine) -> None:
        self._write(engine, total_time=time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - self.began)))

    def _tell(self, engine: Engine, place: str) -> None:
        self.told = time.monotonic()
        left = (engine.state.max_epochs * engine.state.epoch_length - engine.state.iteration) * (
            (self.told - self.began) / max(1, engine.state.iteration)
        )
        dice = self._dice()
        known = "" if dice is None else f", validation Dice {dice:.3f}"
        if self.best is not None:
            known += f", best {self.best[0]:.3f} (epoch {self.best[1]})"
        logger.info(
            "Epoch %d of %d%s: loss %.3f%s; about %s left.",
            engine.state.epoch, engine.state.max_epochs, place, math.fsum(self.losses) / max(1, len(self.losses)),
            known, _spoken(left),
        )  # fmt: skip

    def _dice(self) -> float | None:
        """Of the last validation; None before the first, or where no structure was there to be found."""
        dice = (self.evaluator.state.metrics or {}).get(self.key_metric)
        return None if dice is None or not math.isfinite(dice) else float(dice)

    def _write(self, engine: Engine, **more: str) -> None:
        stats = {"epoch": engine.state.epoch, "total_epochs": engine.state.max_epochs, **more}
        stats["best_metric"] = 0.0 if self.best is None else self.best[0]
        write_text(self.stats_file, json.dumps(stats))


def _spoken(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120 else f"{round(seconds / 60)} min"
