"""Med-SA's trained parameters by backbone and rank, beside Table 7a of the paper (ViT-H).

    python benchmarks/medsa_parameters.py

Networks are built without memory for their weights, so that ViT-H fits anywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed.parameters import count_parameters  # noqa: E402
from pgsam_monai.networks.medsa import MedSA  # noqa: E402

RANKS = (1, 16, 32, 64, 256)
PAPER = {1: 1.58, 16: 4.33, 32: 7.19, 64: 13.10, 256: 48.67}
"""Millions, Table 7a."""
PARTS = {
    "encoder adapters": r"image_encoder\.",
    "HyP-Adpt": r".*\.prompted\.",
    "other decoder adapters": r"mask_decoder\.transformer\.",
    "class tokens and heads": "",
}
"""How the names of their parameters start; the first that fits counts."""
CLASSES = 12


def main() -> None:
    print("| backbone | rank | " + " | ".join(PARTS) + " | all trained | Table 7a | total | share |")
    print("|---" * (len(PARTS) + 6) + "|")
    for backbone in ("vit_h", "vit_l", "vit_b"):
        for rank in RANKS:
            parts, total = count(backbone, rank)
            trained = sum(parts.values())
            paper = f"{PAPER[rank]:.2f}" if backbone == "vit_h" else ""
            cells = " | ".join(f"{value / 1e6:.2f}" for value in parts.values())
            print(
                f"| {backbone} | {rank} | {cells} | {trained / 1e6:.2f} | {paper} | {total / 1e6:.1f} | "
                f"{trained / total:.1%} |"
            )
    for fusion in ("add", "concat", "cross", "gated"):
        extra = {
            b: count(b, 64, stack_depth=4, depth_fusion=fusion)[1] - count(b, 64)[1]
            for b in ("vit_h", "vit_b")
        }
        print(
            f"depth_fusion {fusion}: "
            + ", ".join(f"{value / 1e6:.2f} M with {b}" for b, value in extra.items())
        )


def count(backbone: str, rank: int, **changes: object) -> tuple[dict[str, int], int]:
    """Trained parameters by part, and all parameters."""
    with torch.device("meta"):
        network = MedSA(num_classes=CLASSES, image_size=1024, backbone=backbone, rank=rank, **changes)
    parts = count_parameters(network, PARTS)
    return {part: trained for part, (_, trained) in parts.items()}, sum(every for every, _ in parts.values())


if __name__ == "__main__":
    main()
