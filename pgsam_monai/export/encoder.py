"""The image encoder of a network that takes prompts for OpenVINO, measured beside what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pgsam_monai.base.files import scratch, sha256_of
from pgsam_monai.base.replacing import note_written
from pgsam_monai.export.prompted import FEATURES, OnnxEncoder, write_encoder
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.precision import autocast
from pgsam_monai.networks.traced import merge_for_inference
from pgsam_monai.runtime.encoder import FILES, EncoderRecord
from pgsam_monai.runtime.engines import BF16, FP32, OPENVINO, open_network

SIDES = (4, 16, 64)
"""of the noise that drawn images are made of: large and small structures"""


@torch.no_grad()
def export_encoder(network: MedSA, weights: Path, folder: Path) -> list[Path]:
    """Write a network's encoder, and what is known of it, into `folder`, in bfloat16 if that is as exact as torch is.

    Args:
        network: on the CPU.
        weights: its file.
        folder: made if missing.

    Returns:
        the files, the record last.
    """
    import openvino

    merged = merge_for_inference(network).float()
    image = drawn_image((merged.stack_depth, merged.in_channels, merged.image_size, merged.image_size))
    exact = [feature.numpy() for feature in OnnxEncoder(merged)(image)]
    with autocast("cpu"):
        shipped = [feature.float().numpy() for feature in OnnxEncoder(network)(image)]
    with scratch(folder) as made:
        onnx_file = write_encoder(merged, image, FEATURES[: len(exact)], made / "encoder.onnx")
        openvino.save_model(openvino.Core().read_model(onnx_file), made / FILES[0], compress_to_fp16=False)
        files = {name: sha256_of(made / name) for name in FILES}
        for precision in (BF16, FP32):
            found = open_network(made / FILES[0], OPENVINO, precision=precision)([image.numpy()])
            record = EncoderRecord(
                weights=sha256_of(weights), shape=tuple(image.shape), files=files, precision=precision,
                error=relative_error(found, exact), error_of_torch=relative_error(shipped, exact),
            )  # fmt: skip
            if record.verified:
                break
        written = [(made / name).replace(folder / name) for name in FILES]
    note_written(*written)
    return [*written, record.write(folder)]


def drawn_image(shape: Sequence[int], *, seed: int = 0) -> Tensor:
    """Structures of several sizes, 0..1 (n, C, S, S): to see how exact numbers are, no data set is needed."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        interpolate(torch.rand(*shape[:2], side, side, generator=generator), shape[2:], mode="bilinear")
        for side in SIDES
    ]
    return torch.stack(layers).mean(0)


def relative_error(found: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Mean distance over mean size, of the features where that is largest."""
    return max(
        float(np.abs(one - other).mean() / np.abs(other).mean())
        for one, other in zip(found, exact, strict=True)
    )
