"""Tables 4 and 5 of the RefSAM3D paper on drawn phantoms: every row, several seeds, the same steps.

    python benchmarks/refsam3d_ablation.py --folder refsam3d_ablation --seeds 0,1,2

Draws phantom abdomens (shapes, not patients), plans them for a CPU, and trains every row from random weights with every
seed, keeping the last network, so that the held-out cases have no say; these rows are never asked for one structure.
Every finished run is kept; started again, the script goes on. Prints a table in Markdown. How well requests are
answered is measured by `ask_in_words.py`.
"""

from __future__ import annotations

import argparse
import re

from ablation import MEAN, Row, make_parser, prepare, print_table, run_rows

NETWORK = "refsam3d"
TABLES = {
    "Ref-SAM3D": {},
    "without text prompt": {"text_prompt": False},
    "without cross-modal projector": {"cross_modal_projector": False},
    "without hierarchical fusion": {"hierarchical_fusion": False},
    "stages 1 and 4": {"stages": [1, 4]},
    "stages 2 and 4": {"stages": [2, 4]},
    "stages 3 and 4": {"stages": [3, 4]},
    "stage 4 only": {"stages": [4]},
}
"""Tables 4 and 5; their first rows are the same network."""
SMALL = (
    "spacing=[7.5,7.5,7.5]", f"{NETWORK}.patch=[48,48,32]", f"{NETWORK}.token_size=[4,4,4]", f"{NETWORK}.batch_size=1",
    f"{NETWORK}.num_workers=0",
)  # fmt: skip
"""Of the plan: one patch holds a phantom, and a step takes a second."""


def main() -> None:
    arguments = read_arguments()
    experiment = prepare(arguments, networks=(NETWORK,), overrides=[*SMALL, *arguments.override])
    rows = [row for row in make_rows() if re.search(arguments.rows, row.title)]
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("part", rows, experiment, lambda outcome: outcome.dice[MEAN])


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="refsam3d_ablation")
    parser.add_argument("--rows", default="", help="regular expression; only rows whose title it finds")
    parser.add_argument(
        "--override", action="append", default=[], help="of the plan, such as refsam3d.batch_size=2"
    )
    parser.set_defaults(resolution=0)  # patches have a size of their own
    return parser.parse_args()


def make_rows() -> list[Row]:
    """Both tables' rows; no step asks for a single structure, which a network without text can't be asked for."""
    return [
        Row(
            title=title,
            network=NETWORK,
            overrides={
                "referring_share": 0.0,
                **{f"network_def#{name}": value for name, value in parts.items()},
            },
        )
        for title, parts in TABLES.items()
    ]


if __name__ == "__main__":
    main()
