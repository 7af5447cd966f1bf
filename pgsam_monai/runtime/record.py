"""models/exported.json: which networks of a bundle were exported, what is done to an image before and after them, and
how well they were seen to agree with the trained one. Written by `pgsam export`; all that a prediction without torch
reads beside the bundle's plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, write_text
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.replacing import note_written
from pgsam_monai.runtime.engines import ENGINES, FP32, ONNXRUNTIME, OPENVINO
from pgsam_monai.voxels.frame import LINEAR

FILE = "exported.json"
SCHEMA_VERSION = 1
AGREEMENT = 0.999
"""of the foreground voxels, what an engine must call as the trained network does in float32, to be taken unasked"""
DICE_LOST = 0.005
"""What a network in fewer bits may cost at most, of the mean Dice that the trained one has in float32."""
FILES = {OPENVINO: ("openvino.xml", "openvino.bin"), ONNXRUNTIME: ("model.onnx",)}
"""of each engine in the models folder, the one that it opens first"""


@dataclass(frozen=True, kw_only=True)
class SliceInput:
    """How a 2-D network sees a volume, see `inference.slices.SliceInferer`."""

    image_size: int
    fit: str
    stack_depth: int = 1
    stack_overlap: int = 0
    sampling: str = LINEAR


@dataclass(frozen=True, kw_only=True)
class PatchInput:
    """How a 3-D network sees a volume, see `inference.patches.PatchInferer`."""

    patch: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    overlap: float


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One engine's network."""

    files: Mapping[str, str]
    """name in the models folder -> SHA-256"""
    precision: str = FP32
    chosen: bool = False
    """the precision is the user's choice, who wants speed: it needn't agree voxel by voxel, but keep the Dice"""
    part: str = ""
    """of the data set, which it was compared on: validation, test or training"""
    cases: tuple[str, ...] = ()
    """of that part"""
    agreement: float | None = None
    """the smallest share, over these cases, of either's foreground voxels that are called alike; None: of no case"""
    dice: float | None = None
    """mean over cases, and structures that their labels hold; None without labels"""
    dice_of_trained: float | None = None
    """of the trained network's answers, in float32, likewise"""

    @property
    def dice_lost(self) -> float | None:
        """By which the Dice is lower than the trained network's."""
        return None if self.dice is None or self.dice_of_trained is None else self.dice_of_trained - self.dice

    @property
    def agrees(self) -> bool:
        """Whether it was seen to call voxels as the trained network does."""
        return self.agreement is not None and self.agreement >= AGREEMENT

    @property
    def verified(self) -> bool:
        """Whether it may answer unasked."""
        return self.agrees or (self.chosen and self.dice_lost is not None and self.dice_lost <= DICE_LOST)


@dataclass(frozen=True, kw_only=True)
class Record:
    """The whole file."""

    model: str
    """SHA-256 of the model.pt that was exported"""
    config: str
    """SHA-256 of the inference.json that said how"""
    orientation: str
    """axis codes of rows, columns and slices; "" for pictures"""
    intensity: Mapping[str, Any]
    """"scheme": window or percentile with "low" and "high", or none"""
    largest: tuple[int, ...]
    """values of structures that the plan cuts to their largest piece"""
    cleaned: bool
    """whether predictions are cleaned at all"""
    seen: SliceInput | PatchInput
    engines: Mapping[str, Exported] = field(default_factory=dict)

    def write(self, models: Path) -> Path:
        """Into a bundle's models folder."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        file = write_text(models / FILE, json.dumps(content, indent=1) + "\n")
        note_written(file)
        return file


def read_record(models: Path) -> Record | None:
    """Of a bundle's models folder; None where nothing was exported.

    Raises:
        DamagedFile: it isn't what `Record.write` wrote.
    """
    file = models / FILE
    if not file.is_file():
        return None
    remedy = "export the bundle again with pgsam export"
    return made_of(read_json(file, remedy=remedy), _from_json, file=file, remedy=remedy)


def _from_json(content: Mapping[str, Any]) -> Record:
    entries = dict(content)
    if entries.pop("schema_version") != SCHEMA_VERSION:
        raise ValueError("of another version")
    seen = entries.pop("seen")
    kind = PatchInput if "patch" in seen else SliceInput
    tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in seen.items()}
    engines = {
        name: Exported(**{**each, "cases": tuple(each["cases"])})
        for name, each in entries.pop("engines").items()
        if name in ENGINES
    }
    return Record(**{**entries, "largest": tuple(entries["largest"])}, seen=kind(**tuples), engines=engines)


def stale(record: Record, models: Path, config: Path) -> str | None:
    """Why a record no longer tells of its bundle, as half a sentence; None where it does.

    A bundle whose model.pt isn't there, as on a machine that only predicts, is the one that was exported.
    """
    model = models / "model.pt"
    if model.is_file() and sha256_of(model) != record.model:
        return "it was trained since it was exported"
    if sha256_of(config) != record.config:
        return "its inference.json was changed since it was exported"
    return None


def require_whole(files: Mapping[str, str], folder: Path) -> None:
    """Raise UserFault unless exported files, name -> SHA-256, are what they were."""
    for name, digest in files.items():
        file = folder / name
        if not file.is_file() or sha256_of(file) != digest:
            raise UserFault(f"'{file}' is not what was exported; export it again with pgsam export.")
