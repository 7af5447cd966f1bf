"""The records a measured dataset is made of, and their way to JSON and back.

Axis order: everything in `CaseFacts` is in the file's own voxel order (i, j, k). Everything in `DatasetSummary` is
in anatomical order (left-right, posterior-anterior, inferior-superior), so that cases stored in different
orientations fold into one number; data without orientation (pictures, archives) keeps (rows, columns,
slices).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

SCHEMA_VERSION = 4
"""Rises whenever a field of these records changes meaning; facts cached under another version are measured
again."""

SLICE_AXES = ("sagittal", "coronal", "axial")
"""Name of the slicing direction along each anatomical axis (left-right, posterior-anterior,
inferior-superior)."""


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """One channel of one image, over all voxels."""

    min: float | None
    """smallest finite value; None where no value is finite"""
    max: float | None
    mean: float | None
    nan_count: int = 0
    inf_count: int = 0
    is_constant: bool = False
    histogram: tuple[int, ...] = ()
    """voxels in 64 equal bins from `min` to `max`"""
    percentile_00_5: float | None = None
    """see `base.measures.percentiles_of`"""
    percentile_99_5: float | None = None


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """Values of one channel where the label is above zero, exact over every such finite voxel."""

    count: int
    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """One label value in one case. Sizes are those of its largest component, so that a pair of kidneys
    under one value counts as kidneys and a stray voxel does not stretch the box."""

    voxels: int
    volume_ml: float
    components: int
    """parts not touching one another, corners included (26-neighbourhood)"""
    extent_px: tuple[int, ...]
    """bounding box of the largest component in voxels, (i, j, k)"""
    extent_mm: tuple[float, ...]
    in_plane_px: tuple[float, ...]
    """for slices taken across i, j, k: the shorter side of the structure's box in a slice, median over its
    slices"""
    in_plane_mm: tuple[float, ...]
    slices: tuple[float, ...]
    """share of the slices across i, j, k that hold the label (all its components)"""
    centroid: tuple[float, ...] = ()
    """of all its components, in voxels (i, j, k), whole numbers being the voxels' middles"""
    mean: tuple[float, ...] = ()
    """of the image's finite values in it, per channel; empty where image and label don't lie on one grid"""


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What one reading of a case's files tells. A case that cannot be read has `error` and empty fields."""

    name: str
    group: str
    files: dict[str, str] = field(default_factory=dict)
    """path relative to the dataset -> SHA-256 of the file (of a DICOM series: of its files' digests in name
    order)"""
    patient: str | None = None
    """of a DICOM series: a digest by which the same PatientID is known again; None where there is none"""
    image_files: tuple[str, ...] = ()
    label_file: str | None = None
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    """(4, 4), voxel (i, j, k) -> mm, RAS+"""
    orientation: str = ""
    """axis codes such as "LPS"; "" where the data has none"""
    dtype: str = ""
    channels: int = 0
    cropped_shape: tuple[int, ...] = ()
    """shape of the box around all voxels that are not zero in some channel (nnU-Net's crop)"""
    label_shape: tuple[int, ...] | None = None
    label_spacing: tuple[float, ...] | None = None
    label_affine: tuple[tuple[float, ...], ...] | None = None
    image: tuple[ChannelFacts, ...] = ()
    intensity: tuple[Intensity, ...] = ()
    """one per channel; empty without foreground"""
    labels: dict[int, LabelFacts] = field(default_factory=dict)
    """label values but the background's, and those that weren't looked for"""
    labelled: tuple[int, ...] | None = None
    """label values that were looked for, where others weren't; None: all"""
    unsought: tuple[int, ...] = ()
    """label values that its file holds though they weren't looked for"""
    label_voxels: int = 0
    """all voxels of the label map, background included, but those that nobody labelled"""
    overlaps: tuple[tuple[int, int, int], ...] = ()
    """where the label was merged from masks: (value, larger value, voxels that both claim)"""
    label_problem: str | None = None
    """why the label map is no class map (fractions, negative values, NaN)"""
    notes: tuple[str, ...] = ()
    """oddities of the files that the reader decided on the way"""
    error: str | None = None
    """why a file could not be read; `error_file` says which"""
    error_file: str | None = None

    def looked_for(self, value: int) -> bool:
        """Whether the absence of a label value from the label says that the structure isn't there."""
        return self.labelled is None or value in self.labelled


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, smallest and largest over the cases, per anatomical axis."""

    median: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """One label value over all training cases."""

    cases: int
    """number of cases that hold it"""
    voxels: int
    frequency: float
    """share of all label voxels of the training cases in which it was looked for, background counted in the whole"""
    volume_ml: float
    """median over the cases holding it"""
    components: float
    """median over the cases holding it"""
    extent_mm: tuple[float, ...]
    """median extent along the anatomical axes"""
    extent_mm_min: tuple[float, ...]
    in_plane_px: dict[str, tuple[float, float]]
    """slice axis ("axial", "coronal", "sagittal"; "none" without orientation) -> (median, smallest) over the
    cases of the shorter side of the structure in a slice"""
    in_plane_mm: dict[str, tuple[float, float]]
    slices: dict[str, float]
    """slice axis -> median share of the slices that hold it"""


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """The training cases folded into one."""

    num_cases: int
    """readable training cases folded here"""
    channels: int
    shape: Spread
    spacing: Spread
    cropped_shape: Spread
    intensity: tuple[Intensity, ...]
    """per channel, over the foreground voxels of all cases at once"""
    labels: dict[int, LabelSummary]
    """label values but the background's, in numeric order"""
    background_frequency: float
    orientations: dict[str, int]
    """axis codes -> number of cases, commonest first"""
    modality: str
    """"CT", "MR", "RGB" or "unknown"."""
    modality_reason: str


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """All that was measured of a dataset."""

    schema_version: int
    dataset: dict[str, Any]
    """name, folder, layout, file_format"""
    cases: tuple[CaseFacts, ...]
    summary: DatasetSummary


def record_to_dict(record: Any) -> dict[str, Any]:
    """A record and the records in it as plain dicts and tuples, ready for `json`."""
    return {item.name: _plain(getattr(record, item.name)) for item in fields(record)}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return record_to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple) and value and hasattr(value[0], "__dataclass_fields__"):
        return [record_to_dict(entry) for entry in value]
    return value


def case_from_dict(data: dict[str, Any]) -> CaseFacts:
    """Inverse of `record_to_dict` for a case; JSON's lists and text keys become tuples and integers again."""
    data = _tuples(data)
    data["image"] = tuple(ChannelFacts(**entry) for entry in data["image"])
    data["intensity"] = tuple(Intensity(**entry) for entry in data["intensity"])
    data["labels"] = {int(value): LabelFacts(**entry) for value, entry in data["labels"].items()}
    return CaseFacts(**data)


def fingerprint_from_dict(data: dict[str, Any]) -> Fingerprint:
    """Inverse of `record_to_dict` for a fingerprint."""
    summary = _tuples(data["summary"])
    for name in ("shape", "spacing", "cropped_shape"):
        summary[name] = Spread(**summary[name])
    summary["intensity"] = tuple(Intensity(**entry) for entry in summary["intensity"])
    summary["labels"] = {int(value): LabelSummary(**entry) for value, entry in summary["labels"].items()}
    return Fingerprint(
        schema_version=data["schema_version"],
        dataset=data["dataset"],
        cases=tuple(case_from_dict(case) for case in data["cases"]),
        summary=DatasetSummary(**summary),
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value
