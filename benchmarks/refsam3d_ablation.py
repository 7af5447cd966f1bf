"""Tables 4 and 5 of the RefSAM3D paper on drawn phantoms: every row, several seeds, the same steps.

    python benchmarks/refsam3d_ablation.py --folder refsam3d_ablation --seeds 0,1,2

Draws phantom abdomens (shapes, not patients), plans them for a CPU, and trains every row from random weights with every
seed, keeping the last network, so that the held-out cases have no say; these rows are never asked for one structure.
A further row is, in half of its steps, for twice as many epochs. That network is then asked in words for every
structure of every held-out case, and each answer is compared with every structure's reference: whether the asked one
came, or another. Every finished run is kept; started again, the script goes on. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics

from ablation import MEAN, Experiment, Row, make_parser, prepare, print_table, run_rows

NETWORK = "refsam3d"
WHOLE = "Ref-SAM3D"
TABLES = {
    WHOLE: {},
    "without text prompt": {"text_prompt": False},
    "without cross-modal projector": {"cross_modal_projector": False},
    "without hierarchical fusion": {"hierarchical_fusion": False},
    "stages 1 and 4": {"stages": [1, 4]},
    "stages 2 and 4": {"stages": [2, 4]},
    "stages 3 and 4": {"stages": [3, 4]},
    "stage 4 only": {"stages": [4]},
}
"""Tables 4 and 5; their first rows are the same network."""
ASKED = "Ref-SAM3D, asked in half of the steps"
SMALL = (
    "spacing=[7.5,7.5,7.5]", f"{NETWORK}.patch=[48,48,32]", f"{NETWORK}.token_size=[4,4,4]", f"{NETWORK}.batch_size=1",
    f"{NETWORK}.num_workers=0",
)  # fmt: skip
"""Of the plan: one patch holds a phantom, and a step takes a second."""
REQUEST = "perform {name} segmentation"


def main() -> None:
    arguments = read_arguments()
    experiment = prepare(arguments, networks=(NETWORK,), overrides=[*SMALL, *arguments.override])
    rows = [row for row in make_rows(arguments.epochs) if re.search(arguments.rows, row.title)]
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("part", rows, experiment, lambda outcome: outcome.dice[MEAN])
    if any(row.title == ASKED for row in rows):
        print_answers(experiment, ask_all(experiment))


def read_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, folder="refsam3d_ablation")
    parser.add_argument("--rows", default="", help="regular expression; only rows whose title it finds")
    parser.add_argument(
        "--override", action="append", default=[], help="of the plan, such as refsam3d.batch_size=2"
    )
    parser.set_defaults(resolution=0)  # patches have a size of their own
    return parser.parse_args()


def make_rows(epochs: int) -> list[Row]:
    """Both tables' rows, and the network that answers texts."""
    tables = [
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
    longer = {"epochs": 2 * epochs, "schedule_epochs": 2 * epochs, "val_interval": 2 * epochs}
    return [*tables, Row(title=ASKED, network=NETWORK, overrides={"referring_share": 0.5, **longer})]


def ask_all(experiment: Experiment) -> dict[str, dict[str, list[float]]]:
    """Asked structure -> structure compared with -> Dice by case and seed, of the whole network; kept on disk."""
    file = experiment.folder / "asked.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    for seed in experiment.seeds:
        if str(seed) not in known:
            known[str(seed)] = ask(experiment, seed)
            file.write_text(json.dumps(known, indent=1))
    seeds = [known[str(seed)] for seed in experiment.seeds]
    return {
        asked: {other: [dice for answers in seeds for dice in answers[asked][other]] for other in seeds[0]}
        for asked in seeds[0]
    }


def ask(experiment: Experiment, seed: int) -> dict[str, dict[str, list[float]]]:
    """One seed's network, asked for every structure in every held-out case."""
    import torch
    from monai.bundle import ConfigParser

    bundle = experiment.bundles[NETWORK]
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    parser.update({"bundle_root": str(bundle)})
    network, inferer, cases, names = (
        parser.get_parsed_content(name)
        for name in ("network_def", "inferer", "validate#dataset", "class_indices")
    )
    models = experiment.folder / "runs" / re.sub(r"\W+", "_", f"{ASKED}_{seed}").lower() / "models/model.pt"
    network.load_state_dict(torch.load(models, weights_only=True))
    network.eval()
    structures = list(names)[1:]
    answers = {asked: {other: [] for other in structures} for asked in structures}
    for case in cases:
        for asked in structures:
            network.request = REQUEST.replace("{name}", asked)
            found = inferer(case["image"].unsqueeze(0).float(), network)[0] > 0
            for other in structures:
                answers[asked][other].append(dice_of(found, case["label"] == names[other]))
    return answers


def dice_of(found, reference) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(found.sum()) + int(reference.sum())
    return 2 * int((found & reference).sum()) / total if total else 1.0


def print_answers(experiment: Experiment, answers: dict[str, dict[str, list[float]]]) -> None:
    """A line per asked structure: Dice with it, and with the other structure that the answer resembles most."""
    print("\n| asked for | Dice with it | most like another | Dice with that |\n|---|---|---|---|")
    own, others = [], []
    for asked, compared in answers.items():
        means = {name: statistics.mean(values) for name, values in compared.items()}
        own.append(means.pop(asked))
        nearest = max(means, key=means.__getitem__)
        others.append(statistics.mean(means.values()))
        print(f"| {asked} | {own[-1]:.3f} | {nearest} | {means[nearest]:.3f} |")
    print(f"| mean | {statistics.mean(own):.3f} | every other text | {statistics.mean(others):.3f} |")


if __name__ == "__main__":
    main()
