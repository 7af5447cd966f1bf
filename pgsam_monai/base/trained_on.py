"""Which cases a network was trained on: kept in its weights, so that they are never measured as unseen ones.

Weights hold digests, no names: these may name patients, and weights are passed on without the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pgsam_monai.base.trained_for import KEY as TRAINED_FOR
from pgsam_monai.base.trained_for import description_in

KEY = "trained_on"
"""in the description that a network keeps in its state dict"""
LENGTH = 10
"""hexadecimal digits of a digest: of a thousand cases against a thousand, one in a million comes out alike"""


def digests_of(names: Iterable[str], *, dataset: str) -> frozenset[str]:
    """What weights hold of cases with these names in a data set: many have a "case_001", each another."""
    return frozenset(hashlib.sha256(f"{dataset}/{name}".encode()).hexdigest()[:LENGTH] for name in names)


def digests_in(description: Mapping[str, Any]) -> frozenset[str] | None:
    """The digests that a network's description has; None where it has none, as those of older versions."""
    digests = description.get(KEY)
    return frozenset(map(str, digests)) if isinstance(digests, list) else None


def trained_on(weights: str | Path, names: Iterable[str]) -> list[str] | None:
    """Those of the named cases that the weights in a file were trained on; None if the file doesn't say.

    Args:
        weights: read without torch.
        names: of cases of the data set that these weights are for.
    """
    description = description_in(Path(weights)) or {}
    known, stamp = digests_in(description), description.get(TRAINED_FOR)
    if known is None or not isinstance(stamp, Mapping):
        return None
    dataset = str(stamp.get("dataset"))
    return [name for name in names if digests_of([name], dataset=dataset) <= known]
