"""A network in 8-bit integers for OpenVINO, calibrated on what it would be given of training cases.

NNCF's post-training quantisation; beside ONNX Runtime's, in docs/results.md, it is faster and closer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.runtime.engines import OPENVINO, installed
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import Record

if TYPE_CHECKING:
    import openvino

CASES, CALLS = 8, 64
"""training cases to look at, and inputs of the network to calibrate on"""
OFF = -1
"""of a smoothing"""


def require_quantizer() -> None:
    """Raise UserFault unless NNCF is here."""
    if not installed("nncf"):
        raise UserFault("--int8 needs NNCF, for the export alone: pip install 'pgsam-monai[int8]' or nncf.")


class InputSample(ExportedNetwork):
    """Keeps some of what the network would be given, each with the same probability."""

    def __init__(self, bundle: Bundle, record: Record, *, seed: int = 0) -> None:
        super().__init__(bundle, record, OPENVINO, threads=1)
        self.kept: list[np.ndarray] = []
        self._seen, self._random = 0, random.Random(seed)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """In place of the network."""
        image = inputs[0]
        self._seen += 1
        place = len(self.kept) if len(self.kept) < CALLS else self._random.randrange(self._seen)
        if place < CALLS:
            self.kept[place : place + 1] = [image]
        return [np.zeros((len(image), len(self.bundle.names), *image.shape[2:]), np.float32)]


def calibration_inputs(
    bundle: Bundle, record: Record, cases: Sequence[Mapping[str, Any]]
) -> list[np.ndarray]:
    """Inputs drawn from some of `cases`, which are spread over the list, each as predictions prepare them."""
    sample = InputSample(bundle, record)
    for case in tqdm(cases[:: max(1, len(cases) // CASES)][:CASES], desc="calibrating on", disable=None):
        sample.label_map(case["image"])
    return sample.kept


def quantized(onnx_file: Path, inputs: Sequence[np.ndarray]) -> openvino.Model:
    """The network of an ONNX file, its matrix products and convolutions in 8 bits."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    # Smoothing activations (SmoothQuant), the default for transformers, left SAMed's vit_tiny no foreground at all.
    smoothing = nncf.AdvancedSmoothQuantParameters(convolution=OFF, matmul=OFF)
    return nncf.quantize(
        openvino.Core().read_model(onnx_file), nncf.Dataset(list(inputs)), subset_size=len(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smoothing),
    )  # fmt: skip
