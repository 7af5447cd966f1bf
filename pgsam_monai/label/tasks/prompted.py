"""MONAI Label's inference tasks for clicks and boxes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.tasks.click_requests import (
    BACKGROUND,
    EMPTY,
    EVERYTHING,
    Prompting,
    read_deepedit,
    read_deepgrow,
)
from pgsam_monai.label.tasks.images import find_image
from pgsam_monai.label.tasks.prompting import PromptedImages
from pgsam_monai.label.tasks.requests import ORIGINAL, Delivery, read_delivery, refuse_texts
from pgsam_monai.label.tasks.segment import Segmentation, choose_device, send
from pgsam_monai.label.tasks.served import ServedBundle


class DeepEdit(Segmentation):
    """All classes: what the network finds by itself, corrected by clicks and boxes (`label.tasks.click_requests`)."""

    kind = InferType.DEEPEDIT
    shown = (EVERYTHING, EMPTY)

    def __init__(self, served: ServedBundle, images: PromptedImages) -> None:
        """`images` is shared by the tasks of one bundle."""
        super().__init__(served)
        self._images = images

    def __call__(self, request: Mapping[str, Any], callbacks: None = None) -> tuple[str | None, dict]:
        """As ``Segmentation``; the JSON also has `clicks_used` (`label.tasks.prompting.clicks_used`).

        Raises:
            RequestFault: a parameter is wrong.
            ReadError: the image can't be read.
        """
        start = time.perf_counter()
        delivery = read_delivery(request)
        refuse_texts(request, source=f"Bundle '{self.served.name}'")
        if choose_device(self.served, request) != self.served.device:
            raise RequestFault(
                f"Clicks are answered on {self.served.device}; leave 'device' out.", status=422
            )
        prompting = self._read(request, delivery)
        image = find_image(request.get("image"), channels=self.served.channels)
        if prompting.clicks is None:
            result, used = self.served.label_map(image), {}
        else:
            result, used = self._images.answer(image, prompting)
        said = {"device": str(self.served.device), "clicks_used": used}
        return send(result, delivery, said, start=start, done=time.perf_counter())

    def _listed_labels(self) -> dict[str, int]:
        """Where background is listed, clients let users click on it."""
        return {BACKGROUND: 0, **super()._listed_labels()}

    def _options(self) -> dict[str, Any]:
        return {"device": [str(self.served.device)], "propagate": False, "background_shows": list(self.shown)}

    def _read(self, request: Mapping[str, Any], delivery: Delivery) -> Prompting:
        return read_deepedit(request, self.served.names[1:])


class DeepGrow(DeepEdit):
    """One class, by clicks and boxes alone."""

    kind = InferType.DEEPGROW
    shown = (EMPTY, EVERYTHING)

    def _listed_labels(self) -> dict[str, int]:
        return Segmentation._listed_labels(self)

    def _read(self, request: Mapping[str, Any], delivery: Delivery) -> Prompting:
        """Clients know the labels' values as they are delivered."""
        values = self.served.values[1:] if delivery.values == ORIGINAL else range(1, len(self.served.names))
        return read_deepgrow(request, self.served.names[1:], list(values))
