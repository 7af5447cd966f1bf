"""MONAI Label's inference task for automatic segmentation, by text too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list, device_map

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.tasks.images import find_image
from pgsam_monai.label.tasks.requests import (
    LABEL_VALUES,
    ORIGINAL,
    TEXT_PREFIX,
    Asking,
    Delivery,
    read_class_texts,
    read_delivery,
    read_request_text,
    refuse_texts,
    short,
    text_of,
)
from pgsam_monai.label.tasks.results import LabelResult
from pgsam_monai.label.tasks.served import READS_CLASSES, READS_REQUESTS, ServedBundle

CPU = "cpu"
DIMENSION = 3
"""Clients send the clicks of all slices to 3-D models."""


class Segmentation(InferTask):
    """Segments an image by itself, as `pgsam predict` does.

    Beside MONAI Label's parameters it takes `label_values`, and `text` or `texts` (`label.tasks.requests`).
    """

    kind = InferType.SEGMENTATION

    def __init__(self, served: ServedBundle) -> None:
        self.served = served
        config = {"device": device_names(served), "label_values": list(LABEL_VALUES)}
        super().__init__(
            self.kind, self._listed_labels(), DIMENSION, served.description, config | self._options()
        )

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

    def __call__(self, request: Mapping[str, Any], callbacks: None = None) -> tuple[str | None, dict]:
        """Answer a request: the path of the label map, a temporary file, and what the client learns beside it.

        Raises:
            RequestFault: a parameter is wrong.
            ReadError: the image can't be read.
        """
        start = time.perf_counter()
        delivery, asking = read_delivery(request), read_asking(self.served, request)
        device = choose_device(self.served, request)
        image = find_image(request.get("image"), channels=self.served.channels)
        result = self.served.label_map(image, text=asking.text, texts=asking.texts, device=device)
        done = time.perf_counter()
        return send(result, delivery, {"device": str(device)}, start=start, done=done)

    def _listed_labels(self) -> dict[str, int]:
        """Names and values as `info` shows them to clients."""
        return {name: value for value, name in enumerate(self.served.names[1:], start=1)}

    def _options(self) -> dict[str, Any]:
        """What a client can set, with its default: of a list the first."""
        return text_fields(self.served)


def device_names(served: ServedBundle) -> list[str]:
    """Where a request can be computed, the usual place first."""
    own = str(served.device)
    return [own] if own == CPU else [own, CPU]


def choose_device(served: ServedBundle, request: Mapping[str, Any]) -> torch.device:
    """Where a request is computed: on the CPU where that is asked for, else on the bundle's own device.

    Clients name cards as MONAI Label lists them, or "cuda", whatever there is.

    Raises:
        RequestFault: no such device.
    """
    given = text_of(request, "device")
    if given is None:
        return served.device
    known = {str(served.device), "cuda", CPU, *device_list(), *device_map().values()}
    if given not in known and not given.startswith("cuda:"):
        raise RequestFault(
            f"There is no device {short(given)} here; use {' or '.join(device_names(served))}."
        )
    return torch.device(CPU) if given == CPU else served.device


def text_fields(served: ServedBundle) -> dict[str, str]:
    """The fields for texts that clients show, with what stands in them."""
    if served.reads == READS_REQUESTS:
        return {"text": ""}
    if served.reads == READS_CLASSES:
        return {f"{TEXT_PREFIX}{name}": served.class_texts[name][0] for name in served.names[1:]}
    return {}


def read_asking(served: ServedBundle, request: Mapping[str, Any]) -> Asking:
    """What a request asks for in words.

    Raises:
        RequestFault: words that the bundle can't read.
    """
    source = f"Bundle '{served.name}'"
    if served.reads == READS_REQUESTS:
        return read_request_text(request)
    if served.reads == READS_CLASSES:
        return read_class_texts(request, served.class_texts, source=source)
    return refuse_texts(request, source=source)


def send(
    result: LabelResult, delivery: Delivery, said: Mapping[str, Any], *, start: float, done: float
) -> tuple[str, dict[str, Any]]:
    """Write a result as it was asked for.

    Args:
        result: the label map.
        delivery: how it was asked for.
        said: what else the client is told.
        start: when the request came (time.perf_counter).
        done: when the label map was there.

    Returns:
        the file, and the JSON beside it.
    """
    chosen = result if delivery.values == ORIGINAL else result.consecutive()
    file = chosen.cast(delivery.dtype).send(delivery.extension)
    end = time.perf_counter()
    latencies = {"infer": done - start, "write": end - done, "total": end - start}
    rounded = {name: round(seconds, 3) for name, seconds in latencies.items()}
    return str(file), {"label_names": chosen.label_names, "latencies": rounded, **said}
