"""What an ensemble's inferer takes beside its networks: peak memory and time, of networks that compute next to nothing.

    python benchmarks/ensemble_memory.py [--shape 512,512,96] [--classes 14] [--folds 5]

Each row is a process of its own: a 2-D and a 3-D network alone, both together, both without telling how sure they are,
and both with all their folds. Seconds are the CPU's, of one thread.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from monai.data import MetaTensor
from torch import nn

from pgsam_monai.inference.ensemble import EnsembleInferer
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.ensemble import Ensemble

SPACING = (0.8, 0.8, 3.0)
PLANNED = (1.5, 1.5, 3.0)
ROWS = ("slices", "patches", "both", "untold", "folds")


class OneLayer(nn.Module):
    """A 1 x 1 convolution."""

    name, in_channels, trained_on = "one_layer", 1, None

    def __init__(self, layer: type[nn.Module], classes: int) -> None:
        super().__init__()
        self.num_classes = classes - 1
        self.layer = layer(1, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, 1, …) → logits (B, classes, …)."""
        return self.layer(image)


def measure(row: str, shape: list[int], classes: int, folds: int) -> str:
    """A line of one row."""
    torch.set_num_threads(1)
    affine = torch.diag(torch.tensor([*SPACING, 1.0], dtype=torch.float64))[None]
    image = MetaTensor(torch.rand(1, 1, *shape).half(), affine=affine)
    walks = [SliceInferer(224), PatchInferer((64, 64, 64), PLANNED)]
    networks = [OneLayer(nn.Conv2d, classes).eval(), OneLayer(nn.Conv3d, classes).eval()]
    count = folds if row == "folds" else 1
    ensemble = Ensemble(networks, [count, count]).eval()
    runs = dict(zip(ROWS, zip(walks, networks, strict=True), strict=False))
    inferer, network = runs.get(row, (EnsembleInferer(walks, confidence=row != "untold"), ensemble))
    before, started = _peak_gb(), time.process_time()
    inferer(image, network)
    return f"{row:8} {_peak_gb() - before:6.2f} GB {time.process_time() - started:7.2f} s"


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="512,512,96")
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--row", choices=ROWS)
    words = parser.parse_args()
    if words.row:
        shape = [int(side) for side in words.shape.split(",")]
        print(measure(words.row, shape, words.classes, words.folds), flush=True)
        return
    for row in ROWS:
        subprocess.run([sys.executable, *sys.argv, "--row", row], check=True)


if __name__ == "__main__":
    main()
