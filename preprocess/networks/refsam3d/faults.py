"""What networks on sub-volumes can't be planned for, and what is RefSAM3D's alone, in sentences."""

from collections.abc import Mapping
from typing import Any

VOLUME_BACKBONES = ("vit_mini", "vit_b", "vit_l", "vit_h", "efficient_sam_ti", "efficient_sam_s")
"""Encoders whose tokens lie on one grid from the first block to the last."""

TITLES = {"refsam3d": "RefSAM3D", "dynunet_3d": "DynUNet3D"}
"""The networks on sub-volumes."""


def input_fault(name: str, shared: Mapping[str, Any]) -> str | None:
    """A sentence where the decisions that networks share rule out one that trains on sub-volumes."""
    title = TITLES.get(name)
    if title is None:
        return None
    if shared["patch_3d"] is None:
        return (
            f"patch_3d null: {title} trains on sub-volumes, and this data is planned as single slices; leave {name} "
            "out of --networks, or override patch_3d=[rows,columns,slices]."
        )
    if shared["spacing"] is None:
        return f"spacing null: {title} resamples volumes to one spacing; override spacing=[rows,columns,slices] in mm."
    return None


def choice_fault(name: str, values: Mapping[str, Any]) -> str | None:
    """A sentence where a network lacks the decided backbone or augmentation."""
    backbone, is_ours = values.get("backbone"), name == "refsam3d"
    if is_ours and backbone not in VOLUME_BACKBONES:
        known = ", ".join(VOLUME_BACKBONES)
        return f"backbone {backbone}: RefSAM3D takes {known}; override refsam3d.backbone=vit_mini."
    if not is_ours and backbone == "vit_mini":
        return f"backbone vit_mini: only refsam3d has it; override {name}.backbone=vit_tiny."
    if name in TITLES and values["augmentation"] == "hsam":
        return f"augmentation hsam: it is for slices; override {name}.augmentation=default, papers or none."
    return None
