"""Metrics of label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.progress import track

from pgsam_monai.base.cases import Paths, as_paths, case_name
from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.volume import read_label_file
from pgsam_monai.base.volume.records import GRID_TOLERANCE, apart_mm
from pgsam_monai.metrics.cases import CaseMetrics, evaluate_case

Item = tuple[str, tuple[Paths, Paths], Sequence[int] | None]
"""name, files, and the values that were looked for"""


def evaluate_files(
    pairs: Sequence[tuple[Paths, Paths]],
    *,
    labels: Mapping[str, int | Sequence[int]],
    reference_labels: Mapping[str, int | Sequence[int]] | None = None,
    protocol: str = "mm",
    tolerance_mm: float = 2.0,
    names: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = False,
    faults: dict[str, str] | None = None,
    labelled: Sequence[Sequence[int] | None] | None = None,
    ignore: int | None = None,
) -> list[CaseMetrics]:
    """Compare (prediction, reference) label files; rows come in the order of `pairs`.

    Every format of `pgsam_monai.base.volume` is read: NIfTI, NRRD, MHA/MHD, masks as pictures (palette
    indices; colours as red << 16 | green << 8 | blue), TransUNet's archives (a list of .npz slices too).
    `labels` maps class names to the values in the files, background excluded, and `reference_labels` to those in the
    reference files where they are others, as in `evaluate_case`. `names` default to the predictions' case names.
    `labelled` are each reference's values that were looked for, None for all, and `ignore` the value of voxels that
    nobody labelled, as in `evaluate_case`.
    `workers` threads, None: one per core, at most 4; memory grows with them. The empty-mask rules are those of
    `evaluate_case`. Raises UserFault when a pair differs in shape or geometry, ReadError for unreadable files and
    values that are no integers; with `faults`, these go there by name instead, and the other pairs are measured.
    """
    names = [case_name(prediction) for prediction, _ in pairs] if names is None else list(names)
    if len(names) != len(pairs):
        raise UserFault(f"evaluate_files: one name per pair, got {len(names)} names and {len(pairs)} pairs.")
    if not labels or "background" in labels:
        raise UserFault(
            f"evaluate_files: labels must name foreground values, without the background's, got {dict(labels)}."
        )

    def tried(item: Item) -> CaseMetrics | None:
        try:
            return evaluate(item)
        except UserFault as fault:
            if faults is None:
                raise
            faults[item[0]] = str(fault)
            return None

    def evaluate(item: Item) -> CaseMetrics:
        name, (prediction_file, reference_file), looked_for = item
        prediction, reference, spacing = read_pair(prediction_file, reference_file, name=name)
        return evaluate_case(
            prediction,
            reference,
            labels=labels,
            reference_labels=reference_labels,
            spacing=spacing,
            protocol=protocol,
            tolerance_mm=tolerance_mm,
            name=name,
            labelled=looked_for,
            ignore=ignore,
        )

    items = list(zip(names, pairs, labelled or [None] * len(pairs), strict=True))
    workers = min(usable_cores(), 4) if workers is None else workers
    with ThreadPoolExecutor(max(1, min(workers, len(items)))) as pool:
        done = pool.map(tried, items)
        rows = list(track(done, "Evaluating", total=len(items), disable=not progress))
    return [row for row in rows if row is not None]


def read_pair(
    prediction_file: Paths, reference_file: Paths, *, name: str = ""
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Label maps (i, j, k) of prediction and reference on their common grid, and its spacing in mm.

    Raises UserFault when shapes or affines differ.
    """
    prediction, prediction_affine = read_label_file(prediction_file)
    reference, reference_affine = read_label_file(reference_file)
    who, files = (
        f"Case '{name or case_name(prediction_file)}'",
        f"({prediction_file}, {as_paths(reference_file)[0]})",
    )
    if prediction.shape != reference.shape:
        raise UserFault(
            f"{who}: prediction shape {prediction.shape} and reference shape {reference.shape} differ "
            f"{files}; write the prediction on the reference's grid."
        )
    spacing = np.linalg.norm(reference_affine[:3, :3], axis=0)
    largest = apart_mm(reference_affine, prediction_affine, reference.shape)
    if not largest <= GRID_TOLERANCE * spacing.min():
        raise UserFault(
            f"{who}: prediction and reference lie up to {largest:.2f} mm apart at voxels of "
            f"{spacing.min():.2f} mm {files}; bring both onto one grid."
        )
    return prediction, reference, tuple(float(mm) for mm in spacing)
