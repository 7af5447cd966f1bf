"""Parts of RefSAM3D on and off, the paper's (Tables 4 and 5) or ours: every row, several seeds, the same steps.

    python benchmarks/refsam3d_ablation.py --folder refsam3d_ablation --seeds 0,1,2
    python benchmarks/refsam3d_ablation.py --parts ours --dataset /data/Task04_Hippocampus --few_shot 10 --held_out 20 \
        --override refsam3d.text_encoder=minilm --override iterations_per_epoch=60

Draws phantom abdomens (shapes, not patients) unless a data set is named, plans for a CPU, and trains every row from
random weights with every seed, keeping the last network, so that the held-out cases have no say; only rows that say so
are asked for single structures. Every finished run is kept; started again, the script goes on. Prints a table in
Markdown. How well requests are answered is measured by `ask_in_words.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

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
AS_PUBLISHED = {
    "fine_features": False, "supervised_scales": 1, "mask_stride": 1, "decoder_widths": [64, 32, 16, 16],
    "direct_masks": False, "whitened_texts": False, "token_size": [4, 4, 4],
}  # fmt: skip
OURS = {
    "as planned, never asked": {},
    "masks' weights by SAM's network of queries alone": {"direct_masks": False},
    "without fine features": {"fine_features": False},
    "1 scale": {"supervised_scales": 1},
    "texts not whitened": {"whitened_texts": False},
    "without text": {"text_prompt": False},
    "half of the steps ask, beside all classes, in the second half": {"referring_share": 0.5, "asking_starts": 0.5},
    "a quarter of the steps asks, by itself, in the second half": {
        "referring_share": 0.25, "asking_starts": 0.5, "competing_requests": False,
    },
    "a quarter of the steps asks, by itself, from the start": {
        "referring_share": 0.25, "asking_starts": 0, "competing_requests": False,
    },
    "maps as fine as the volume": {"mask_stride": 1, "decoder_widths": [64, 32, 16, 16]},
    "tokens of 4": {"token_size": [4, 4, 4]},
    "as the paper has it, tokens of 4": AS_PUBLISHED,
}  # fmt: skip
"""What the paper doesn't have, one part at a time changed from what is planned for a CPU. Steps of the last rows take 2
to 6 times as long."""
TRAINING = ("referring_share", "asking_starts")
"""Entries of the configs; the others are the network's."""
PARTS = {"paper": TABLES, "ours": OURS}
SMALL = (
    "spacing=[7.5,7.5,7.5]", f"{NETWORK}.patch=[48,48,32]", f"{NETWORK}.token_size=[4,4,4]", f"{NETWORK}.batch_size=1",
    f"{NETWORK}.num_workers=0",
)  # fmt: skip
"""Of the plan: one patch holds a phantom, and a step takes a second."""


def main() -> None:
    arguments = read_arguments()
    small = () if arguments.dataset else SMALL
    experiment = prepare(arguments, networks=(NETWORK,), overrides=[*small, *arguments.override])
    rows = [row for row in make_rows(PARTS[arguments.parts]) if re.search(arguments.rows, row.title)]
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("part", rows, experiment, lambda outcome: outcome.dice[MEAN])


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="refsam3d_ablation")
    parser.add_argument("--parts", choices=PARTS, default="paper", help="whose parts")
    parser.add_argument("--rows", default="", help="regular expression; only rows whose title it finds")
    parser.add_argument(
        "--override", action="append", default=[], help="of the plan, such as refsam3d.batch_size=2"
    )
    parser.set_defaults(resolution=0)  # patches have a size of their own
    return parser.parse_args()


def make_rows(table: Mapping[str, Mapping[str, object]]) -> list[Row]:
    """A table's rows; what isn't told otherwise never asks for a single structure."""
    return [
        Row(title=title, network=NETWORK, overrides={"referring_share": 0.0, **_overrides(parts)})
        for title, parts in table.items()
    ]


def _overrides(parts: Mapping[str, object]) -> dict[str, object]:
    return {name if name in TRAINING else f"network_def#{name}": value for name, value in parts.items()}


if __name__ == "__main__":
    main()
