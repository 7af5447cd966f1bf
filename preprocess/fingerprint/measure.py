"""One case, read once: everything the fingerprint and the checks need to know about it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import DICOM_SUFFIXES, file_suffix
from pgsam_monai.base.dicom.patients import patient_id
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, visible
from pgsam_monai.base.regular import is_regular
from pgsam_monai.base.volume import Volume, read_label, read_volume
from pgsam_monai.base.volume.admission import admit
from pgsam_monai.base.volume.reading import INTEGER_TOLERANCE
from preprocess.fingerprint.facts import CaseFacts, LabelFacts
from preprocess.fingerprint.intensity import Sample, class_means, measure_channel, summarize
from preprocess.fingerprint.structures import measure_labels
from preprocess.layouts.records import Case, Dataset


@dataclass(frozen=True, kw_only=True)
class MeasuredCase:
    """The facts of a case and, per channel, its foreground values (which the facts only summarize)."""

    facts: CaseFacts
    samples: tuple[Sample, ...]


def measure_case(case: Case, dataset: Dataset) -> MeasuredCase:
    """Reads the files of `case` and measures them.

    Bad data never raises: what is wrong with it becomes part of the facts (`error`, `label_problem`, counts
    of NaN).
    """
    paths = case_files(case)
    facts = CaseFacts(
        name=case.name,
        group=case.group,
        image_files=case.images,
        label_file=case.label_file,
        labelled=case.labelled,
    )
    file = paths[0]
    try:
        digests = {}
        for file in paths:
            _admit(Path(dataset.folder, file))
            digests[file] = digest_file(os.path.join(dataset.folder, file))
        facts = replace(facts, files=digests)
        file = case.images[0]
        image = read_volume([Path(dataset.folder, name) for name in case.images])
        facts = replace(facts, **_image_facts(image, has_orientation=dataset.file_format == "volume"))
        facts = replace(facts, patient=_patient(Path(dataset.folder, file)))
        label = None
        if case.label is not None:
            file = case.label_files[0]
            label = read_label(case.label_below(dataset.folder))
            notes = facts.notes + _new_notes(label, facts.notes)
            facts = replace(facts, **_label_geometry(label), notes=notes, overlaps=label.overlaps)
        return _measure_voxels(facts, image, label, dataset)
    except Exception as error:  # damaged files make third-party readers raise anything
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        where = _relative(getattr(error, "file", None) or file, dataset.folder)
        return MeasuredCase(facts=replace(facts, error=reason, error_file=where), samples=())


def _admit(path: Path) -> None:
    """Raises ReadError for what would be read without end: a named pipe, a device."""
    if not path.is_dir():
        admit(path)


def case_files(case: Case) -> tuple[str, ...]:
    """Every file of the case, relative to the dataset, each once."""
    return tuple(dict.fromkeys((*case.images, *case.label_files)))


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file; of a folder (a DICOM series), that of its files' names and digests in name order."""
    if not os.path.isdir(path):
        return sha256_of(path)
    digest = hashlib.sha256()
    for child in visible(path):
        if is_regular(child):
            digest.update(f"{child.name} {sha256_of(child)}\n".encode())
    return digest.hexdigest()


def _patient(image: Path) -> str | None:
    """A digest of a DICOM series' PatientID, which itself is written nowhere."""
    is_series = image.is_dir() or file_suffix(image) in DICOM_SUFFIXES
    told = patient_id(image) if is_series else None
    return None if told is None else hashlib.sha256(told.encode()).hexdigest()[:16]


def _image_facts(image: Volume, *, has_orientation: bool) -> dict:
    return {
        "shape": tuple(int(n) for n in image.voxels.shape[1:]),
        "spacing": tuple(float(mm) for mm in image.spacing),
        "affine": _rows(image.affine),
        "orientation": orientation_of(image.affine) if has_orientation else "",
        "dtype": str(image.voxels.dtype),
        "channels": int(image.voxels.shape[0]),
        "cropped_shape": cropped_shape(image.voxels),
        "notes": tuple(image.notes),
    }


def _label_geometry(label: Volume) -> dict:
    return {
        "label_shape": tuple(int(n) for n in label.voxels.shape[1:]),
        "label_spacing": tuple(float(mm) for mm in label.spacing),
        "label_affine": _rows(label.affine),
        "label_voxels": int(label.voxels[0].size),
    }


def _new_notes(label: Volume, known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"label: {note}" for note in label.notes if note not in known)


