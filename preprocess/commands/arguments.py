"""Reads and checks the command line's arguments, before anything is measured."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault, did_you_mean, nearest
from preprocess.commands.request import Request
from preprocess.layouts import LAYOUTS
from preprocess.networks import AUTO, NETWORK_RULES
from preprocess.plan.overrides import make_override, parse_overrides
from preprocess.recipes import Recipe, load_recipe
from preprocess.splits.few_shot import FewShot


def checked_flags(arguments: Sequence[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The arguments for python-fire, hyphens in flags made underscores, repeated --override joined into one.

    By itself python-fire would run the command first and complain about an unknown flag afterwards, and keep
    only the last of repeated flags. `parameters` are those of the command.

    Raises:
        UserFault: an unknown flag (the nearest is told), a flag without value, or more than one data set.
    """
    flags = [name for name in parameters if name != "dataset"]
    checked: list[str] = []
    wishes: list[str] = []
    positional: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if not argument.startswith("--"):
            positional.append(argument)
            continue
        flag, equals, value = argument[2:].partition("=")
        flag = flag.replace("-", "_")
        _check_flag(flag, flags)
        if flag == "skip_faulty":
            checked.append(f"--{flag}={value or True}")
            continue
        if not equals:
            if not left or left[0].startswith("--"):
                raise UserFault(f"--{flag} needs a value; see pgsam-plan --help.")
            value = left.pop(0)
        if flag == "override":
            wishes.append(value)
        else:
            checked.append(
                f"--{flag}={_quoted(value) if parameters[flag].annotation.startswith('str') else value}"
            )
    if len(positional) > 1:
        raise UserFault(f"One data set at a time; got {', '.join(positional)}. Quote paths with spaces.")
    if wishes:
        checked.append(f"--override={wishes!r}")
    return [*(_quoted(path) for path in positional), *checked]


def make_request(
    dataset: str | None,
    *,
    from_plan: str | None,
    networks: str | Sequence[str] | None,
    target: str | None,
    memory_gb: float | None,
    resolution: int | None,
    backbone: str | None,
    few_shot: str | int | None,
    recipe: str | None,
    layout: str | None,
    name: str | None,
    override: Any,
    skip_faulty: bool,
    plans_dir: str,
    bundles_dir: str,
    workers: int | None,
) -> Request:
    """A checked `commands.request.Request`.

    Raises:
        UserFault: a sentence about the argument at fault.
    """

    _check_source(dataset, from_plan, recipe)
    if from_plan is not None and networks is not None:
        raise UserFault("--networks can't change an existing plan; plan the data set again with it.")
    cooked = load_recipe(recipe) if recipe else None
    _check_few_shot(few_shot, dataset, cooked)
    short = {"target": target, "memory_gb": memory_gb, "resolution": resolution, "backbone": backbone}
    decision_of = {"resolution": "image_size"}
    wishes = [
        make_override(decision_of.get(flag, flag), value, set_by=f"--{flag}")
        for flag, value in short.items()
        if value is not None
    ]
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise UserFault(f"--workers {workers}: give a whole number of at least 1.")
    _check_layout(layout)
    return Request(
        dataset=Path(str(dataset)) if dataset is not None else None,
        layout=layout,
        name=name,
        networks=_networks(networks, cooked),
        recipe=cooked,
        few_shot=FewShot.parse(few_shot).spec if few_shot is not None else None,
        overrides=(*wishes, *parse_overrides(override)),
        skip_faulty=bool(skip_faulty),
        plans_dir=Path(str(plans_dir)),
        bundles_dir=Path(str(bundles_dir)),
        workers=workers,
    )


def _check_flag(flag: str, flags: Sequence[str]) -> None:
    if flag in flags:
        return
    near = nearest(flag, flags, cutoff=0.5)
    hint = f"Did you mean --{near}?" if near else "See pgsam-plan --help."
    raise UserFault(f"--{flag} is no option. {hint}")


def _check_source(dataset: str | None, from_plan: str | None, recipe: str | None) -> None:
    if from_plan is not None:
        if dataset is not None or recipe is not None:
            raise UserFault(
                "--from_plan takes data set and recipe from the plan; leave DATASET and --recipe out."
            )
        if not Path(str(from_plan)).is_file():
            raise UserFault(f"--from_plan {from_plan}: there is no such file.")
    elif dataset is None and recipe is None:
        raise UserFault("Give a data set's folder, as in `pgsam-plan Task04_Hippocampus`, or --recipe NAME.")
    elif dataset is not None and not Path(str(dataset)).exists():
        raise UserFault(f"{dataset}: there is no such folder.{_near_path(Path(str(dataset)))}")


def _check_few_shot(few_shot: str | int | None, dataset: str | None, recipe: Recipe | None) -> None:
    """A subset belongs to a data set or to a recipe."""
    if few_shot is not None and dataset is None and recipe is None:
        raise UserFault("--few_shot can't change an existing plan; plan the data set again with it.")


def _near_path(path: Path) -> str:
    parent = path.parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = nearest(path.name, names)
    return f" Did you mean {parent / near}?" if near else ""


def _check_layout(layout: str | None) -> None:
    if layout is None:
        return
    if layout not in LAYOUTS:
        hint = did_you_mean(layout, LAYOUTS)
        raise UserFault(f"--layout {layout}: layouts are {', '.join(LAYOUTS)}.{hint}")


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


def _quoted(text: str) -> str:
    """So that python-fire leaves a text such as 10 or a,b a text."""
    return repr(text)
