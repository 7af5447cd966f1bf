"""Prompts while training: a simulated user asks, sees the answer, and clicks where it is wrong (Section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pgsam_monai.prompts.clicks import add_clicks, make_training_prompts
from pgsam_monai.prompts.points import Prompts, asked


@dataclass(frozen=True, kw_only=True)
class PromptTraining:
    """What the simulated user does in a training step."""

    kinds: Sequence[str] = ("point", "points", "box")
    """first prompts to choose from, see `make_training_prompts`"""
    max_classes: int = 4
    """classes asked about in one slice, of those that it holds"""
    further_clicks: int = 2
    """at most so many clicks into errors follow the first prompt; their number is drawn anew for each step"""


def simulate_prompts(
    answer: Callable[[Prompts], Tensor], user: PromptTraining, label: Tensor, everything: Tensor
) -> Tensor:
    """Logits (B, K+1, h, w) of answers to prompts made from `label`, fit for the loss that `everything` has.

    Background is 0, asked classes have their answers. A class that the slice holds but that was not asked keeps what
    `everything` (B, K+1, h, w) says of it, without gradient; one that it doesn't hold can't win.

    Args:
        answer: the network's logits (B, K, h, w) to prompts on B slices, in training mode.
        user: what is asked.
        label: class indices (B, 1, H, W).
        everything: the answer without prompts.
    """
    # Drawn from torch's generator, which the bundle seeds epoch by epoch: a resumed run asks the same.
    random = np.random.default_rng(int(torch.randint(2**62, ())))
    prompts = make_training_prompts(
        label,
        num_classes=everything.shape[1] - 1,
        rng=random,
        kinds=tuple(user.kinds),
        max_classes=user.max_classes,
    )
    for _ in range(int(random.integers(user.further_clicks + 1))):
        with torch.no_grad():
            logits = answer(prompts)
        prompts = add_clicks(prompts, logits, label, random)
        prompts = prompts._replace(masks=logits, has_mask=asked(prompts))
    return _competing(answer(prompts), prompts, label, everything.detach())


def _competing(answers: Tensor, prompts: Prompts, label: Tensor, everything: Tensor) -> Tensor:
    classes = torch.arange(1, answers.shape[1] + 1, device=label.device)
    held = (label.flatten(1).unsqueeze(1) == classes[None, :, None]).any(dim=2)  # (B, K)
    own = everything[:, 1:] - everything[:, :1]
    left = (held & ~asked(prompts))[:, :, None, None]
    return torch.nn.functional.pad(torch.where(left, own, answers), (0, 0, 0, 0, 1, 0))
