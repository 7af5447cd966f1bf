"""How many parameters each part of a network has, and how many of them are trained."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

_SAM = {"image encoder": r"image_encoder\.", "prompt encoder": r"prompt_encoder\."}
PGSAM_PARTS = _SAM | {
    "CLIP image tower": r"clip\.image_tower\.",
    "CLIP text tower": r"clip\.text_tower\.",
    "aligner": r"aligner\.",
    "transformer and tokens": r"mask_decoder\.(transformer|iou_token|mask_tokens)\.",
    "upscaling or fusion": r"mask_decoder\.(upscaling|guided|output_upscaling)\.",
    "mask optimizer": r"mask_decoder\.optimizer\.",
    "hyper-MLPs": r"mask_decoder\.output_hypernetworks_mlps\.",
    "quality head": r"mask_decoder\.iou_prediction_head\.",
    "the rest": "",
}
HSAM_PARTS = {"LoRA": r".*\.lora_"} | _SAM | {
    "first stage: decoder": r"mask_decoder\.(?!iou_prediction_head)",
    "first stage: quality head": r"mask_decoder\.iou_prediction_head\.",
    "class attention": r"second_stage\.class_attention\.",
    "second stage: transformer and tokens": r"second_stage\.(transformer|mask_tokens)\.",
    "second stage: pixel decoder": r"second_stage\.pixel_decoder\.",
    "second stage: hyper-MLPs": r"second_stage\.hyper_mlps\.",
    "the rest": "",
}  # fmt: skip
PARTS = {"pgsam": PGSAM_PARTS, "hsam": HSAM_PARTS}
"""By network: rows of its table and how the names of their parameters start; the first that fits counts."""


def count_parameters(network: nn.Module, parts: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """By part: all parameters and those that require gradients."""
    counts = {part: (0, 0) for part in parts}
    for name, parameter in network.named_parameters():
        part = next(part for part, pattern in parts.items() if re.match(pattern, name))
        total, trained = counts[part]
        counts[part] = total + parameter.numel(), trained + parameter.numel() * parameter.requires_grad
    return counts


def print_parameters(networks: Mapping[str, nn.Module], parts: Mapping[str, str], heading: str) -> None:
    """A table of millions of parameters, a row per part that a network has."""
    print(f"\n{heading}; millions\n")
    print("| part | " + " | ".join(f"{name} | trained" for name in networks) + " |")
    print("|---" * (1 + 2 * len(networks)) + "|")
    counts = [count_parameters(network, parts) for network in networks.values()]
    rows = {part: [value for count in counts for value in count[part]] for part in parts}
    rows = {part: values for part, values in rows.items() if any(values)}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for part, values in rows.items():
        print(f"| {part} | {' | '.join(f'{value / 1e6:.3f}' for value in values)} |")
