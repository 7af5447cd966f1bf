"""What of the drawings matters: drawn_tiny's training, short, with anatomy alone, shapes alone, both, and one contrast.

    python benchmarks/drawn_ablation.py --data /data --folder drawn_ablation
    python benchmarks/drawn_ablation.py --data /data --folder long --steps 5000 --parallel 2

Every variant gets the same steps, seed and batch, one thread each. Their files are then asked on real data by
benchmarks/zero_shot.py, a few slices of two cases per set. FOLDER keeps the files; the same command goes on after an
interruption.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from pgsam_monai.base.child_processes import run_logged  # noqa: E402
from pgsam_monai.base.locks import hold  # noqa: E402

VARIANTS: dict[str, Mapping[str, object]] = {
    "both": {},
    "anatomy": {"shapes_share": 0.0},
    "shapes": {"shapes_share": 1.0},
    "one_contrast": {"contrast": "fixed"},
}
PER_EPOCH = 100


def main() -> None:
    arguments = read_arguments()
    with ThreadPoolExecutor(arguments.parallel) as pool:
        files = list(pool.map(lambda name: train(name, arguments), VARIANTS))
    weights = ",".join(str(file) for file in files)
    command = [sys.executable, str(REPOSITORY / "benchmarks/zero_shot.py"), "--weights", weights, "--few"]
    command += ["--image_size", str(arguments.image_size), "--data", str(arguments.data)]
    subprocess.run([*command, "--folder", str(arguments.folder / "zero_shot")], check=True)


def train(name: str, arguments: argparse.Namespace) -> Path:
    """The file of a variant, trained unless it lies there."""
    place = (arguments.folder / name).resolve()
    file = place / "drawn_tiny.safetensors"  # by whose folder zero_shot.py calls it
    if file.is_file():
        return file
    place.mkdir(parents=True, exist_ok=True)
    epochs = max(1, arguments.steps // PER_EPOCH)
    options = {
        "ckpt_dir": place, "output_dir": place, "epochs": epochs, "iterations_per_epoch": PER_EPOCH,
        "warmup_iterations": PER_EPOCH, "val_interval": epochs, "num_workers": 0, "resume": True,
        "seed": arguments.seed, **VARIANTS[name],
    }  # fmt: skip
    config = REPOSITORY / "bundles/drawn_tiny/configs/train.json"
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(config)]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    with hold(place) as held:
        cost = run_logged(command, log=place / "training.log", threads=1, held=held)
    print(f"{name}: {epochs * PER_EPOCH} steps in {cost.cpu_s / 60:.1f} CPU minutes", flush=True)
    return file


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of the sets that zero_shot.py knows"
    )
    parser.add_argument("--steps", type=int, default=500, help=f"of each training, a multiple of {PER_EPOCH}")
    parser.add_argument(
        "--image_size", type=int, default=128, help="side at which the files are asked, pixels"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1, help="trainings at a time")
    parser.add_argument("--folder", type=Path, default=Path("drawn_ablation"), help="where everything goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
