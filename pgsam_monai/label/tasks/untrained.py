"""Our own weights as they are, which answer clicks and boxes about structures that the user names: no bundle yet.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.interactive.zero_shot import load_zero_shot
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.own_bundles import WEIGHTS
from pgsam_monai.label.tasks.click_order import ClickOrder
from pgsam_monai.label.tasks.infer_tasks import DeepEdit, DeepGrow
from pgsam_monai.label.tasks.inference_request import BACKGROUND, EMPTY
from pgsam_monai.label.tasks.open_images import OpenImages
from pgsam_monai.networks.precision import usable_device
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.voxels.result import LabelResult
from pgsam_monai.weights.files import resolve_weights


class Untrained:
    """Stands where a task has a bundle: what tasks ask of one, they may ask of this."""

    name, channels, reads = WEIGHTS, 1, None
    folder = Path(WEIGHTS)
    """what DICOM objects say made them"""
    description = (
        "Clicks and boxes about structures that you name; weights as they come, trained on none of your data."
    )

    def __init__(
        self,
        labels: Sequence[str],
        *,
        window: tuple[float, float] | None = None,
        plane: str | None = None,
        device: str | None = None,
        engine: str = TORCH,
    ) -> None:
        """
        Args:
            labels: names of the structures, whose values are 1, 2, …
            window: grey values that are seen as black and white, for CT; None: percentiles of each image.
            plane: in which slices lie, see `interactive.zero_shot.load_zero_shot`.
            device: "cpu", "cuda", …; by default a GPU if there is one.
            engine: encodes images, see `interactive.zero_shot.load_zero_shot`.

        Raises:
            UserFault: there is no such device here.
        """
        self.names, self.values = [BACKGROUND, *labels], list(range(len(labels) + 1))
        self.window, self.plane, self._engine = window, plane, engine
        self.device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.lock = threading.RLock()
        """held while the network is at work"""

    def __str__(self) -> str:
        """What messages call it."""
        return f"'{self.name}'"

    @property
    def version(self) -> str:
        """Of the program that it came with."""
        return metadata.version("pgsam-monai")

    @property
    def model_file(self) -> Path:
        """The weights."""
        return resolve_weights(self.name)

    @cached_property
    def model(self) -> PromptModel:
        """The network.

        Raises:
            UserFault: the weights are gone, or the engine can't.
        """
        return load_zero_shot(
            self.name, self.names[1:], window=self.window, plane=self.plane, device=str(self.device),
            engine=self._engine,
        )  # fmt: skip

    def load(self) -> None:
        """As a bundle's; the weights never change."""
        _ = self.model


class UntrainedImages(OpenImages):
    """Images that clicks and boxes alone say anything about."""

    def __init__(self, served: Untrained, order: ClickOrder | None = None) -> None:
        super().__init__(served, order=order)

    def _weights(self) -> Hashable:
        return self._served.name

    def _segmenter(self, background: str) -> Segmenter:
        return Segmenter(self._served.model, background=background)


class _FindsNothing:
    """What holds for both kinds of requests: nothing is shown where nobody asked."""

    shown = (EMPTY,)

    def _segmented(self, request: Mapping[str, Any], **wishes: Any) -> LabelResult:
        raise RequestFault(
            f"{self.served} finds nothing by itself; click on a structure, or train it once two studies are labelled.",
            status=422,
        )

    @property
    def _source(self) -> str:
        return str(self.served)


class UntrainedDeepEdit(_FindsNothing, DeepEdit):
    """All structures, by clicks and boxes."""


class UntrainedDeepGrow(_FindsNothing, DeepGrow):
    """One structure, by clicks and boxes."""


def untrained_tasks(served: Untrained, order: ClickOrder | None = None) -> dict[str, DeepEdit]:
    """Its tasks by the names that clients choose from; `order` as of `OpenImages`."""
    images = UntrainedImages(served, order)
    return {
        f"{served.name}_deepedit": UntrainedDeepEdit(served, images),
        f"{served.name}_deepgrow": UntrainedDeepGrow(served, images),
    }
