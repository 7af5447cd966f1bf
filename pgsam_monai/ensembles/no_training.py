"""What an ensemble's `training` is: a sentence."""

from __future__ import annotations

from typing import NoReturn

from pgsam_monai.base.errors import UserFault


def refuse_training() -> NoReturn:
    """Raise UserFault: the one step of `training` in an ensemble's train.json."""
    raise UserFault(
        "an ensemble isn't trained itself; train the bundles of its networks, then make it anew with pgsam ensemble."
    )
