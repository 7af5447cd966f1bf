"""From a folder to plan, splits, report and bundles: the steps of `pgsam-plan` in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import remove_remains, write_text
from pgsam_monai.base.locks import hold
from preprocess.fingerprint.facts import Fingerprint
from preprocess.layouts import Dataset, describe_dataset, find_dataset, merge_datasets, with_labelled
from preprocess.plan.facts import facts_before, facts_of
from preprocess.plan.header import dataset_header, find_again
from preprocess.plan.outputs import PlanFolder, write_json
from preprocess.plan.overrides import Override
from preprocess.plan.plan import find_edits, make_plan, replan, with_edits, with_moved_data
from preprocess.plan.reading import read_plan, read_splits
from preprocess.plan.records import Plan
from preprocess.recipes import Recipe, load_recipe, published_splits, splits_by_recipe
from preprocess.recipes.slice_lists import with_listed_slices
from preprocess.rules import Evidence, Machine, collect_evidence
from preprocess.rules.evidence import channel_names
from preprocess.rules.resources import find_machine
from preprocess.splits.records import Splits
from preprocess.splits.splits import make_splits
from preprocess.splits.stated import Stated, stated_subjects
from preprocess.splits.subjects import STATED

DEFAULT_NETWORKS = ("samed",)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for; checked by the command line already."""

    dataset: Path | None = None
    """None plans from the recipe's published facts alone, or again from `from_plan`"""
    merged: tuple[Path, ...] = ()
    """further data sets that are planned together with it"""
    from_plan: Path | None = None
    """a plan.json that may have been edited"""
    layout: str | None = None
    name: str | None = None
    labelled: Path | None = None
    """a file that says which structures were looked for in which case"""
    networks: tuple[str, ...] | None = None
    """None: the recipe's, or "samed" without one; ("auto",): those that suit the data"""
    recipe: Recipe | None = None
    few_shot: str | None = None
    subjects: Stated | None = None
    """whom the cases show, as the user says; then `overrides` name the rule of that"""
    target: str | None = None
    """the kind of machine to plan for, "cpu" or "gpu"; None: this one"""
    overrides: tuple[Override, ...] = ()
    skip_faulty: bool = False
    plans_dir: Path = Path("plans")
    bundles_dir: Path = Path("bundles")
    workers: int | None = None

    @property
    def planned_networks(self) -> tuple[str, ...]:
        return self.networks or (self.recipe.networks if self.recipe else DEFAULT_NETWORKS)

    @property
    def wished_few_shot(self) -> str | None:
        return self.few_shot or (self.recipe.few_shot if self.recipe else None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A data set that was read and checked."""

    dataset: Dataset
    """without the skipped cases"""
    fingerprint: Fingerprint
    faults: tuple[Any, ...]
    skipped: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Everything `pgsam-plan` made."""

    plan: Plan
    splits: Splits
    folder: PlanFolder
    measured: Measured | None
    """None without the data set at hand"""
    facts: Mapping[str, Any] | None = None
    """of training_facts.json; None where no data set was measured, now or before"""
    bundles: tuple[Path, ...] = ()
    times_s: Mapping[str, float] = field(default_factory=dict)
    """step -> seconds"""


def carry_out(request: Request) -> Planned:
    """Plans as asked for, and writes the report and the bundles.

    Raises:
        UserFault: the data set or the edited plan doesn't allow what was asked for; no plan was written.
    """
    from preprocess.bundle.emit import bundle_name, emit_bundle
    from preprocess.report import make_report

    times_s: dict[str, float] = {}
    with ExitStack() as held:

        def claim(folder: Path) -> None:
            """Two plans of one data set would leave files of both: one waits for the other."""
            held.enter_context(hold(folder))
            remove_remains(folder)

        if request.from_plan is not None:
            planned = plan_again(request, request.from_plan, times_s, claim)
        elif request.dataset is not None:
            planned = plan_dataset(request, request.dataset, times_s, claim)
        else:
            planned = plan_recipe(request, times_s, claim)
        plan, splits = planned.plan, planned.splits
        with _timed("report", times_s):
            write_text(planned.folder.report, make_report(plan, splits, planned.measured))
        record, bundles = plan.to_json(), []
        with _timed("bundle", times_s):
            for network in plan.configurations:
                target = request.bundles_dir / bundle_name(record, network)
                claim(target)
                bundles.append(Path(emit_bundle(record, splits.to_json(), network, target, planned.facts)))
    return replace(planned, bundles=tuple(bundles), times_s=times_s)


@contextmanager
def _timed(step: str, times_s: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times_s[step] = time.perf_counter() - started


def plan_dataset(
    request: Request, folder: Path, times_s: dict[str, float], claim: Callable[[Path], None]
) -> Planned:
    """Finds, measures, checks, decides and writes.

    Raises:
        UserFault: no layout fits the folder, or the data set doesn't allow what was asked for.
        DatasetFaults: fatal faults stand; nothing but the cached facts was written.
    """
    from preprocess.fingerprint.dataset import write_fingerprint

    recipe, few_shot = request.recipe, request.wished_few_shot
    machine = find_machine(request.target)
    with _timed("find", times_s):
        published = recipe.dataset["name"] if recipe else None
        if request.merged:
            parts = [find_dataset(part) for part in (folder, *request.merged)]
            dataset = merge_datasets(parts, name=request.name)
        else:
            dataset = find_dataset(folder, layout=request.layout, name=request.name or published)
        if request.labelled is not None:
            dataset = with_labelled(dataset, request.labelled)
    stated = None if request.subjects is None else stated_subjects(dataset, request.subjects)
    print(describe_dataset(dataset))
    place = PlanFolder(request.plans_dir / dataset.name)
    claim(place.path)
    measured = measure(dataset, place, request, times_s)
    with _timed("plan", times_s):
        evidence = collect_evidence(
            measured.fingerprint, measured.dataset, machine=machine, few_shot=few_shot, stated_subjects=stated
        )
        plan = make_plan(
            evidence, dataset=_header(measured), networks=request.planned_networks, recipe=recipe,
            overrides=request.overrides,
        )  # fmt: skip
        splits = split_dataset(plan, evidence, measured, recipe, few_shot)
        measured = with_leaks(measured, splits)
        facts = facts_of(plan, splits, measured.fingerprint)
        write_plan(plan, splits, place, facts)
        write_fingerprint(measured.fingerprint, place.fingerprint)
    return Planned(plan=plan, splits=splits, folder=place, measured=measured, facts=facts)


def plan_recipe(request: Request, times_s: dict[str, float], claim: Callable[[Path], None]) -> Planned:
    """Plans from a recipe's published facts, without any data; the same bytes on every machine."""
    recipe = request.recipe
    with _timed("plan", times_s):
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
        claim(folder.path)
        write_plan(plan, splits, folder, None)
    return Planned(plan=plan, splits=splits, folder=folder, measured=None)


def plan_again(
    request: Request, plan_file: Path, times_s: dict[str, float], claim: Callable[[Path], None]
) -> Planned:
    """Emits from a plan that may have been edited by hand; edited values become overrides that others follow.

    Dependents follow where fingerprint and data set are still at hand; else the edited values alone change.

    Raises:
        UserFault: a file is missing or misshapen, or an edited value is none that its decision can take.
    """
    folder = PlanFolder(plan_file.parent)
    claim(folder.path)
    with _timed("plan", times_s):
        edited, gone = read_plan(plan_file)
        pristine, _ = read_plan(folder.pristine if folder.pristine.is_file() else plan_file)
        for name in gone:
            print(f"{name} is no longer decided; what the plan says of it is left out.")
        pristine = with_moved_data(pristine, edited)
        old = read_splits(folder.splits)
        edits = [*find_edits(edited, pristine), *request.overrides]
        recipe = load_recipe(pristine.recipe) if pristine.recipe else None
        wish = old.few_shot["spec"] if old.few_shot else None
        measured = _measured_before(pristine, folder)
        evidence = _evidence_before(measured, pristine, old)
        if evidence is None and not (recipe and not folder.fingerprint.is_file()):
            print(
                "The data set or its fingerprint isn't at hand: edited values change, nothing follows them."
            )
            plan, splits = with_edits(pristine, edits), old
        else:
            plan = replan(pristine, evidence, recipe=recipe, edited=edits)
            splits = split_dataset(plan, evidence, measured, recipe, wish) if evidence else old
            measured = with_leaks(measured, splits) if measured else None
        facts = facts_of(plan, splits, measured.fingerprint) if measured else facts_before(folder)
        write_plan(plan, splits, folder, facts)
    for edit in edits:
        print(f"{edit.name} = {edit.value} ({edit.set_by})")
    return Planned(plan=plan, splits=splits, folder=folder, measured=measured, facts=facts)


def measure(dataset: Dataset, folder: PlanFolder, request: Request, times_s: dict[str, float]) -> Measured:
    """Reads every file once and checks; with `skip_faulty` leaves out the cases that have fatal faults.

    Raises:
        DatasetFaults: fatal faults stand.
    """
    from preprocess.checks import FATAL, DatasetFaults, check_dataset, faulty_cases, format_faults
    from preprocess.fingerprint.dataset import make_fingerprint, measure_cases

    with _timed("measure", times_s):
        entries = measure_cases(dataset, folder.measured, workers=request.workers)
    with _timed("check", times_s):
        faults = check_dataset(dataset, tuple(entry.facts for entry in entries))
        skipped = faulty_cases(faults) if request.skip_faulty else {}
        if skipped:
            cases = tuple(case for case in dataset.cases if case.name not in skipped)
            dataset = replace(dataset, cases=cases, images_without_label=(), labels_without_image=())
    print(format_faults(faults))
    # Without its faulty cases a data set may show faults of its own, such as too few cases.
    standing = faults
    if skipped:
        standing = check_dataset(dataset, tuple(e.facts for e in entries if e.facts.name not in skipped))
        print(f"Skipped {len(skipped)}: {', '.join(skipped)}.")
    if any(fault.level == FATAL for fault in standing):
        raise DatasetFaults(standing)
    with _timed("fold", times_s):
        fingerprint = make_fingerprint(dataset, entries, without=skipped)
    records = tuple({"case": name, "reason": reason} for name, reason in skipped.items())
    return Measured(dataset=dataset, fingerprint=fingerprint, faults=faults, skipped=records)


def _header(measured: Measured) -> dict[str, Any]:
    dataset = measured.dataset
    channels = channel_names(dataset, measured.fingerprint.summary.channels)
    return dataset_header(dataset, channels=channels, skipped=measured.skipped)


def split_dataset(
    plan: Plan, evidence: Evidence, measured: Measured, recipe: Recipe | None, few_shot: str | None
) -> Splits:
    """The folds that the plan asks for, or the recipe's published split."""
    seed, cases = plan.value("seed"), measured.dataset.cases
    subjects = evidence.subjects_by(plan.value("subjects"))
    if recipe is not None:
        splits = splits_by_recipe(
            recipe, cases, seed=seed, few_shot=few_shot, labels=evidence.cases, subjects=subjects
        )
        if recipe.slices is None or few_shot is not None:
            return splits
        return with_listed_slices(
            splits, recipe.slices, facts=measured.fingerprint.cases, orientation=plan.value("orientation")
        )
    return make_splits(
        cases, labels=evidence.cases, folds=plan.value("folds"), seed=seed, few_shot=few_shot,
        subjects=subjects,
    )  # fmt: skip


def with_leaks(measured: Measured, splits: Splits) -> Measured:
    """`measured` with what is wrong with a stated split, which is shown."""
    from preprocess.checks import format_faults
    from preprocess.splits.leaks import find_leaks

    leaks = tuple(find_leaks(splits))
    if leaks:
        print(format_faults(leaks))
    return replace(measured, faults=(*measured.faults, *leaks))


def write_plan(plan: Plan, splits: Splits, folder: PlanFolder, facts: Mapping[str, Any] | None) -> None:
    """plan.json, its pristine copy, splits.json, and training_facts.json where there are facts."""
    record = plan.to_json()
    if facts is None:
        folder.training_facts.unlink(missing_ok=True)
    else:
        write_json(folder.training_facts, facts)
    write_json(folder.splits, splits.to_json())
    write_json(folder.plan, record)
    write_json(folder.pristine, record)


def _measured_before(plan: Plan, folder: PlanFolder) -> Measured | None:
    from preprocess.fingerprint.dataset import load_fingerprint

    if not folder.fingerprint.is_file():
        return None
    fingerprint = load_fingerprint(folder.fingerprint)
    try:
        dataset = find_again(plan.dataset)
    except (UserFault, OSError):
        return None
    labelled = {case.name: case.labelled for case in fingerprint.cases}
    dataset = replace(
        dataset,
        cases=tuple(
            replace(case, labelled=labelled[case.name]) for case in dataset.cases if case.name in labelled
        ),
        images_without_label=(),
        labels_without_image=(),
    )
    return Measured(
        dataset=dataset, fingerprint=fingerprint, faults=(), skipped=tuple(plan.dataset["skipped"])
    )


def _evidence_before(measured: Measured | None, plan: Plan, splits: Splits) -> Evidence | None:
    if measured is None:
        return None
    stated = None
    if plan.value("subjects") == STATED:  # splits.json holds what was stated
        stated = {name: entry.get("subject", name) for name, entry in splits.cases.items()}
    target, memory = (
        plan.decisions[name].planned or plan.decisions[name] for name in ("target", "memory_gb")
    )
    machine = Machine(
        target=target.value, memory_gb=memory.value, target_reason=target.reason, memory_reason=memory.reason
    )
    return collect_evidence(
        measured.fingerprint,
        measured.dataset,
        machine=machine,
        few_shot=splits.few_shot["spec"] if splits.few_shot else None,
        stated_subjects=stated,
    )
