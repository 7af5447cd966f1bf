"""From a folder to plan, splits, report and bundles: the steps of `pgsam-plan` in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import write_text
from preprocess.commands.request import Request
from preprocess.fingerprint.facts import Fingerprint
from preprocess.layouts import Dataset, find_dataset
from preprocess.plan.outputs import PlanFolder, write_json
from preprocess.plan.plan import find_edits, make_plan, replan, with_edits
from preprocess.plan.records import Plan, without_retired
from preprocess.recipes import Recipe, load_recipe, published_splits, splits_by_recipe
from preprocess.rules import Evidence, Machine, collect_evidence
from preprocess.rules.evidence import channel_names
from preprocess.splits.records import Splits
from preprocess.splits.splits import make_splits


@dataclass(kw_only=True)
class Progress:
    """What the command line hears of: a line per step, and how long each took."""

    say: Any = print
    """Called with what to show: a text, or the faults, or the plan."""
    times_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.times_s[name] = time.perf_counter() - started


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A data set that was read and checked."""

    dataset: Dataset
    """Without the skipped cases."""
    fingerprint: Fingerprint
    faults: tuple[Any, ...]
    skipped: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Everything `pgsam-plan` made."""

    plan: Plan
    splits: Splits
    folder: PlanFolder
    bundles: tuple[Path, ...]
    measured: Measured | None = None


def plan_dataset(request: Request, machine: Machine, progress: Progress) -> Planned:
    """Finds, measures, checks, decides and writes.

    Raises:
        UserFault: no layout fits the folder, or the data set doesn't allow what was asked for.
        DatasetFaults: fatal faults stand; nothing but the cached facts was written.
    """
    from preprocess.fingerprint.dataset import write_fingerprint

    with progress.step("find"):
        published = request.recipe.dataset["name"] if request.recipe else None
        dataset = find_dataset(request.dataset, layout=request.layout, name=request.name or published)
    progress.say(dataset)
    folder = PlanFolder(request.plans_dir / dataset.name)
    measured = measure(dataset, folder, request, progress)
    with progress.step("plan"):
        few_shot = request.wished_few_shot
        evidence = collect_evidence(
            measured.fingerprint, measured.dataset, machine=machine, few_shot=few_shot
        )
        header = plan_header(measured)
        plan = make_plan(
            evidence,
            dataset=header,
            networks=request.planned_networks,
            recipe=request.recipe,
            overrides=request.overrides,
        )
        splits = split_dataset(plan, evidence, measured, request.recipe, few_shot)
        write_plan(plan, splits, folder)
        write_fingerprint(measured.fingerprint, folder.fingerprint)
    return _finish(plan, splits, folder, request, progress, measured)


def plan_recipe(request: Request, progress: Progress) -> Planned:
    """Plans from a recipe's published facts, without any data; the same bytes on every machine."""
    recipe = request.recipe
    with progress.step("plan"):
        splits = published_splits(recipe, few_shot=request.wished_few_shot)
        header = {key: recipe.dataset[key] for key in ("name", "folder", "layout", "file_format", "channels")}
        header |= {"num_cases": len(splits.cases), "skipped": []}
        plan = make_plan(
            None,
            dataset=header,
            networks=request.planned_networks,
            recipe=recipe,
            overrides=request.overrides,
        )
        folder = PlanFolder(request.plans_dir / header["name"])
        write_plan(plan, splits, folder)
    return _finish(plan, splits, folder, request, progress, None)


def plan_again(plan_file: Path, request: Request, progress: Progress) -> Planned:
    """Emits from a plan that may have been edited by hand; edited values become overrides that others follow.

    Dependents follow where fingerprint and data set are still at hand; else the edited values alone change.

    Raises:
        UserFault: a file is missing or misshapen, or an edited value is none that its decision can take.
    """
    folder = PlanFolder(plan_file.parent)
    with progress.step("plan"):
        edited, gone = without_retired(Plan.from_json(_read_json(plan_file)))
        pristine = edited
        if folder.pristine.is_file():
            pristine, _ = without_retired(Plan.from_json(_read_json(folder.pristine)))
        for name in gone:
            progress.say(f"{name} is no longer decided; what the plan says of it is left out.")
        old = Splits.from_json(_read_json(folder.splits))
        edits = [*find_edits(edited, pristine), *request.overrides]
        recipe = load_recipe(pristine.recipe) if pristine.recipe else None
        wish = old.few_shot["spec"] if old.few_shot else None
        measured = _measured_before(pristine, folder)
        evidence = _evidence_before(measured, pristine, wish)
        if evidence is None and not (recipe and not folder.fingerprint.is_file()):
            progress.say(
                "The data set or its fingerprint isn't at hand: edited values change, nothing follows them."
            )
            plan, splits = with_edits(pristine, edits), old
        else:
            plan = replan(pristine, evidence, recipe=recipe, edited=edits)
            splits = split_dataset(plan, evidence, measured, recipe, wish) if evidence else old
        write_plan(plan, splits, folder)
    for edit in edits:
        progress.say(f"{edit.name} = {edit.value} ({edit.set_by})")
    return _finish(plan, splits, folder, request, progress, measured)


