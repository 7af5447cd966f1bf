"""Which image a client labels next; only inside MONAI Label's environment."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class AnyImage(Strategy):
    """Any unlabelled image, rather one that was not shown for long.

    MONAI Label's own fails where the only ones left were shown within this second, or have a record of a client's.
    """

    def __init__(self) -> None:
        super().__init__("Random Strategy")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """{"id", "weight"}: the image, and since when it was not shown (s); None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        waited = [_waited_s(datastore.get_image_info(image), request["strategy"]) for image in images]
        (place,) = random.choices(range(len(images)), weights=waited)
        return {"id": images[place], "weight": waited[place]}


def _waited_s(info: Mapping[str, Any], strategy: str) -> int:
    """At least 1, since when the image was shown."""
    try:
        shown = int(info["strategy"][strategy]["ts"])
    except (KeyError, TypeError, ValueError, OverflowError):
        shown = 0
    return max(1, int(time.time()) - shown)
