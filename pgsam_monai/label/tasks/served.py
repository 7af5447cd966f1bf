"""A bundle in service: one network, loaded strictly, that predicts what `pgsam predict` predicts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.cases import as_paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import restored_values
from pgsam_monai.label.tasks.images import Image, time_and_size
from pgsam_monai.label.tasks.results import LabelResult
from pgsam_monai.label.tasks.steps import BundleSteps
from pgsam_monai.predicting.predict import (
    ASKED,
    bundle_folder,
    channels_of,
    read_decisions,
    read_inference,
    stem,
)
from pgsam_monai.transforms.labels import label_indices, label_values

if TYPE_CHECKING:
    import numpy as np
    import torch
    from monai.inferers import Inferer
    from monai.transforms import Compose
    from torch import nn

    from pgsam_monai.interactive.model import PromptModel
    from pgsam_monai.label.tasks.class_texts import ClassTextEditor

READS_REQUESTS, READS_CLASSES = "request", "classes"


class ServedFault(UserFault):
    """A bundle can't serve; the message names it and the remedy."""


class ServedBundle:
    """A bundle in service: one network, loaded strictly, loaded anew when its file has changed.

    Requests from several threads are answered one after the other.
    """

    def __init__(self, root: Path, *, device: str | None = None) -> None:
        """Reads configs only; the network is built when it is first asked for, or by ``load``.

        Args:
            root: the bundle's folder; its models/model.pt must exist.
            device: "cpu", "cuda", …; by default a GPU if there is one.

        Raises:
            FileNotFoundError: no bundle there, or not trained yet.
        """
        self.root = bundle_folder(root)
        self.name = Path(root).name
        self.lock = threading.RLock()
        """held while the network is at work"""
        self._parser = read_inference(self.root, device)
        config, plan = self._parser.get(), read_decisions(self.root)
        metadata = config["_meta_"]
        self.description, self.version = str(metadata["description"]), str(metadata["version"])
        self.modality = str(metadata["network_data_format"]["inputs"]["image"].get("modality", ""))
        self.channels = channels_of(self._parser)
        self.names: list[str] = list(plan["label_names"])
        """of all classes, the background first"""
        self.values: list[int] = restored_values(plan["labels"])
        """in predictions, in the order of ``names``"""
        self.reads = _what_it_reads(config)
        self.takes_prompts = config["network_def"]["_target_"].endswith(".MedSA")
        self._steps = BundleSteps(self._parser, answers=self.reads == READS_REQUESTS, source=self._source)
        self._network: nn.Module | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Foreground names as the user gave them -> values in predictions."""
        return dict(zip(self.names[1:], self.values[1:], strict=True))

    @property
    def model_file(self) -> Path:
        """The network's weights."""
        return self.root / "models/model.pt"

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Which weights are loaded: time of change (ns) and size (bytes) of their file; None for none."""
        return self._stamp

    @cached_property
    def device(self) -> torch.device:
        """Where the network computes."""
        import torch

        return torch.device(self._parser.get_parsed_content("device"))

    @cached_property
    def class_texts(self) -> dict[str, list[str]]:
        """Of a bundle that reads a text per class: its own by class name, background first."""
        from pgsam_monai.texts.texts import read_texts

        texts = read_texts(self._parser.get_parsed_content("texts_file"), self.names)
        return dict(zip(self.names, texts, strict=True))

    @property
    def network(self) -> nn.Module:
        """In evaluation mode, on its device, with the weights that models/model.pt holds now.

        Raises:
            ServedFault: they don't fit, or are gone.
        """
        self.load()
        return self._network

    @property
    def preprocessing(self) -> Compose:
        """See `BundleSteps`, also for the next two."""
        return self._steps.preprocessing

    @property
    def inferer(self) -> Inferer:
        """Walks over a volume."""
        return self._steps.inferer

    @property
    def postprocessing(self) -> Compose:
        """For the bundle's classes."""
        return self._steps.postprocessing

    def load(self) -> None:
        """Build the network, or renew its weights if models/model.pt has changed since.

        Raises:
            ServedFault: it is gone, or doesn't fit the network that the configs describe. Nothing is served then
                until a file lies there that fits.
        """
        with self.lock:
            stamp = self._stamp_of_file()
            if stamp == self._stamp:
                return
            self._stamp = None
            try:
                self._renew()
            except Exception as error:
                raise ServedFault(
                    f"{self._source}: {self.model_file} doesn't fit the network of its configs "
                    f"({_first_lines(error)}); train the bundle again, or restore the configs that it was trained with."
                ) from error
            self._stamp = stamp

    def label_map(
        self,
        image: Image,
        *,
        text: str | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
        device: torch.device | None = None,
    ) -> LabelResult:
        """Segment an image as `pgsam predict` does.

        Args:
            image: a file, a DICOM series folder, or one file per channel.
            text: what is asked for, of a bundle that reads requests; the label map then holds 0 and 1.
            texts: by class name, texts instead of the bundle's own, of a bundle that reads texts of classes.
            device: where the network computes this time; None for its own.

        Raises:
            ReadError: an unreadable file.
            ServedFault: see ``network``.
        """
        device, answer = device or self.device, text is not None
        with self.lock, self._moved(device), self._asked(text, texts):
            voxels, affine = self._steps.run(image, self._network, device, answer=answer)
        names, values = ([self.names[0], text], [0, ASKED]) if answer else (self.names, self.values)
        return LabelResult(
            voxels=voxels, affine=affine, source=str(as_paths(image)[0]), names=names, values=values
        )

    def segment(
        self,
        image: Image,
        folder: Path,
        *,
        text: str | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> Path:
        """As ``label_map``, written to `folder` as `pgsam predict` writes it; returns the file."""
        return self.label_map(image, text=text, texts=texts).save(Path(folder), stem(as_paths(image)[0]))

    def clean(self, label_map: np.ndarray) -> np.ndarray:
        """The bundle's own postprocessing of classes, done to a label map (i, j, k) of the data set's values."""
        indices = label_indices(label_map, self.values)
        return label_values(self._steps.clean(indices), self.values)

    def prompt_model(self) -> PromptModel:
        """The same network as it answers clicks and boxes; its weights are renewed with ``network``.

        Raises:
            ValueError: it takes none.
            ServedFault: see ``network``.
        """
        from pgsam_monai.interactive.model import describe_model, require_prompts

        require_prompts(self.network, source=self._source)
        return describe_model(self._network, self._parser, names=self.names[1:], source=self._source)

    @property
    def _source(self) -> str:
        """What messages call it."""
        return f"Bundle '{self.name}'"

    def _stamp_of_file(self) -> tuple[int, int]:
        try:
            return time_and_size(self.model_file)
        except OSError as error:
            raise ServedFault(
                f"{self._source} has lost {self.model_file}; train it, or put its weights back."
            ) from error

    def _renew(self) -> None:
        """Into the network that is there: a second copy would need twice the memory."""
        from pgsam_monai.weights.files import load_weights

        if self._network is None:
            self._network = self._parser.get_parsed_content("network_def").to(self.device).eval()
        self._network.load_state_dict(load_weights(self.model_file))

    @contextmanager
    def _moved(self, device: torch.device) -> Iterator[None]:
        """The network on a device, and afterwards on its own again."""
        network = self.network
        if device == self.device:
            yield
            return
        try:
            network.to(device)
            yield
        finally:
            network.to(self.device)

    @contextmanager
    def _asked(self, text: str | None, texts: Mapping[str, Sequence[str]] | None) -> Iterator[None]:
        """The network with these texts, and afterwards with its own again."""
        if texts:
            with self._editor.edited(texts):
                yield
        elif text is not None:
            own, self._network.request = self._network.request, text
            try:
                yield
            finally:
                self._network.request = own
        else:
            yield

    @cached_property
    def _editor(self) -> ClassTextEditor:
        from pgsam_monai.label.tasks.class_texts import ClassTextEditor

        return ClassTextEditor(self._network, self.names)


def _what_it_reads(config: Mapping[str, Any]) -> str | None:
    network = config["network_def"]
    if "request" in config and network.get("text_prompt", True):
        return READS_REQUESTS
    return READS_CLASSES if "texts" in network and network.get("prior_aligner", False) else None


def _first_lines(error: Exception) -> str:
    """Of the message: torch's lists of keys may take hundreds of lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:400].rstrip(".")
