"""What a 3-D network's labels of a large scan with many classes take beside the network: peak memory and time.

    python benchmarks/patch_memory.py                        # 117 classes, 512 x 512 x 400, two spacings, two patches
    python benchmarks/patch_memory.py --before 23a1f27 --spacings 0.8,0.8,1.0 --patches 64

The network is one 1 x 1 convolution, the scan smooth noise. Each row is a process of its own, and its peak the kernel's
count of that process's resident memory: interpreter, scan and label map included. An older release is checked out
beside (git worktree) and measured in the same run, in turns, and voxels that are labelled otherwise are counted;
23a1f27 is the last without slabs, which takes (K+1) x 4 bytes a voxel at 1.5 mm. Seconds are the CPU's, of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
PLANNED = (1.5, 1.5, 1.5)


def main() -> None:
    arguments = read_arguments()
    if arguments.row:
        print(json.dumps(measure(arguments, **json.loads(arguments.row))))
        return
    print(
        "| spacing, mm | patch | package | peak, GB | of which before the walk | CPU s | voxels otherwise |"
    )
    print("|---" * 7 + "|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        sources = {"now": REPOSITORY}
        if arguments.before:
            sources = {arguments.before: Path(work) / "before", **sources}
            git("worktree", "add", "--detach", str(sources[arguments.before]), arguments.before)
        try:
            for spacing in arguments.spacings.split(";"):
                for patch in arguments.patches.split(","):
                    print_rows(arguments, sources, spacing, int(patch), Path(work))
        finally:
            if arguments.before:
                git("worktree", "remove", "--force", str(sources[arguments.before]))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="512,512,400")
    parser.add_argument(
        "--spacings", default="0.8,0.8,1.0;1.5,1.5,1.5", help="mm of the scan, planned are 1.5"
    )
    parser.add_argument("--classes", type=int, default=117, help="without the background")
    parser.add_argument("--patches", default="64,128", help="sides")
    parser.add_argument("--rounds", type=int, default=1, help="the least of their seconds is shown")
    parser.add_argument("--before", help="commit or tag of an older release")
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def git(*words: str) -> None:
    subprocess.run(["git", "-C", str(REPOSITORY), *words], check=True, capture_output=True)


def print_rows(
    arguments: argparse.Namespace, sources: dict[str, Path], spacing: str, patch: int, work: Path
) -> None:
    found: dict[str, list[dict]] = {name: [] for name in sources}
    for _ in range(arguments.rounds):
        for place, (name, source) in enumerate(sources.items()):
            row = {"spacing": spacing, "patch": patch, "labels": str(work / f"labels_{place}.npy")}
            found[name].append(child(arguments, source, row))
    expected = np.load(work / "labels_0.npy")
    for place, (name, rows) in enumerate(found.items()):
        peak, start = (max(row[key] for row in rows) for key in ("peak_gb", "start_gb"))
        other = np.count_nonzero(np.load(work / f"labels_{place}.npy") != expected)
        seconds = min(row["seconds"] for row in rows)
        shown = [spacing, f"{patch}^3", name, f"{peak:.2f}", f"{start:.2f}", f"{seconds:.1f}", other]
        print("| " + " | ".join(map(str, shown)) + " |", flush=True)


def child(arguments: argparse.Namespace, source: Path, row: dict) -> dict:
    """The row, measured in a process of its own that has `source` for its package."""
    words = ["--shape", arguments.shape, "--classes", str(arguments.classes), "--row", json.dumps(row)]
    done = subprocess.run(
        [sys.executable, __file__, *words], env=os.environ | {"PYTHONPATH": str(source)}, cwd=source,
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace, *, spacing: str, patch: int, labels: str) -> dict:
    import torch
    from monai.data import MetaTensor
    from torch import nn

    from pgsam_monai.inference.patches import PatchInferer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = [int(side) for side in arguments.shape.split(",")]
    coarse = torch.rand(1, 1, *(max(2, side // 32) for side in shape))
    scan = nn.functional.interpolate(coarse, size=shape, mode="trilinear")
    affine = torch.diag(torch.tensor([*map(float, spacing.split(",")), 1.0], dtype=torch.float64))
    network = nn.Conv3d(1, arguments.classes + 1, 1).eval()
    inferer = PatchInferer((patch,) * 3, PLANNED)
    start, began = peak_gb(), time.process_time()
    found = inferer(MetaTensor(scan, affine=affine[None]), network)
    row = {"peak_gb": peak_gb(), "start_gb": start, "seconds": time.process_time() - began}
    np.save(labels, found.as_tensor().numpy())
    return row


def peak_gb() -> float:
    """The most that this process ever held (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
