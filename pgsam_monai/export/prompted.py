"""A promptable network as the two ONNX files that SAM's tools expect: an image encoder and a prompt decoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pgsam_monai.base.files import whole
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.traced import merge_for_inference

OPSET = 17
FEATURES = ("image_embeddings", "skip_8", "skip_4")
"""What the encoder gives and the decoder takes; backbones without skip features have the first alone."""


class OnnxEncoder(nn.Module):
    """Image (n, C, S, S) on the 0..1 scale → embedding (n, 256, h, w), and skip features where there are any."""

    def __init__(self, network: MedSA) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """n is 1, or the slices of one stack where slices see each other."""
        features = self.network.embed(image, self.network.stack_depth)
        return (features.embedding, *features.skips)


class OnnxDecoder(nn.Module):
    """What is asked about one slice → mask logits and SAM's estimate of their IoU; the inputs are SAM's and a class."""

    def __init__(self, network: MedSA) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        class_index: Tensor,
        embedding: Tensor,
        *skips: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            point_coords: (1, N, 2), x and y pixels of the network's square input.
            point_labels: (1, N): 1 and 0 clicks, 2 and 3 a box's corners, -1 SAM's filling.
            mask_input: (1, 1, 4h, 4w) logits of an earlier answer.
            has_mask_input: (1,), 1 if it counts.
            class_index: (1,), 1 for the first foreground class.
            embedding: (1, 256, h, w).
            skips: the encoder's further outputs.

        Returns:
            (1, 1, 4h, 4w) and (1, 1).
        """
        masks, quality = self.network.answer_pairs(
            ImageFeatures(embedding, skips), point_coords, point_labels.long(), class_index - 1,
            mask_input[:, 0], has_mask_input > 0,
        )  # fmt: skip
        return masks.unsqueeze(1), quality.unsqueeze(1)


@torch.no_grad()
def export_prompted(network: MedSA, folder: str | Path) -> tuple[Path, Path]:
    """Write `encoder.onnx` and `decoder.onnx` of a trained network, adapters merged where they can be.

    Args:
        network: answers prompts.
        folder: where the files go; each appears whole or not at all.
    """
    merged, folder = merge_for_inference(network).float(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = torch.rand(merged.stack_depth, merged.in_channels, merged.image_size, merged.image_size)
    features = OnnxEncoder(merged)(image)
    names = FEATURES[: len(features)]
    encoder = write_encoder(merged, image, names, folder / "encoder.onnx")
    side = 4 * features[0].shape[-1]
    asked = (
        torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1, side, side),
        torch.zeros(1), torch.ones(1, dtype=torch.int64), *(feature[:1] for feature in features),
    )  # fmt: skip
    inputs = ["point_coords", "point_labels", "mask_input", "has_mask_input", "class_index", *names]
    axes = {"point_coords": {1: "points"}, "point_labels": {1: "points"}}
    outputs = ["low_res_masks", "iou_predictions"]
    return encoder, _export(OnnxDecoder(merged), asked, folder / "decoder.onnx", inputs, outputs, axes)


@torch.no_grad()
def write_encoder(merged: MedSA, image: Tensor, names: Sequence[str], file: Path) -> Path:
    """The encoder of a network that `merge_for_inference` gave, for images as large, with its features' names."""
    return _export(OnnxEncoder(merged), (image,), file, ["image"], list(names), {})


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    file: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict,
) -> Path:
    with whole(file) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about sizes that are constant here
        torch.onnx.export(
            module.eval(), example, str(partial), input_names=inputs, output_names=outputs, dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return file