def measure(dataset: Dataset, folder: PlanFolder, request: Request, progress: Progress) -> Measured:
    """Reads every file once and checks; with `skip_faulty` leaves out the cases that have fatal faults.

    Raises:
        DatasetFaults: fatal faults stand.
    """
    from preprocess.checks import FATAL, DatasetFaults, check_dataset, faulty_cases
    from preprocess.fingerprint.dataset import make_fingerprint, measure_cases

    with progress.step("measure"):
        entries = measure_cases(dataset, folder.measured, workers=request.workers)
    with progress.step("check"):
        faults = check_dataset(dataset, tuple(entry.facts for entry in entries))
        skipped = faulty_cases(faults) if request.skip_faulty else {}
        if skipped:
            cases = tuple(case for case in dataset.cases if case.name not in skipped)
            dataset = replace(dataset, cases=cases, images_without_label=(), labels_without_image=())
    progress.say(faults)
    # Without its faulty cases a data set may show faults of its own, such as too few cases.
    standing = faults
    if skipped:
        standing = check_dataset(dataset, tuple(e.facts for e in entries if e.facts.name not in skipped))
        progress.say(f"Skipped {len(skipped)}: {', '.join(skipped)}.")
    if any(fault.level == FATAL for fault in standing):
        raise DatasetFaults(standing)
    with progress.step("fold"):
        fingerprint = make_fingerprint(dataset, entries, without=skipped)
    records = tuple({"case": name, "reason": reason} for name, reason in skipped.items())
    return Measured(dataset=dataset, fingerprint=fingerprint, faults=faults, skipped=records)


def plan_header(measured: Measured) -> dict[str, Any]:
    """The entry "dataset" of plan.json."""
    dataset = measured.dataset
    return {
        "name": dataset.name,
        "folder": dataset.folder,
        "layout": dataset.layout,
        "file_format": dataset.file_format,
        "channels": list(channel_names(dataset, measured.fingerprint.summary.channels)),
        "num_cases": len(dataset.cases),
        "skipped": list(measured.skipped),
    }


def split_dataset(
    plan: Plan, evidence: Evidence, measured: Measured, recipe: Recipe | None, few_shot: str | None
) -> Splits:
    """The folds that the plan asks for, or the recipe's published split."""
    seed, cases = plan.value("seed"), measured.dataset.cases
    if recipe is not None:
        return splits_by_recipe(recipe, cases, seed=seed, few_shot=few_shot, labels=evidence.cases)
    return make_splits(cases, labels=evidence.cases, folds=plan.value("folds"), seed=seed, few_shot=few_shot)


def write_plan(plan: Plan, splits: Splits, folder: PlanFolder) -> None:
    """plan.json, its pristine copy and splits.json."""
    record = plan.to_json()
    write_json(folder.splits, splits.to_json())
    write_json(folder.plan, record)
    write_json(folder.pristine, record)


def _finish(
    plan: Plan,
    splits: Splits,
    folder: PlanFolder,
    request: Request,
    progress: Progress,
    measured: Measured | None,
) -> Planned:
    from preprocess.bundle.emit import bundle_name, emit_bundle
    from preprocess.report import make_report

    with progress.step("report"):
        write_text(folder.report, make_report(plan, splits, measured))
    record, bundles = plan.to_json(), []
    with progress.step("bundle"):
        for network in plan.configurations:
            target = request.bundles_dir / bundle_name(record, network)
            bundles.append(Path(emit_bundle(record, splits.to_json(), network, target)))
    return Planned(plan=plan, splits=splits, folder=folder, bundles=tuple(bundles), measured=measured)


def _measured_before(plan: Plan, folder: PlanFolder) -> Measured | None:
    from preprocess.fingerprint.dataset import load_fingerprint

    if not folder.fingerprint.is_file():
        return None
    fingerprint = load_fingerprint(folder.fingerprint)
    try:
        dataset = find_dataset(
            plan.dataset["folder"], layout=plan.dataset["layout"], name=plan.dataset["name"]
        )
    except (UserFault, OSError):
        return None
    known = {case.name for case in fingerprint.cases}
    dataset = replace(
        dataset,
        cases=tuple(case for case in dataset.cases if case.name in known),
        images_without_label=(),
        labels_without_image=(),
    )
    return Measured(
        dataset=dataset, fingerprint=fingerprint, faults=(), skipped=tuple(plan.dataset["skipped"])
    )


def _evidence_before(measured: Measured | None, plan: Plan, few_shot: str | None) -> Evidence | None:
    if measured is None:
        return None
    target, memory = (
        plan.decisions[name].planned or plan.decisions[name] for name in ("target", "memory_gb")
    )
    machine = Machine(
        target=target.value, memory_gb=memory.value, target_reason=target.reason, memory_reason=memory.reason
    )
    return collect_evidence(measured.fingerprint, measured.dataset, machine=machine, few_shot=few_shot)


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise UserFault(f"'{path}' doesn't exist; plan the data set first.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserFault(f"'{path}' is no valid JSON: {error}. Undo the edit or plan again.") from error
