"""The records that a layout yields: cases and their data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.cases import FILE, IN_THE_IMAGES, VALUES
from pgsam_monai.base.labels import background_of, ignore_of


def with_values(files: Any, values: Mapping[int, int]) -> dict[str, Any]:
    """A label with other values than its file or files, as splits.json and `read_label` have it."""
    return {FILE: files, VALUES: {str(own): value for own, value in values.items()}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One examination."""

    name: str
    """unique in the data set"""
    images: tuple[str, ...]
    """posix paths relative to the data set: one per channel, or one multi-channel file, or one DICOM folder;
    for TransUNet's training archives one .npz per slice, in slice order"""
    label: str | dict[str, str] | None
    """relative posix path; "@images" when images and labels share their files (archives); {"1": path, ...} when each
    value has a mask of its own; None = no label"""
    group: str = "train"
    """"train" or "test"; only test cases may lack a label"""
    fold: int | None = None
    """the fold that validates on this case, where the data set itself says so"""
    subject: str | None = None
    """whom it shows, where the data set itself says so: several cases may show one"""
    labelled: tuple[int, ...] | None = None
    """label values that were looked for in it, where others weren't; None: all"""

    @property
    def label_files(self) -> tuple[str, ...]:
        """As `images`; none without a label."""
        if self.label is None:
            return ()
        if isinstance(self.label, dict):
            return tuple(self.label.values())
        return self.images if self.label == IN_THE_IMAGES else (self.label,)

    @property
    def label_file(self) -> str | None:
        """What stands for the label: the first mask for several; otherwise `label`."""
        return next(iter(self.label.values())) if isinstance(self.label, dict) else self.label

    values: dict[int, int] | None = None
    """value in the label's file -> the data set's own, where data sets were merged; others are background. None: the
    file's"""

    def looked_for(self, value: int) -> bool:
        """Whether the absence of a label value from its label says that the structure isn't there."""
        return self.labelled is None or value in self.labelled

    def label_below(self, folder: str | Path) -> list[Path] | dict[str, Any]:
        """The label as `read_label` takes it, in the data set's folder."""
        if self.values is not None:
            return with_values([Path(folder, path) for path in self.label_files], self.values)
        if isinstance(self.label, dict):
            return {value: Path(folder, path) for value, path in self.label.items()}
        return [Path(folder, path) for path in self.label_files]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the data sets that were merged."""

    name: str
    """as its cases are called where others are called the same"""
    folder: str
    """posix, relative to the merged data set's"""
    layout: str
    values: dict[int, int]
    """value in its label files -> the merged data set's; the others are background"""
    background: int = 0
    """in its label files"""

    def to_json(self) -> dict[str, Any]:
        """As in plan.json's header."""
        values = {str(own): value for own, value in self.values.items()}
        own = {"name": self.name, "folder": self.folder, "layout": self.layout}
        return own | {"background": self.background, "values": values}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The cases of a folder. Paths are posix, relative to `folder` (absolute if the file lies outside it)."""

    name: str
    """short: lower case, without Task04_ or Dataset004_"""
    folder: str
    """absolute"""
    layout: str
    """a name from LAYOUTS"""
    file_format: str
    """"volume" (NIfTI, NRRD, MetaImage, DICOM), "picture" (PNG, JPEG, TIFF) or "archive" (npz, h5)"""
    cases: tuple[Case, ...]
    """complete cases in natural order: training cases, then test cases"""
    images_without_label: tuple[str, ...] = ()
    """training images that lack a partner; the first channel stands for a case"""
    labels_without_image: tuple[str, ...] = ()
    label_names: dict[str, int] | None = None
    """{"background": 0, "spleen": 1, ...} if the data set says so; its background may have another value, and
    "ignore" is that of voxels which nobody labelled"""
    regions: dict[str, tuple[int, ...]] | None = None
    """structures that lie in one another, as several of the values: nnU-Net's; scored in the place of `label_names`"""
    channel_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    """what was assumed or left out; meant for the user"""
    parts: tuple[Part, ...] = ()
    """the data sets that were merged into this one; none of a single one"""

    @property
    def background(self) -> int:
        """The background's value in the label files."""
        return background_of(self.label_names)

    @property
    def ignore(self) -> int | None:
        """The value of voxels that nobody labelled; None where there are none."""
        return ignore_of(self.label_names)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one layout makes of a folder, before it becomes a Dataset."""

    cases: tuple[Case, ...]
    images_without_label: tuple[str, ...] = ()
    labels_without_image: tuple[str, ...] = ()
    label_names: dict[str, int] | None = None
    regions: dict[str, tuple[int, ...]] | None = None
    channel_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


CERTAIN = 1.0
"""nearness of a miss that ends the search: the layout is this one, but it can't be read so"""


class NoMatch(Exception):
    """A layout does not fit: how near it came (0 to CERTAIN), and what was found instead."""

    def __init__(self, nearness: float, found: str) -> None:
        super().__init__(found)
        self.nearness = nearness
        self.found = found
