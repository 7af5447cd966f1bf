"""Which classes were looked for in a case: of partial labels, the part that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import Entry, known_classes


def known_of(data: Sequence[Mapping[str, Any]], labels: Sequence[Entry] | None) -> list[torch.Tensor] | None:
    """Of each case (K+1,) bool, the background first; None where `labels` is None, which says that all are known.

    Args:
        data: cases as of `splits.select_cases`, whose "labelled" are the values that were looked for.
        labels: the planned values of the classes, where labels are partial.

    Raises:
        UserFault: a case has partial labels, and the config wasn't made for such.
    """
    if labels is not None:
        return [torch.tensor(known_classes(labels, item.get("labelled"))) for item in data]
    partial = next((item for item in data if item.get("labelled") is not None), None)
    if partial is not None:
        raise UserFault(
            f"Case '{partial.get('name')}' is labelled for some structures only (\"labelled\" in splits.json), and the"
            " bundle was planned without partial labels; plan the data set again with --labelled, or take that away."
        )
    return None


def is_known(known: torch.Tensor, label: int) -> bool:
    """Whether a class index is one that was looked for; what nobody labelled has an index beyond the classes."""
    return label < len(known) and bool(known[label])


def without_unknown(label: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Class indices of any shape, with background, 0, where a class wasn't looked for; further indices stay."""
    unknown = (~known).nonzero().flatten().to(label.dtype)
    return label if not len(unknown) else torch.where(torch.isin(label, unknown), 0, label)
