"""Reads and checks the command line's arguments, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault, did_you_mean, nearest
from pgsam_monai.base.memory import set_limit
from preprocess.layouts import LAYOUTS
from preprocess.layouts.labelled import MASKS
from preprocess.networks import AUTO, NETWORK_RULES
from preprocess.plan.overrides import make_override, parse_overrides
from preprocess.planning import Request
from preprocess.recipes import Recipe, load_recipe
from preprocess.splits.few_shot import FewShot
from preprocess.splits.stated import FLAG, Stated, read_stated
from preprocess.splits.subjects import NONE, STATED


def make_request(
    dataset: str | None = None,
    *more: str,
    merge: bool = False,
    networks: str | Sequence[str] | None = None,
    target: str | None = None,
    memory_gb: float | None = None,
    resolution: int | None = None,
    backbone: str | None = None,
    few_shot: str | None = None,
    subjects: str | None = None,
    recipe: str | None = None,
    layout: str | None = None,
    name: str | None = None,
    labelled: str | None = None,
    override: list[str] | str | None = None,
    skip_faulty: bool = False,
    from_plan: str | None = None,
    plans_dir: str = "plans",
    bundles_dir: str = "bundles",
    workers: int | None = None,
    max_gb: float | None = None,
) -> Request:
    """What `pgsam-plan` was asked for, checked; the parameters are the command's options.

    Raises:
        UserFault: a sentence about the argument at fault.
    """
    set_limit(max_gb)  # in the environment, for the processes that read files
    _check_merged(more, merge, alone={"recipe": recipe, "layout": layout})
    _check_source(dataset, from_plan, recipe)
    if from_plan is not None:
        for flag, value in (("networks", networks), ("few_shot", few_shot), ("subjects", subjects)):
            if value is not None:
                raise UserFault(f"--{flag} can't change an existing plan; plan the data set again with it.")
    cooked = load_recipe(recipe) if recipe else None
    short = {"target": target, "memory_gb": memory_gb, "image_size": resolution, "backbone": backbone}
    flags = {"image_size": "--resolution"}
    wishes = [
        make_override(decision, value, set_by=flags.get(decision, f"--{decision}"))
        for decision, value in short.items()
        if value is not None
    ]
    stated = _stated_subjects(subjects, dataset)
    if subjects is not None:
        wishes.append(make_override("subjects", STATED if stated else NONE, set_by=FLAG))
    if labelled is not None and (dataset is None or not (labelled == MASKS or Path(labelled).is_file())):
        raise UserFault(
            f"--labelled {labelled}: "
            + ("it goes with a data set's folder." if dataset is None else "there is no such file.")
        )
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise UserFault(f"--workers {workers}: give a whole number of at least 1.")
    if layout is not None and layout not in LAYOUTS:
        raise UserFault(
            f"--layout {layout}: layouts are {', '.join(LAYOUTS)}.{did_you_mean(layout, LAYOUTS)}"
        )
    return Request(
        dataset=None if dataset is None else Path(dataset),
        merged=tuple(map(Path, more)),
        from_plan=None if from_plan is None else Path(from_plan),
        layout=layout,
        name=name,
        labelled=None if labelled is None else Path(labelled),
        networks=_networks(networks, cooked),
        recipe=cooked,
        few_shot=None if few_shot is None else FewShot.parse(few_shot).spec,
        subjects=stated,
        target=target,
        overrides=(*wishes, *parse_overrides(override)),
        skip_faulty=skip_faulty,
        plans_dir=Path(plans_dir),
        bundles_dir=Path(bundles_dir),
        workers=workers,
    )


def _check_source(dataset: str | None, from_plan: str | None, recipe: str | None) -> None:
    if from_plan is not None:
        if dataset is not None or recipe is not None:
            raise UserFault(
                "--from_plan takes data set and recipe from the plan; leave DATASET and --recipe out."
            )
        if not Path(from_plan).is_file():
            raise UserFault(f"--from_plan {from_plan}: there is no such file.")
    elif dataset is None and recipe is None:
        raise UserFault("Give a data set's folder, as in `pgsam-plan Task04_Hippocampus`, or --recipe NAME.")
    elif dataset is not None and not Path(dataset).exists():
        raise UserFault(f"{dataset}: there is no such folder.{_near_path(Path(dataset))}")


def _stated_subjects(subjects: str | None, dataset: str | None) -> Stated | None:
    """What --subjects says; None where it says that each case is a subject of its own, or isn't given."""
    if subjects is None or subjects.lower() == NONE:
        return None
    if dataset is None:
        raise UserFault(f"{FLAG} {subjects}: it needs the data set's cases; give its folder, too.")
    return read_stated(subjects)


def _check_merged(more: Sequence[str], merge: bool, *, alone: Mapping[str, str | None]) -> None:
    """`alone`: options that go with one data set."""
    if more and not merge:
        raise UserFault(
            f"One dataset at a time; got {', '.join(more)}. Quote paths with spaces, or plan them as one with --merge."
        )
    if merge and not more:
        raise UserFault(
            "--merge plans several data sets as one; name at least two, as in `pgsam-plan A B --merge`."
        )
    for folder in more:
        if not Path(folder).exists():
            raise UserFault(f"{folder}: there is no such folder.{_near_path(Path(folder))}")
    for flag, value in alone.items():
        if merge and value is not None:
            raise UserFault(f"--{flag} goes with one data set; leave it or --merge out.")


def _near_path(path: Path) -> str:
    parent = path.parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = nearest(path.name, names)
    return f" Did you mean {parent / near}?" if near else ""


def _networks(names: str | Sequence[str] | None, recipe: Recipe | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    wanted = (
        [part.strip() for part in names.split(",")]
        if isinstance(names, str)
        else [str(name) for name in names]
    )
    if wanted == [AUTO] and recipe is None:
        return (AUTO,)
    for name in wanted:
        if name not in NETWORK_RULES:
            hint = did_you_mean(name, NETWORK_RULES, cutoff=0.4)
            known = f"networks are {', '.join(NETWORK_RULES)}; {AUTO}, alone and without --recipe, chooses"
            raise UserFault(f"--networks {name}: {known}.{hint}")
        if recipe is not None and name not in recipe.networks:
            raise UserFault(
                f"--networks {name}: --recipe {recipe.name} holds settings of {', '.join(recipe.networks)} only."
            )
    return tuple(dict.fromkeys(wanted))
