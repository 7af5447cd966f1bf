"""What the rules may look at: the facts of data set, fingerprint and machine, flattened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.labels import background_of
from pgsam_monai.base.measures import to_anatomical
from preprocess.fingerprint.facts import Fingerprint, Intensity, LabelSummary
from preprocess.layouts import Dataset
from preprocess.splits.subjects import Subjects, find_subjects

WORLD_SLICE_AXIS = {
    "L": "sagittal",
    "R": "sagittal",
    "P": "coronal",
    "A": "coronal",
    "I": "axial",
    "S": "axial",
}
"""Axis code -> slices stacked along it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where training is to run."""

    target: str
    """"cpu" or "gpu"."""

    memory_gb: int
    """the GPU's memory, or the RAM"""

    target_reason: str
    memory_reason: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything the rules know. Shapes and spacings in anatomical order (left-right, posterior-anterior,
    inferior-superior) where the files have an orientation, else in stored order (rows, columns, slices)."""

    cases: dict[str, tuple[int, ...]]
    """labelled training case -> the foreground values it holds"""

    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...]
    """per training case, mm; 1 for pictures"""

    orientations: Mapping[str, int]
    """stored orientation code -> number of cases; "" for pictures and archives"""

    labels: Mapping[int, LabelSummary]
    """foreground labels in numeric order"""

    single_component_cases: Mapping[int, int] = field(default_factory=dict)
    """label value -> number of cases in which it is one connected piece"""

    looked_for: Mapping[int, int] = field(default_factory=dict)
    """label value -> number of cases in which it was looked for, of those for which these aren't all"""

    background_frequency: float = 0.0
    channels: tuple[str, ...] = ("image",)
    file_format: str = "volume"
    modality: str = "unknown"
    modality_reason: str = ""
    intensity: tuple[Intensity, ...] = ()
    """foreground statistics per channel"""

    image_range: tuple[float, float] = (0.0, 1.0)
    """smallest and largest finite value of any image"""

    dataset_words: str = ""
    """the data set's name and its folder's, which decide what labels such as "Anterior" mean"""

    label_names: Mapping[int, str] | None = None
    """value -> name, where the data set tells"""

    machine: Machine = Machine(target="cpu", memory_gb=8, target_reason="assumed", memory_reason="assumed")
    stated_folds: Mapping[str, int] = field(default_factory=dict)
    """case -> the fold that validates on it, where the data set says so"""

    subjects: Mapping[str, Subjects] = field(default_factory=dict)
    """rule -> whom the cases show by it; the first is to be believed"""

    few_shot: str | None = None
    """the few-shot wish ("5", "10%", "slices:10%"), which shortens the training lists"""

    @property
    def has_orientation(self) -> bool:
        return any(self.orientations)

    @property
    def median_shape(self) -> tuple[float, ...]:
        return _median(self.shapes)

    @property
    def median_spacing(self) -> tuple[float, ...]:
        return _median(self.spacings)

    @property
    def background(self) -> int:
        """The background's value in the label files."""
        return background_of({name: value for value, name in (self.label_names or {}).items()})

    def subjects_by(self, rule: str) -> Subjects:
        """What a rule makes of the cases.

        Raises:
            UserFault: nothing that could be split.
        """
        if rule not in self.subjects:
            raise UserFault(
                f"subjects {rule}: that doesn't tell this data set's cases apart, or makes one subject of all; choose "
                f"{' or '.join(self.subjects)}, or plan it again with --subjects FILE|REGEX."
            )
        return self.subjects[rule]

    def label_name(self, value: int) -> str:
        unnamed = "background" if value == self.background else f"label_{value}"
        return (self.label_names or {}).get(value, unnamed)


def collect_evidence(
    fingerprint: Fingerprint,
    dataset: Dataset,
    *,
    machine: Machine,
    few_shot: str | None = None,
    stated_subjects: Mapping[str, str] | None = None,
) -> Evidence:
    """Flattens `fingerprint` for the rules. Only labelled, readable training cases count.

    `stated_subjects`: case -> subject, as the user says. Raises UserFault where that is one subject alone.
    """
    from preprocess.checks.duplicates import copies_among
    from preprocess.fingerprint.folding import is_countable

    summary, label_names = fingerprint.summary, dataset.label_names
    training = [case for case in fingerprint.cases if is_countable(case)]
    names = {case.name for case in training}
    return Evidence(
        cases={case.name: tuple(sorted(case.labels)) for case in training},
        shapes=tuple(to_anatomical(case.shape, case.orientation) for case in training),
        spacings=tuple(to_anatomical(case.spacing, case.orientation) for case in training),
        orientations=summary.orientations,
        labels=summary.labels,
        single_component_cases={
            value: sum(case.labels[value].components == 1 for case in training if value in case.labels)
            for value in summary.labels
        },
        looked_for={
            value: count
            for value in summary.labels
            if (count := sum(case.looked_for(value) for case in training)) < len(training)
        },
        background_frequency=summary.background_frequency,
        channels=channel_names(dataset, summary.channels),
        file_format=dataset.file_format,
        modality=summary.modality,
        modality_reason=summary.modality_reason,
        intensity=summary.intensity,
        image_range=_image_range(training),
        dataset_words=f"{dataset.name} {Path(dataset.folder).name}",
        label_names={value: name for name, value in label_names.items()} if label_names else None,
        machine=machine,
        stated_folds={
            case.name: case.fold for case in dataset.cases if case.fold is not None and case.name in names
        },
        subjects=find_subjects(
            dataset,
            training=names,
            patients={case.name: case.patient for case in fingerprint.cases if case.patient},
            copies=[[case.name for case in copies] for copies in copies_among(fingerprint.cases)],
            stated=stated_subjects,
        ),
        few_shot=few_shot,
    )


def channel_names(dataset: Dataset, count: int) -> tuple[str, ...]:
    """The data set's names of its `count` channels; "image" or "channel_0", "channel_1", ... where it
    has none."""
    if dataset.channel_names and len(dataset.channel_names) == count:
        return tuple(dataset.channel_names)
    if dataset.file_format == "picture" and count == 3:
        return ("red", "green", "blue")
    return ("image",) if count == 1 else tuple(f"channel_{index}" for index in range(count))


def _image_range(training: list) -> tuple[float, float]:
    channels = [channel for case in training for channel in case.image if channel.min is not None]
    if not channels:
        return 0.0, 1.0
    return min(channel.min for channel in channels), max(channel.max for channel in channels)


def _median(rows: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    return tuple(float(median(column)) for column in zip(*rows, strict=True))
