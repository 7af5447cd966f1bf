"""The image encoder of a network that takes prompts, exported for OpenVINO: a click on a slice waits for that alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.files import sha256_of, time_and_size, write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.replacing import note_written
from pgsam_monai.runtime.choosing import has_gpu
from pgsam_monai.runtime.engines import (
    AUTO,
    ONNXRUNTIME,
    OPENVINO,
    TORCH,
    Run,
    installed,
    open_network,
    require_engine,
)
from pgsam_monai.runtime.record import require_whole

FILES = ("encoder.xml", "encoder.bin")
RECORD = "encoder.json"
SCHEMA_VERSION = 1
ROUNDING = 1e-3
"""a relative error that is none"""
SLACK = 1.25
"""of errors that are alike: both ways round to bfloat16, and which is nearer differs from image to image"""


@dataclass(frozen=True, kw_only=True)
class EncoderRecord:
    """encoder.json, beside the encoder."""

    weights: str
    """SHA-256 of the file of weights that was exported"""
    shape: tuple[int, int, int, int]
    """of the images that it takes at once: those of a stack, channels, rows, columns"""
    files: Mapping[str, str]
    """name -> SHA-256"""
    precision: str
    error: float
    """mean distance of its features from those in float32, relative to their mean size"""
    error_of_torch: float
    """likewise of the network as torch computes it here"""

    @property
    def verified(self) -> bool:
        """Whether it may answer unasked: its features are about as near to the exact ones as those it stands for."""
        return self.error <= max(SLACK * self.error_of_torch, ROUNDING)

    def write(self, folder: Path) -> Path:
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        file = write_text(folder / RECORD, json.dumps(content, indent=1) + "\n")
        note_written(file)
        return file


def read_encoder_record(folder: Path) -> EncoderRecord | None:
    """None where no encoder was exported into the folder."""
    file, remedy = folder / RECORD, "export it again with pgsam export --form openvino"
    return (
        made_of(read_json(file, remedy=remedy), _from_json, file=file, remedy=remedy)
        if file.is_file()
        else None
    )


def _from_json(content: Mapping) -> EncoderRecord:
    entries = dict(content)
    if entries.pop("schema_version") != SCHEMA_VERSION:
        raise ValueError("of another version")
    return EncoderRecord(**{**entries, "shape": tuple(entries["shape"])})


def encoding_engine(engine: str) -> str:
    """What encodes images where `engine` segments them: there are no encoders for ONNX Runtime."""
    return TORCH if engine == ONNXRUNTIME else engine


class ExportedEncoder:
    """Images (n * stack, C, S, S), float32 -> embeddings (n * stack, 256, h, w), and skip features where there are
    any."""

    def __init__(self, run: Run, stack: int) -> None:
        """`run` takes the slices of one stack at once."""
        self._run, self._stack = run, stack

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        parts = [
            self._run([np.ascontiguousarray(images[start : start + self._stack])])
            for start in range(0, len(images), self._stack)
        ]
        return [np.concatenate(each) if len(each) > 1 else each[0] for each in zip(*parts, strict=True)]


def exported_encoder(
    folder: Path, weights: Path, shape: tuple[int, ...], engine: str = AUTO, *, source: str, threads: int = 1
) -> ExportedEncoder | None:  # fmt: skip
    """The exported encoder that answers for a network; None where torch does.

    Args:
        folder: where it would lie.
        weights: the network's file of weights.
        shape: of the images that the network is given: those of a stack, channels, rows, columns.
        engine: `AUTO`, `TORCH` or `OPENVINO`.
        source: what to call `pgsam export` with.
        threads: cores to use.

    Raises:
        MissingFile: none was exported, and it is asked for.
        UserFault: likewise OpenVINO isn't here, or it belongs to other weights or images; or the engine can't do it.
    """
    if engine == TORCH or engine == AUTO and (has_gpu() or not installed(OPENVINO)):
        return None
    if engine not in (AUTO, OPENVINO):
        raise UserFault(f"Clicks and boxes are answered with torch or {OPENVINO}, got --engine {engine}.")
    require_engine(OPENVINO)
    stamps = [time_and_size(file) if file.is_file() else None for file in (folder / RECORD, weights)]
    reason, encoder = _opened(folder, weights, *stamps, tuple(shape), engine == AUTO, threads)
    if reason and engine == OPENVINO:
        raise MissingFile(f"{reason}; export it: pgsam export {source} --form openvino")
    return encoder


@lru_cache(maxsize=4)
def _opened(
    folder: Path, weights: Path, written: object, trained: object, shape: tuple[int, ...], verified: bool, threads: int
) -> tuple[str, ExportedEncoder | None]:  # fmt: skip
    """Why there is none, or it; once for the same files."""
    record = read_encoder_record(folder)
    if record is None:
        return f"No image encoder was exported to '{folder}'", None
    if record.weights != sha256_of(weights):
        return f"The image encoder in '{folder}' is of other weights than '{weights}'", None
    if record.shape != shape:
        return f"The image encoder in '{folder}' takes images {record.shape}, not {shape}", None
    if verified and not record.verified:
        return f"The image encoder in '{folder}' is less exact than torch", None
    require_whole(record.files, folder)
    run = open_network(folder / FILES[0], OPENVINO, precision=record.precision, threads=threads)
    return "", ExportedEncoder(run, shape[0])
