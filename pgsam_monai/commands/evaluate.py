"""What `pgsam evaluate` does besides running a bundle's evaluation: simulated users, another data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands.values import one_number, seed_numbers, typed_text, whole_numbers
from pgsam_monai.running import check_known

INTERRUPTED = "pgsam: interrupted. Finished cases are kept; the same command goes on after them."
OF_ANOTHER_DATASET = ("protocol", "tolerance_mm")
"""Values of evaluate.json that a measurement on another data set takes too."""


MODES_OF = {
    "part": ("", "--interaction"),
    "clicks": ("--interaction",),
    "seeds": ("--interaction",),
    "cases": ("--interaction", "--dataset"),
    "map": ("--dataset",),
    "intensity": ("--dataset",),
}
"""Flags → the modes that take them; "" is the plain measurement."""


def check_mode(modes: Mapping[str, bool], given: Mapping[str, object]) -> None:
    """Refuse two modes at once, and flags that the chosen one doesn't take.

    Raises:
        ValueError: naming the flag and where it belongs.
    """
    chosen = [mode for mode, wished in modes.items() if wished]
    if len(chosen) > 1:
        raise UserFault(f"{' and '.join(chosen)} measure different things; give one of them.")
    mode = chosen[0] if chosen else ""
    for name, value in given.items():
        if value is None or mode in MODES_OF[name]:
            continue
        if mode and "" in MODES_OF[name]:
            raise UserFault(f"--{name} is not for {mode}; leave it out.")
        raise UserFault(f"--{name} belongs to {' or '.join(MODES_OF[name])}; give both or neither.")


def measure_interaction(
    bundle: str, *, clicks: object, seeds: object, cases: object, overrides: Mapping[str, Any]
) -> None:
    """`pgsam evaluate BUNDLE --interaction`, with what was typed."""
    from pgsam_monai.evaluation.interaction.evaluate import evaluate_interaction
    from pgsam_monai.evaluation.interaction.measure import InteractionSettings

    settings = InteractionSettings(
        clicks=tuple([1, 2, 3, 5, 10] if clicks is None else whole_numbers("clicks", clicks)),
        seeds=tuple(seed_numbers(1 if seeds is None else seeds)),
    )
    count = None if cases is None else one_number("cases", cases)
    try:
        evaluate_interaction(bundle, settings, cases=count, overrides=overrides)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def measure_elsewhere(
    bundle: str,
    find: Callable[[str], dict[str, Any]],
    *,
    dataset: object,
    label_map: object,
    cases: object,
    intensity: object,
    device: str | None,
    overrides: Mapping[str, Any],
) -> None:
    """`pgsam evaluate BUNDLE --dataset FOLDER`, with what was typed; `find` is the planner's way to its cases."""
    for name in overrides:
        check_known(name, {*OF_ANOTHER_DATASET, "dataset", "map", "cases", "intensity", "device"})
    if isinstance(dataset, bool) or isinstance(label_map, bool) or isinstance(intensity, bool):
        raise UserFault("--dataset takes a folder, --map auto or a file, --intensity percentile.")
    from pgsam_monai.evaluation.other_dataset import evaluate_elsewhere

    try:
        evaluate_elsewhere(
            bundle,
            find(typed_text(dataset)),
            label_map="auto" if label_map is None else typed_text(label_map),
            cases=None if cases is None else one_number("cases", cases),
            intensity=typed_text(intensity),
            device=device,
            options=overrides,
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
