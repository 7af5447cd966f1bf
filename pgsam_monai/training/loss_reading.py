"""Each step's loss as a number, without a GPU ever waiting for it to be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from ignite.engine import Engine, Events
from torch import Tensor

Heard = Callable[[Engine, int, float], None]
"""(trainer, iteration from 1, its loss)"""


def tell_each_loss(engine: Engine, heard: Heard) -> None:
    """Let `heard` know every step's loss, in order.

    On a CPU it is told when the step is done. A GPU's answer is fetched while it is at work on the next step, and told
    then; an epoch's last one at once, before anything is validated or saved.
    """
    waiting: deque[tuple[int, Callable[[], float]]] = deque()

    def step(engine: Engine) -> None:
        loss = loss_of(engine)
        on_gpu = isinstance(loss, Tensor) and loss.is_cuda
        waiting.append((engine.state.iteration, _fetch(loss) if on_gpu else lambda: float(loss)))
        lag = 1 if on_gpu and engine.state.iteration % engine.state.epoch_length else 0
        while len(waiting) > lag:
            iteration, number = waiting.popleft()
            heard(engine, iteration, number())

    engine.add_event_handler(Events.ITERATION_COMPLETED, step)


def loss_of(engine: Engine) -> Tensor | float:
    """Of the iteration that was just completed, where it lies, without its gradients' history."""
    output = engine.state.output
    loss = output[0]["loss"] if isinstance(output, list) else output["loss"]
    return loss.detach() if isinstance(loss, Tensor) else loss


def _fetch(loss: Tensor) -> Callable[[], float]:
    """Begin to copy a number from a GPU; the result waits for that copy alone and not for what was queued since."""
    number = torch.empty((), dtype=loss.dtype, pin_memory=True)
    number.copy_(loss, non_blocking=True)
    there = torch.cuda.Event()
    there.record(torch.cuda.current_stream(loss.device))

    def read() -> float:
        there.synchronize()
        return float(number)

    return read
