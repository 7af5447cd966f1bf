"""Learning to answer a text about one structure: what is asked in a training step, and what the answer should be.

The paper shows requests such as "perform liver segmentation" (Section 3.3.1) but does not say how they are drawn; that
is ours. All draws are from torch's global generator, which a bundle seeds by epoch: a resumed training asks the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d.requests import TEMPLATES
from pgsam_monai.networks.slices import plain


@dataclass(frozen=True, kw_only=True)
class ReferringTraining:
    """How often training asks for one structure, instead of all classes or beside them, and how."""

    share: float = 0.25
    """of the steps, 0 to 1"""
    absent_share: float = 0.1
    """of the requests, 0 to 1, those for any class, in the volume or not: the answer may be "nothing"."""
    drawn_share: float = 0.5
    """of the other steps, and of all where requests compete with classes, 0 to 1, those that know each class by a
    request drawn anew instead of its sentence. Measured on phantoms (docs/results.md): without these, requests bring
    whatever structure is found most easily."""
    templates: Sequence[str] = TEMPLATES
    """requests with "{name}" where the class's name goes"""
    other_names_share: float = 0.3
    """of the requests for a structure that the library of described structures knows, 0 to 1, those that call it by
    another name than its label's: a synonym, an abbreviation, a name in another language. 0 knows none. Which share is
    best was not measured"""
    pair_share: float = 0.2
    """of the requests for a left or right structure whose other side is a class as well, 0 to 1, those for both"""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a share outside 0 to 1.
        """
        for field in ("share", "absent_share", "drawn_share", "other_names_share", "pair_share"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserFault(f"Referring: {field} must lie between 0 and 1, got {getattr(self, field)}.")


class Referred(NamedTuple):
    """The answer to one text per volume, in training."""

    logits: Tensor | list[Tensor]
    """(B, 2, H, W, D), background and what was asked for; then, in a list, at coarser scales"""
    target: Tensor
    """(B, 1, H, W, D), 1 where the structure asked for is, else 0"""
    together: Tensor | list[Tensor] | None = None
    """logits (B, K+1, H, W, D) of all classes from the same step, as `logits` in a list; None without"""


def is_drawn(share: float) -> bool:
    """Whether this step is one of a `share` of the steps, drawn at random."""
    return bool(torch.rand(()) < share)


def choose_asked(label: Tensor, num_classes: int, absent_share: float, known: Tensor | None = None) -> Tensor:
    """Which class to ask for in each volume.

    Args:
        label: class indices (B, 1, H, W, D).
        num_classes: K.
        absent_share: probability of taking any class instead of one that the volume holds; a volume without any gets
            any class as well.
        known: (B, K+1) bool, the classes that were looked for: no other is asked for, since nobody knows the answer;
            None for all.

    Returns:
        (B,) int64, from 1 to K, on the label's device.
    """
    label = plain(label)
    ever = torch.ones(len(label), num_classes + 1, dtype=torch.bool) if known is None else known.cpu()
    chosen = [_choose(volume, some, absent_share) for volume, some in zip(label, ever, strict=True)]
    return torch.stack(chosen).to(label.device)


def with_partners(
    classes: Tensor, partners: Mapping[int, int], share: float, known: Tensor | None = None
) -> Tensor:
    """Classes asked for (B,) → (B, 2): in a `share` of the draws with the partner, where it is known; else twice.

    Args:
        classes: from 1 to K.
        partners: of a left structure the right one, and of this that.
        share: 0 to 1.
        known: as for `choose_asked`.
    """
    wanted = classes.tolist()
    others = [partners.get(index, index) for index in wanted]
    for row, (own, other) in enumerate(zip(wanted, others, strict=True)):
        looked_for = known is None or bool(known[row, other])
        if other != own and not (is_drawn(share) and looked_for):
            others[row] = own
    return torch.tensor([wanted, others]).T.to(classes.device)


def target_of(label: Tensor, classes: Tensor) -> Tensor:
    """Where what was asked for is: `label` (B, 1, H, W, D) and `classes`, (B,) or (B, n) → 1 there, else 0, as `label`.

    Of several classes in a row each counts.
    """
    label = plain(label)
    each = classes.reshape(len(label), -1, *(1,) * (label.ndim - 1))
    return (label.unsqueeze(1) == each).any(dim=1).to(label.dtype)


def against_others(masks: Tensor, asked: Tensor, left_out: Tensor | None = None) -> Tensor:
    """What a request answers among classes.

    Args:
        masks: logits (B, T, H, W, D) that compete.
        asked: (B or 1, T) bool, those that answer together, one at least.
        left_out: likewise, those that don't count; None for none.

    Returns:
        (B, 2, H, W, D), all others and what is asked: their softmax gives it what the softmax of all that count does.
    """
    left_out = torch.zeros_like(asked) if left_out is None else left_out
    others, own = (
        masks.masked_fill(hidden[..., None, None, None], -torch.inf).logsumexp(dim=1, keepdim=True)
        for hidden in (asked | left_out, ~asked)
    )
    return torch.cat([others, own], dim=1)


def _choose(volume: Tensor, known: Tensor, absent_share: float) -> Tensor:
    counts = torch.bincount(volume.flatten().long(), minlength=len(known))[: len(known)].cpu()
    held = (known & (counts > 0))[1:].nonzero().flatten() + 1
    if torch.rand(()) < absent_share or not len(held):
        held = known[1:].nonzero().flatten() + 1
    return held[torch.randint(len(held), ())]
