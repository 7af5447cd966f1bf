"""What a bundle has more where labels are partial; elsewhere its configs are as if there were no such thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.capabilities import REQUESTS, Capabilities

FULL: dict[str, Any] = {"label_options": {}, "measured": ["pred", "label"], "reference_options": {}}
LOSS = "pgsam_monai.training.partial.PartialLoss"
PREPARE = "pgsam_monai.training.partial.PreparePartialBatch"
LOOKED_FOR = "looked_for"
"""What validation calls the known classes, in a copy that reaches its metric."""


def is_partial(plan: Mapping[str, Any], splits: Mapping[str, Any]) -> bool:
    """By the contents of plan.json and splits.json, whether there are structures that weren't looked for in some case,
    or voxels that nobody labelled."""
    cases = splits.get("cases", {}).values()
    return "ignore" in plan["dataset"] or any(entry.get("labelled") is not None for entry in cases)


def partial_values(values: Mapping[str, Any], can: Capabilities, *, ignore: int | None) -> dict[str, Any]:
    """The values of a bundle's templates that partial labels change.

    Args:
        values: of full labels.
        can: what the network can do.
        ignore: value of voxels in the label files that nobody labelled.
    """
    loss = dict(values["loss"])
    if can.texts == REQUESTS:
        loss["loss"] = {**loss["loss"], "_target_": LOSS}
    else:
        loss["_target_"] = LOSS
    options = dict(values["trainer_options"])
    given = dict(options.get("prepare_batch", {}).get("extra_keys", {}))
    if can.texts == REQUESTS:
        given["known"] = "known"
    options["prepare_batch"] = {"_target_": PREPARE, "extra_keys": given}
    copied = {"_target_": "CopyItemsd", "keys": "known", "names": LOOKED_FOR}
    cleaning = {"_target_": "Compose", "transforms": [values["cleaning"], copied]}
    return {
        "loss": loss,
        "trainer_options": options,
        "cleaning": cleaning,
        "label_options": {"labels": "@labels"},
        "measured": ["pred", "label", LOOKED_FOR],
        "reference_options": {} if ignore is None else {"ignore": ignore},
    }
