"""`pgsam-plan`: a folder of scans becomes a plan that can be read and changed, and MONAI bundles to train."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    from pgsam_monai.base.command_line import asks_for_help, read_words, told
    from pgsam_monai.base.errors import UserFault

    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words == ["help"] or asks_for_help(words):
        from preprocess.commands.help import help_text

        print(help_text(), end="")
        return
    if words == ["--version"]:
        from preprocess import __version__

        print(f"pgsam-plan {__version__}")
        return
    with told("pgsam-plan"):
        from preprocess.commands.arguments import make_request

        try:
            arguments, options = read_words(words, make_request)
        except UserFault as fault:
            _refuse(fault, 2)
        plan(*arguments, **options)


def plan(*datasets: str, **options: Any) -> None:
    """Plans a data set and writes its bundles; see `pgsam-plan --help` for every option with examples.

    `options` are those of `commands.arguments.make_request`. Exits with status 1 where the data set has fatal faults or
    forbids what was asked for, 2 for wrong arguments.
    """
    plan_and_show(*datasets, **options)


def plan_and_show(*datasets: str, **options: Any) -> Any:
    """As `plan`; returns what was made, a `planning.Planned`."""
    from pgsam_monai.base.errors import UserFault
    from preprocess.commands.arguments import make_request

    try:
        request = make_request(*datasets, **options)
    except UserFault as fault:
        _refuse(fault, 2)
    # Only now: these bring numpy and the checks, which wrong arguments needn't wait for.
    from preprocess.checks import DatasetFaults
    from preprocess.commands.console import refusal, show_planned
    from preprocess.planning import carry_out

    try:
        planned = carry_out(request)
    except DatasetFaults as fault:
        _refuse(refusal(fault.faults), 1)
    except UserFault as fault:
        _refuse(fault, 1)
    show_planned(planned)
    return planned


def _refuse(sentence: object, status: int) -> NoReturn:
    print(f"pgsam-plan: {sentence}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
