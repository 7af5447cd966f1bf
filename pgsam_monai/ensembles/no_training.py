"""What an ensemble's `training` is: a sentence."""

from __future__ import annotations

from typing import NoReturn


def refuse_training() -> NoReturn:
    """The one step of `training` in an ensemble's train.json.

    Raises:
        SystemExit: with a sentence. (Any other exception MONAI would bury below its wrappers and a traceback.)
    """
    raise SystemExit(
        "An ensemble isn't trained itself; train the bundles of its networks, then make it anew with pgsam ensemble."
    )
