"""The `pgsam` command: demo, plan, train, evaluate, ensemble, predict, describe, export, view, label, click, weights.

Heavy libraries are imported by the command that needs them, so that help and errors come at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pgsam_monai.base.child_processes import end_with_parent
from pgsam_monai.base.command_line import asks_for_help, read_words, told
from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.needless_imports import hide_needless_imports
from pgsam_monai.commands.click import click
from pgsam_monai.commands.demo import demo
from pgsam_monai.commands.describe import describe
from pgsam_monai.commands.ensemble import ensemble
from pgsam_monai.commands.evaluate import evaluate
from pgsam_monai.commands.export import export
from pgsam_monai.commands.label import label
from pgsam_monai.commands.predict import predict
from pgsam_monai.commands.train import train
from pgsam_monai.commands.view import view
from pgsam_monai.commands.weights import fetch_weights, import_weights, list_weights


def commands() -> dict:
    """The commands by name; `plan` is listed for its help and handled by `pgsam-plan` itself."""
    from preprocess.commands.main import plan

    weights = {"list": list_weights, "fetch": fetch_weights, "import": import_weights}
    return {
        "demo": demo, "plan": plan, "train": train, "evaluate": evaluate, "ensemble": ensemble, "predict": predict,
        "describe": describe, "export": export, "view": view, "label": label, "click": click,
        "weights": weights,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; a user's fault is one sentence and exit status 1, one of ours keeps its traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["plan"]:
        from preprocess.commands.main import main as plan_main

        return plan_main(words[1:])
    with told("pgsam"):
        end_with_parent()
        hide_needless_imports()
        names, command = _chosen(words)
        rest = words[len(names) :]
        if isinstance(command, dict) or asks_for_help(rest):
            import fire  # for its pages of help alone: it would guess what each word is

            fire.Fire(commands(), command=[*names, *(["--help"] if rest or names else [])], name="pgsam")
        else:
            arguments, keywords = read_words(rest, command)
            command(*arguments, **keywords)


def _chosen(words: Sequence[str]) -> tuple[list[str], Any]:
    """The words that name a command, and the command; a table of several where the name isn't whole."""
    table, names = commands(), []
    while isinstance(table, dict) and len(names) < len(words) and not words[len(names)].startswith("-"):
        name = words[len(names)]
        if name not in table:
            raise UserFault(f"'{name}' is no command.{did_you_mean(name, table)}")
        table, names = table[name], [*names, name]
    return names, table


if __name__ == "__main__":
    main()
