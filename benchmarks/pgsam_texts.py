"""Does it matter what PG-SAM's texts say? Real ones, another structure's, names alone, none; at training and at test.

    python benchmarks/pgsam_texts.py --dataset /data/Synapse --folder texts --seeds 0,1,2 --iterations 60
        --override "labels=[0,1,2,3,4,6,7,8,11]"

Plans the data set for a CPU, and trains PG-SAM from random weights with every kind of text and every kind of reader,
for the same steps, keeping the last network. Then the networks that were trained with real texts are measured with
other ones. If texts carried information, real ones would beat permuted ones in training by more than the seeds differ;
that permuting them afterwards hurts shows only that the network tells classes by them. Every finished run is kept in
results.json of the folder; started again, the script goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ablation import MEAN, Row, make_parser, prepare, print_table, run_rows
from pgsam_ablation import write_exchanged_texts

READERS: dict[str, dict[str, object]] = {
    "CLIP-tiny, learnt map": {"image_prior": "global", "text_match": "learnt"},
    "CLIP-tiny, its patches, texts' own space": {"image_prior": "patches", "text_match": "identity"},
    "MiniLM, texts' own space": {"text_encoder": "minilm", "image_prior": "none", "text_match": "identity"},
    "MiniLM, texts' own space, base rates": {
        "text_encoder": "minilm", "image_prior": "none", "text_match": "identity", "base_rates": True,
    },
    "MiniLM, CLIP-tiny's patches": {
        "text_encoder": "minilm",
        "image_prior": "patches",
        "text_match": "identity",
    },
}  # fmt: skip
"""Who reads the texts, and how they meet the image."""
KINDS = ("real", "permuted", "names", "blank")


def main() -> None:
    arguments = read_arguments()
    experiment = prepare(arguments, networks=("pgsam",), overrides=arguments.override)
    files = write_texts(experiment.bundles["pgsam"], experiment.folder)
    rows = make_rows(files, arguments)
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("texts", rows, experiment, lambda outcome: outcome.dice[MEAN])


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="pgsam_texts")
    parser.add_argument("--iterations", type=int, default=60, help="steps per epoch")
    parser.add_argument("--override", action="append", default=[], help="of the plan")
    parser.add_argument("--readers", default=";".join(READERS), help="some of them, separated by semicolons")
    return parser.parse_args()


def write_texts(bundle: Path, folder: Path) -> dict[str, Path]:
    """A texts file per kind: a full stop stands for no text."""
    texts = json.loads((bundle / "configs/texts.json").read_text())
    files = {"real": bundle / "configs/texts.json", "permuted": write_exchanged_texts(bundle, folder, 0)}
    for kind, changed in (("names", {name: name for name in texts}), ("blank", dict.fromkeys(texts, "."))):
        files[kind] = folder / f"texts_{kind}.json"
        files[kind].write_text(json.dumps(changed, indent=1))
    return files


def make_rows(files: dict[str, Path], arguments: argparse.Namespace) -> list[Row]:
    """Every reader trained with every kind of text, then its network of real texts measured with the others."""
    trained, measured = [], []
    for reader in arguments.readers.split(";"):
        common: dict[str, object] = {f"network_def#{name}": value for name, value in READERS[reader].items()}
        common["iterations_per_epoch"] = arguments.iterations
        for kind in KINDS:
            overrides = {**common, "texts_file": files[kind]}
            trained.append(Row(title=f"{reader}: {kind}", network="pgsam", overrides=overrides))
            if kind != "real":
                title, source = f"{reader}: real, {kind} at test", f"{reader}: real"
                measured.append(Row(title=title, network="pgsam", overrides=overrides, trained_as=source))
    return [*trained, *measured]


if __name__ == "__main__":
    main()
