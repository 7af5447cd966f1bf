"""The fingerprint of a data set: every case measured once, and all of them folded into a summary."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import DamagedFile, made_of, read_json
from preprocess.fingerprint.cache import CachedCase, cache_path, read_case, source_of, write_case
from preprocess.fingerprint.facts import (
    SCHEMA_VERSION,
    CaseFacts,
    Fingerprint,
    fingerprint_from_dict,
    record_to_dict,
)
from preprocess.fingerprint.folding import fold_cases
from preprocess.fingerprint.measure import measure_case
from preprocess.fingerprint.workers import choose_workers, run_in_processes
from preprocess.layouts.records import Case, Dataset

WORTH_A_POOL_BYTES = 4 << 20
"""Below this many bytes of files a second process costs more than it saves."""


def measure_dataset(
    dataset: Dataset,
    *,
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Fingerprint:
    """Measures every case of `dataset` and folds the training cases.

    Bad cases do not raise; `preprocess.checks` finds them in the result. Arguments are those of
    `measure_cases`.
    """
    if cache is None:
        with TemporaryDirectory(prefix="pgsam-facts-") as folder:
            return make_fingerprint(
                dataset, measure_cases(dataset, folder, workers=workers, progress=progress)
            )
    return make_fingerprint(dataset, measure_cases(dataset, cache, workers=workers, progress=progress))


def measure_cases(
    dataset: Dataset, cache: str | Path, *, workers: int | None = None, progress: bool = True
) -> tuple[CachedCase, ...]:
    """Facts of every case, in the data set's order, kept in the folder `cache`.

    Cases measured before, by an earlier or a killed run, are taken from there while their files are
    unchanged. `workers` None: chosen from cores and free memory. `progress`: a bar, where someone watches.
    """
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    bare = replace(dataset, cases=())  # each job goes to a process; the list of all cases need not
    jobs = [_Job(case, bare, source_of(case, dataset), cache_path(case, folder)) for case in dataset.cases]
    found = [read_case(job.path, job.source) for job in jobs]
    missing = [index for index, entry in enumerate(found) if entry is None]
    if workers is None:
        size = sum(stamp[1] for n in missing for _, stamp in jobs[n].source[-1] if stamp)
        workers = choose_workers(dataset)[0] if size > WORTH_A_POOL_BYTES else 1
    results = run_in_processes(
        _measure, [jobs[n] for n in missing], workers=min(workers, max(1, len(missing)))
    )
    for n, entry in _watched(results, len(missing), progress):
        found[missing[n]] = entry or _lost(jobs[missing[n]])
    return tuple(found)


def make_fingerprint(
    dataset: Dataset, measured: Sequence[CachedCase], *, without: Collection[str] = ()
) -> Fingerprint:
    """Folds measured cases, leaving out those named in `without` (cases that a check has found unusable)."""
    kept = [entry for entry in measured if entry.facts.name not in without]
    return Fingerprint(
        schema_version=SCHEMA_VERSION,
        dataset={
            "name": dataset.name,
            "folder": dataset.folder,
            "layout": dataset.layout,
            "file_format": dataset.file_format,
        },
        cases=tuple(entry.facts for entry in kept),
        summary=fold_cases(dataset, kept),
    )


def fingerprint_to_json(fingerprint: Fingerprint) -> str:
    """The summary laid out for reading, then one line per case."""
    cases = ",\n".join(json.dumps(record_to_dict(case)) for case in fingerprint.cases)
    head = {
        "schema_version": fingerprint.schema_version,
        "checksum": _checksum(record_to_dict(fingerprint)),
        "dataset": fingerprint.dataset,
        "summary": record_to_dict(fingerprint.summary),
    }
    return f'{json.dumps(head, indent=1)[:-2]},\n "cases": [\n{cases}\n]}}\n'


def _checksum(content: Any) -> str:
    """Of what was measured, which nobody edits: by it damage is told from facts."""
    as_read = json.loads(json.dumps(content))  # where all keys are text, and sorted as such
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def write_fingerprint(fingerprint: Fingerprint, path: str | Path) -> None:
    """Writes `path` whole or not at all."""
    write_text(path, fingerprint_to_json(fingerprint))


def load_fingerprint(path: str | Path) -> Fingerprint:
    """Reads what `write_fingerprint` wrote.

    Raises:
        MissingFile: there is none.
        UserFault: it is damaged, was edited, or is of another version.
    """
    remedy = "delete it, and run pgsam-plan on the data set again"
    data = read_json(path, remedy=remedy, nan=True)
    if data.get("schema_version") != SCHEMA_VERSION:
        raise UserFault(
            f"The fingerprint has schema version {data.get('schema_version')}, this program reads "
            f"{SCHEMA_VERSION}; run pgsam-plan on the data set again."
        )
    if data.pop("checksum", None) != _checksum(data):
        raise DamagedFile(path, "it isn't what was measured (its checksum differs)", remedy)
    return made_of(data, fingerprint_from_dict, file=path, remedy=remedy)


@dataclass(frozen=True)
class _Job:
    case: Case
    dataset: Dataset
    source: list
    path: Path


def _measure(job: _Job) -> CachedCase:
    return write_case(measure_case(job.case, job.dataset), job.source, job.path)


def _lost(job: _Job) -> CachedCase:
    facts = CaseFacts(
        name=job.case.name,
        group=job.case.group,
        image_files=job.case.images,
        label_file=job.case.label_file,
        labelled=job.case.labelled,
        error="the process reading it was killed, most likely for want of memory",
        error_file=job.case.images[0],
    )
    return CachedCase(facts=facts, path=job.path, arrays=())


def _watched(results: Iterable, total: int, progress: bool) -> Iterable:
    if not (progress and total and sys.stderr.isatty()):
        return results
    from rich.console import Console
    from rich.progress import track

    results = iter(results)
    first = next(results)  # before the bar starts its thread: processes are forked only while there is one
    everything = itertools.chain((first,), results)
    return track(everything, description="Measuring", total=total, console=Console(stderr=True))
