"""MONAI Label's inference tasks: a bundle by itself, asked in words, and by clicks and boxes.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list, device_map

from pgsam_monai.base.capabilities import CLASS_TEXTS, REQUESTS
from pgsam_monai.bundle import Bundle
from pgsam_monai.inference.confidence import told
from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.label.fields import text_of
from pgsam_monai.label.reading.reader import read_image_safely
from pgsam_monai.label.tasks.inference_request import (
    BACKGROUND,
    EMPTY,
    EVERYTHING,
    LABEL_VALUES,
    ORIGINAL,
    TEXT_PREFIX,
    ClickRequest,
    Delivery,
    find_image,
    read_class_texts,
    read_deepedit,
    read_deepgrow,
    read_delivery,
    read_text,
    refuse_texts,
)
from pgsam_monai.label.tasks.open_images import OpenImages
from pgsam_monai.label.tasks.results import cast, send_file
from pgsam_monai.predicting.exported import kept_network
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.transforms.read import image_reader
from pgsam_monai.voxels.result import LabelResult

CPU = "cpu"
DIMENSION = 3
"""Clients send the clicks of all slices to 3-D models."""


class Segmentation(InferTask):
    """Segments an image by itself, as `pgsam predict` does.

    Beside MONAI Label's parameters it takes `label_values`, and `text` or `texts` (`label.tasks.inference_request`).
    """

    kind = InferType.SEGMENTATION

    def __init__(self, served: Bundle, engine: str = TORCH) -> None:
        """`engine`: see `predicting.exported.kept_network`."""
        self.served, self.engine = served, engine
        config = {"device": self._devices(), "label_values": list(LABEL_VALUES), **self._options()}
        super().__init__(self.kind, self._listed_labels(), DIMENSION, served.description, config)

    def info(self) -> dict[str, Any]:
        """What clients learn of the model."""
        return super().info() | {"version": self.served.version}

    def is_valid(self) -> bool:
        """Weights are checked when the server starts."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """The file of the weights; None where it is to exist and doesn't."""
        file = self.served.model_file
        return str(file) if file.is_file() or not validate else None

    def clear_cache(self) -> None:
        """Nothing that could be stale is kept: changed weights are loaded anew."""

    def __call__(self, request: Mapping[str, Any], callbacks: None = None) -> tuple[str, dict[str, Any]]:
        """Answer a request: the path of the label map, a temporary file, and what the client learns beside it.

        Raises:
            RequestFault: a parameter is wrong.
            ReadError: the image can't be read.
        """
        start = time.perf_counter()
        delivery = read_delivery(request)
        image_reader.set(read_image_safely)
        result, said = self._answer(request, delivery)
        done = time.perf_counter()
        chosen = result if delivery.values == ORIGINAL else result.consecutive()
        file = send_file(cast(chosen, delivery.dtype), delivery.extension)
        end = time.perf_counter()
        latencies = {"infer": done - start, "write": end - done, "total": end - start}
        rounded = {name: round(seconds, 3) for name, seconds in latencies.items()}
        return str(file), {"label_names": chosen.label_names, "latencies": rounded, **said}

    def _answer(self, request: Mapping[str, Any], delivery: Delivery) -> tuple[LabelResult, dict[str, Any]]:
        """The label map, and what the client learns of how it came about."""
        words, device = self._read_words(request), self._choose_device(request)
        return self._segmented(request, device=device, **words), {"device": str(device)}

    def _segmented(self, request: Mapping[str, Any], **wishes: Any) -> LabelResult:
        """By an exported network where one answers, which knows no words."""
        worded = wishes.get("text") is not None or wishes.get("texts")
        exported = None if worded else kept_network(self.served.folder, self.engine)
        if exported is None:
            with told(False):
                return self.served.label_map(self._image(request), **wishes)
        with self.served.lock:
            return exported.label_map(self._image(request), read=read_image_safely)[0]

    def _image(self, request: Mapping[str, Any]) -> str | list[str]:
        return find_image(request.get("image"), channels=self.served.channels)

    def _read_words(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked for in words, as `Bundle.label_map` takes it."""
        if self.served.reads == REQUESTS:
            return {"text": read_text(request)}
        if self.served.reads == CLASS_TEXTS:
            return {"texts": read_class_texts(request, self.served.class_texts, source=self._source)}
        refuse_texts(request, source=self._source)
        return {}

    def _choose_device(self, request: Mapping[str, Any]) -> torch.device:
        """Where a request is computed: on the CPU where that is asked for, else on the bundle's own device.

        Clients name cards as MONAI Label lists them, or "cuda", whatever there is.
        """
        given, own = text_of(request, "device"), self.served.device
        if given is None:
            return own
        known = {str(own), "cuda", CPU, *device_list(), *device_map().values()}
        if given not in known and not given.startswith("cuda:"):
            raise RequestFault(f"There is no device {short(given)} here; use {' or '.join(self._devices())}.")
        return torch.device(CPU) if given == CPU else own

    def _devices(self) -> list[str]:
        """Where a request can be computed, the usual place first."""
        return list(dict.fromkeys([str(self.served.device), CPU]))

    def _listed_labels(self) -> dict[str, int]:
        """Names and values as `info` shows them to clients."""
        return {name: value for value, name in enumerate(self.served.names[1:], start=1)}

    def _options(self) -> dict[str, Any]:
        """What a client can set, with its default: of a list the first."""
        if self.served.reads == REQUESTS:
            return {"text": ""}
        if self.served.reads == CLASS_TEXTS:
            own = self.served.class_texts
            return {f"{TEXT_PREFIX}{name}": own[name][0] for name in self.served.names[1:]}
        return {}

    @property
    def _source(self) -> str:
        """What messages call the bundle."""
        return f"Bundle '{self.served.name}'"


class DeepEdit(Segmentation):
    """All classes: what the network finds by itself, corrected by clicks and boxes.

    The JSON also has `clicks_used` (`label.tasks.open_images.clicks_used`).
    """

    kind = InferType.DEEPEDIT
    shown = (EVERYTHING, EMPTY)

    def __init__(self, served: Bundle, images: OpenImages, engine: str = TORCH) -> None:
        """`images` is shared by the tasks of one bundle."""
        super().__init__(served, engine)
        self._images = images

    def _answer(self, request: Mapping[str, Any], delivery: Delivery) -> tuple[LabelResult, dict[str, Any]]:
        refuse_texts(request, source=self._source)
        if self._choose_device(request) != self.served.device:
            raise RequestFault(
                f"Clicks are answered on {self.served.device}; leave 'device' out.", status=422
            )
        asked = self._read(request, delivery)
        if asked.clicks is None:
            result, used = self._segmented(request), {}
        else:
            result, used = self._images.answer(self._image(request), asked)
        return result, {"device": str(self.served.device), "clicks_used": used}

    def _read(self, request: Mapping[str, Any], delivery: Delivery) -> ClickRequest:
        return read_deepedit(request, self.served.names[1:], self.shown)

    def _listed_labels(self) -> dict[str, int]:
        """Where background is listed, clients let users click on it."""
        return {BACKGROUND: 0, **super()._listed_labels()}

    def _devices(self) -> list[str]:
        return [str(self.served.device)]

    def _options(self) -> dict[str, Any]:
        return {"propagate": False, "background_shows": list(self.shown)}


class DeepGrow(DeepEdit):
    """One class, by clicks and boxes alone."""

    kind = InferType.DEEPGROW
    shown = (EMPTY, EVERYTHING)

    def _read(self, request: Mapping[str, Any], delivery: Delivery) -> ClickRequest:
        """Clients know the labels' values as they are delivered."""
        values = self.served.values[1:] if delivery.values == ORIGINAL else range(1, len(self.served.names))
        return read_deepgrow(request, self.served.names[1:], list(values), self.shown)

    def _listed_labels(self) -> dict[str, int]:
        return Segmentation._listed_labels(self)