def _measure_voxels(facts: CaseFacts, image: Volume, label: Volume | None, dataset: Dataset) -> MeasuredCase:
    classes, background = None, dataset.background
    if label is not None:
        try:
            classes = as_classes(label.voxels[0])
            if dataset.ignore is not None:
                nobody = int(np.count_nonzero(classes == dataset.ignore))
                facts = replace(facts, label_voxels=facts.label_voxels - nobody)
            classes, unsought = _looked_for(classes, facts, background, dataset.ignore)
            facts = replace(facts, unsought=unsought)
            labels = measure_labels(classes, label.spacing, background=background)
            facts = replace(facts, labels=labels)
        except UserFault as problem:
            classes = None
            facts = replace(facts, label_problem=str(problem))
    order = "F" if image.voxels[0].flags.f_contiguous else "C"  # of every channel
    foreground, held = slice(0), None
    if classes is not None and classes.shape == image.voxels.shape[1:]:
        foreground = classes.ravel(order) != background
        held = classes.ravel(order)[foreground]
    channels, samples, means = [], [], []
    for voxels in image.voxels:
        flat = voxels.ravel(order)
        inside = flat[foreground]
        channel, sample = measure_channel(flat, inside)
        channels.append(channel)
        samples.append(sample)
        if held is not None:
            means.append(class_means(inside, held, sorted(facts.labels)))
    intensity = [summarize([sample]) for sample in samples]
    facts = replace(facts, image=tuple(channels), intensity=() if None in intensity else tuple(intensity))
    return MeasuredCase(facts=replace(facts, labels=_with_means(facts.labels, means)), samples=tuple(samples))


def _with_means(labels: dict[int, LabelFacts], means: list[list[float]]) -> dict[int, LabelFacts]:
    """With the mean of every channel, (channel, label in numeric order)."""
    by_label = zip(*means, strict=True) if means else [()] * len(labels)
    known = {
        value: mean for value, mean in zip(sorted(labels), by_label, strict=True) if np.isfinite(mean).all()
    }
    return {value: replace(facts, mean=tuple(known.get(value, ()))) for value, facts in labels.items()}


def _looked_for(
    classes: np.ndarray, facts: CaseFacts, background: int, ignore: int | None
) -> tuple[np.ndarray, tuple[int, ...]]:
    """`classes` (i, j, k), in which what wasn't looked for, or not labelled, is background, memory order kept; and the
    values of the former."""
    if facts.labelled is None and ignore is None:
        return classes, ()
    kept = classes.astype(np.promote_types(classes.dtype, np.min_scalar_type(background)), order="K")
    if ignore is not None:
        kept[kept == ignore] = background
    if facts.labelled is None:
        return kept, ()
    strange = ~np.isin(kept, (background, *facts.labelled))
    unsought = tuple(np.unique(kept[strange]).tolist())
    kept[strange] = background
    return kept, unsought


def as_classes(label: np.ndarray) -> np.ndarray:
    """`label` (i, j, k) as the smallest fitting unsigned integers, memory order kept.

    Raises UserFault when it holds fractions, NaN, or negative values.
    """
    if label.dtype == bool:
        return label.view(np.uint8)
    low, high = label.min(), label.max()
    if label.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            count = int(np.count_nonzero(~np.isfinite(label)))
            raise UserFault(f"{count} of its {label.size} voxels are NaN or infinite")
        whole = np.rint(label)
        fractions = np.abs(label - whole) > INTEGER_TOLERANCE
        if fractions.any():
            count, example = int(np.count_nonzero(fractions)), float(label[fractions][0])
            raise UserFault(f"{count} of its {label.size} voxels are no whole numbers, the first {example:g}")
        label, low, high = whole, np.rint(low), np.rint(high)
    if low < 0:
        count = int(np.count_nonzero(label < 0))
        raise UserFault(f"{count} of its {label.size} voxels are negative, down to {low:g}")
    return label.astype(np.min_scalar_type(int(high)), order="K", copy=False)


def cropped_shape(voxels: np.ndarray) -> tuple[int, int, int]:
    """Shape of the smallest box around every voxel of (C, i, j, k) that is not zero; the whole shape if all
    are."""
    box = voxels
    for axis in sorted(
        (1, 2, 3), key=lambda axis: -abs(voxels.strides[axis])
    ):  # whole planes of memory first
        planes = np.moveaxis(box, axis, 0)
        first = next((n for n, plane in enumerate(planes) if plane.any()), None)
        if first is None:
            return tuple(int(n) for n in voxels.shape[1:])
        last = next(n for n in range(len(planes) - 1, -1, -1) if planes[n].any())
        box = np.moveaxis(planes[first : last + 1], 0, axis)
    return tuple(int(n) for n in box.shape[1:])


def orientation_of(affine: np.ndarray) -> str:
    """Axis codes such as "LPS" of a (4, 4) voxel -> RAS mm affine, as `nibabel.aff2axcodes` gives them.

    An axis without direction gets the code left over.
    """
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    left, singular, right = np.linalg.svd(matrix / np.where(lengths == 0, 1, lengths))
    kept = singular > singular.max() * 3 * np.finfo(float).eps
    rotation = left[:, kept] @ right[kept]  # the nearest matrix without shear
    codes, world = [""] * 3, [0, 1, 2]
    for axis in np.argsort(-np.abs(rotation).max(axis=0), kind="stable"):
        along = max(world, key=lambda n: abs(rotation[n, axis]))
        world.remove(along)
        codes[axis] = ("LR", "PA", "IS")[along][int(rotation[along, axis] >= 0)]
    return "".join(codes)


def _rows(affine: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in np.asarray(affine, dtype=float))


def _relative(file: str | Path, folder: str) -> str:
    path = Path(file)
    return (
        path.relative_to(folder).as_posix()
        if path.is_absolute() and path.is_relative_to(folder)
        else str(file)
    )
