"""Bundles of a 2-D and a 3-D network with finished folds whose answers are known: every voxel has the same class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny

from pgsam_monai.base.trained_for import planned_in
from pgsam_monai.base.trained_on import digests_of
from pgsam_monai.bundle import Bundle

TOPOLOGY = {"kernels": [[3] * 3] * 3, "strides": [[1] * 3, [2] * 3, [2] * 3], "filters": [4, 4, 4]}
SMALL = ("image_size=32", f"topology_3d={json.dumps(TOPOLOGY)}", "folds=3")


def plan_pair(work: Path, *overrides: str) -> tuple[Path, Path]:
    """The untrained bundles of a UNet and a DynUNet3D on six cases in three folds."""
    folder = write_nnunet(work / "Dataset001_Pair", cases=6, shape=(12, 10, 6))
    first = plan_tiny(folder, work, *SMALL, *overrides, networks="unet,dynunet_3d")
    for name in ("train.json", "inference.json"):
        content = json.loads((first / "configs" / name).read_text())
        content["network_def"]["filters"] = [4] * 5
        (first / "configs" / name).write_text(json.dumps(content))
    return first, first.with_name("dynunet_3d_pair")


def splits_of(bundle: Path) -> dict:
    return json.loads((bundle / "configs/splits.json").read_text())


def write_weights(file: Path, bundle: Path, logits: Sequence[float], cases: Sequence[str] | None) -> None:
    """A network that finds the class of the highest logit everywhere, and was trained on these cases."""
    network = Bundle(bundle, device="cpu").content("network_def")
    with torch.no_grad():
        for parameter in network.parameters():
            of_output = parameter.shape == (len(logits),)  # no layer inside has so many channels
            parameter.copy_(torch.tensor(logits) if of_output else torch.zeros_like(parameter))
    network.trained_for = planned_in(bundle)
    network.trained_on = None if cases is None else digests_of(cases, dataset=network.trained_for.dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)


def finish_folds(bundle: Path, logits: Sequence[Sequence[float]], *, folder: str = "eval/folds") -> None:
    """A cross-validation whose folds answer so; each was trained on its training cases."""
    for fold, own in enumerate(logits):
        place = bundle / folder / f"fold_{fold}"
        write_weights(place / "models/model.pt", bundle, own, splits_of(bundle)["folds"][fold]["training"])
        (place / "result.json").write_text("{}")
