"""What one `pgsam predict` costs, the whole command, beside an older release of this repository, in one run.

    pgsam export bundles/samed_hippocampus --form openvino
    python benchmarks/prediction_speed.py bundles/samed_hippocampus hippocampus_001.nii.gz --before 4a9ba37
    python benchmarks/prediction_speed.py bundles/samed_synapse ct.nii.gz --before v0.1 --engines openvino,torch

The release is checked out beside (git worktree) and used with this environment's libraries. Contenders take turns, so
that a busy machine slows all; medians, ratios to the older release, and the share of foreground voxels that are as it
says. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402

from pgsam_monai.base.volume import read_label_file  # noqa: E402

CODE = "from pgsam_monai.commands.main import main; main()"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a command."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as work:
        release = Path(work) / "before"
        git("worktree", "add", "--detach", str(release), arguments.before)
        try:
            compare(arguments, release, Path(work))
        finally:
            git("worktree", "remove", "--force", str(release))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="trained and exported")
    parser.add_argument("image", type=Path)
    parser.add_argument("--before", required=True, help="commit or tag of the older release")
    parser.add_argument("--engines", default="auto,torch", help="of now, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def git(*words: str) -> None:
    subprocess.run(["git", "-C", str(REPOSITORY), *words], check=True, capture_output=True)


def compare(arguments: argparse.Namespace, release: Path, work: Path) -> None:
    contenders = {f"before ({arguments.before})": (release, [])}
    contenders |= {name: (REPOSITORY, ["--engine", name]) for name in arguments.engines.split(",")}
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for place, (name, (source, flags)) in enumerate(contenders.items()):
            costs[name].append(predict(arguments, source, flags, work / f"out_{place}"))
    print_rows(costs, [next((work / f"out_{place}").glob("[!.]*")) for place in range(len(contenders))])


def predict(arguments: argparse.Namespace, source: Path, flags: list[str], output: Path) -> Cost:
    """One command, in a process that has `source` for its package."""
    words = ["predict", str(arguments.bundle.resolve()), str(arguments.image.resolve()), str(output)]
    command = [sys.executable, "-c", CODE, *words, "--overwrite", *flags]
    environment = os.environ | {"PYTHONPATH": str(source)}
    began = os.times().elapsed
    process = subprocess.Popen(command, env=environment, cwd=source, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime, wall_s=os.times().elapsed - began, peak_mb=usage.ru_maxrss / 1024
    )  # fmt: skip


def print_rows(costs: dict[str, list[Cost]], files: list[Path]) -> None:
    expected = read_label_file(files[0])[0]
    first = None
    print("| engine | CPU s | wall s | peak MB | CPU, times less | wall, times less | foreground as before |")
    print("|---" * 7 + "|")
    for (name, taken), file in zip(costs.items(), files, strict=True):
        cpu, wall, peak = (
            median(getattr(cost, part) for cost in taken) for part in ("cpu_s", "wall_s", "peak_mb")
        )
        first = first or (cpu, wall)
        found = read_label_file(file)[0]
        either = (expected > 0) | (found > 0)
        same = np.mean((expected == found)[either]) if either.any() else 1.0
        ratios = f"{first[0] / cpu:.1f} | {first[1] / wall:.1f}"
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {peak:.0f} | {ratios} | {same:.3%} |")


if __name__ == "__main__":
    main()
