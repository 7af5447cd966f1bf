"""Table 2 of the PG-SAM paper: its four rows and their neighbours, several seeds, the same steps.

    python benchmarks/pgsam_ablation.py --folder ablation --seeds 0,1,2

Draws 30 phantom abdomens (shapes, not patients), or takes a --dataset, plans it for a CPU, and trains every row from
random weights with every seed, keeping the last network, so that the held-out cases have no say. Beside the parts
stand Fig. 2(b)'s attention and the network without CLIP's image tower. What texts are worth is measured twice: the
whole network is trained with each structure described by another's text, and the properly trained one is measured with
its texts exchanged afterwards; `pgsam_texts.py` asks more of them. Every finished run is kept in results.json of the
folder; started again, the script goes on. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from ablation import MEAN, Row, make_parser, prepare, print_table, run_rows

SWITCHES = ("prior_aligner", "feature_fusion", "mask_optimizer")
PARTS = {
    "I nothing": (False, False, False),
    "II aligner": (True, False, False),
    "III aligner, fusion": (True, True, False),
    "IV aligner, fusion, optimizer": (True, True, True),
    "fusion": (False, True, False),
    "optimizer": (False, False, True),
    "fusion, optimizer": (False, True, True),
}
"""The paper's four and what else there is: how each row sets ``SWITCHES``."""
FORMS = {
    "IV, Fig. 2(b)'s attention": {"network_def#fusion": "attention"},
    "IV, without CLIP's image tower": {"network_def#image_prior": "none", "network_def#clip_towers": "text"},
}
"""The whole network otherwise."""
WHOLE = "IV aligner, fusion, optimizer"


def main() -> None:
    arguments = read_arguments()
    experiment = prepare(arguments, networks=("pgsam",))
    rows = make_rows(experiment.bundles["pgsam"], experiment.folder, arguments.exchanges)
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("parts", rows, experiment, lambda outcome: outcome.dice[MEAN])


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="ablation")
    parser.add_argument("--exchanges", type=int, default=2, help="random exchanges of the texts per seed")
    return parser.parse_args()


def make_rows(bundle: Path, folder: Path, exchanges: int) -> list[Row]:
    """The paper's rows and their neighbours, then the whole network with other texts in and after training."""
    rows = [Row(title=title, network="pgsam", overrides=switches(parts)) for title, parts in PARTS.items()]
    rows += [Row(title=title, network="pgsam", overrides=changed) for title, changed in FORMS.items()]
    rows.append(exchanged("IV, trained on other structures' texts", bundle, folder, 0, trained_as=None))
    return rows + [
        exchanged(f"IV, texts exchanged afterwards ({number})", bundle, folder, number, trained_as=WHOLE)
        for number in range(exchanges)
    ]


def switches(parts: tuple[bool, ...]) -> dict[str, object]:
    return {f"network_def#{name}": on for name, on in zip(SWITCHES, parts, strict=True)}


def exchanged(title: str, bundle: Path, folder: Path, number: int, *, trained_as: str | None) -> Row:
    """The whole network with its texts exchanged."""
    overrides = {**switches(PARTS[WHOLE]), "texts_file": write_exchanged_texts(bundle, folder, number)}
    return Row(title=title, network="pgsam", overrides=overrides, trained_as=trained_as)


def write_exchanged_texts(bundle: Path, folder: Path, number: int) -> Path:
    """A texts file in which every structure has another's description; the background keeps its own."""
    texts = json.loads((bundle / "configs/texts.json").read_text())
    names = list(texts)[1:]
    others = names.copy()
    generator = random.Random(number)
    while any(a == b for a, b in zip(names, others, strict=True)):
        generator.shuffle(others)
    file = folder / f"texts_{number}.json"
    changed = {"background": texts["background"], **{a: texts[b] for a, b in zip(names, others, strict=True)}}
    file.write_text(json.dumps({name: changed[name] for name in texts}, indent=1))
    return file


if __name__ == "__main__":
    main()
