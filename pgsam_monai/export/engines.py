"""A trained network for engines without torch, compared with itself before anybody relies on it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import scratch, sha256_of, whole
from pgsam_monai.base.replacing import note_written
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import select_cases
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.traced import fix_texts, merge_for_inference
from pgsam_monai.runtime.engines import BF16, FP32, OPENVINO
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import FILES, Exported, PatchInput, Record, SliceInput, read_record, stale

OPSET = 17
OURS = "pgsam_monai.transforms."
READ, PERCENTILES, CLEAN = (f"{OURS}{name}" for name in ("ReadCased", "ScalePercentilesd", "CleanClassesd"))
NEUTRAL = (READ, f"{OURS}MapLabelsd", "CastToTyped")
"""steps that every prediction without torch takes"""


def export_engine(bundle: Bundle, engine: str, cases: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write a trained bundle's network for one engine into its models folder, and what is known of it.

    Args:
        bundle: on the CPU.
        engine: one of `runtime.engines.ENGINES`.
        cases: {"name", "image"} that the network is asked in torch, float32, and in the engine.

    Returns:
        the files that were written, the record last.

    Raises:
        UserFault: what is done to images, as its inference.json says, can't be done without torch.
    """
    models = bundle.folder / "models"
    record = described(bundle)
    shape = ExportedNetwork(bundle, record, engine).input_shape
    onnx_file = models / FILES["onnxruntime"][0]
    if engine == OPENVINO:
        with scratch(models) as folder:
            _convert(_write_onnx(bundle.network, folder / onnx_file.name, shape), models / FILES[engine][0])
    else:
        _write_onnx(bundle.network, onnx_file, shape)
    files = [models / name for name in FILES[engine]]
    note_written(*files)
    old = read_record(models)
    if old is not None and stale(old, models, bundle.config_file("inference.json")) is None:
        record = replace(record, engines=old.engines)
    hashes = {file.name: sha256_of(file) for file in files}
    for precision in (BF16, FP32) if engine == OPENVINO else (FP32,):
        exported = Exported(files=hashes, precision=precision)
        record = replace(record, engines={**record.engines, engine: exported})
        agreement = compared(bundle, ExportedNetwork(bundle, record, engine), cases)
        exported = replace(exported, cases=tuple(case["name"] for case in cases), agreement=agreement)
        record = replace(record, engines={**record.engines, engine: exported})
        if exported.verified:
            break
    return [*files, record.write(models)]


def described(bundle: Bundle) -> Record:
    """What a bundle's inference.json does, as prediction without torch can do it.

    Raises:
        UserFault: a step, an inferer or a mirroring that it doesn't know.
    """
    config, inferer = bundle.parser.get(), bundle.inferer
    intensity, orientation = {"scheme": "none"}, ""
    for step in config["preprocessing"]["transforms"]:
        if step["_target_"] == "Orientationd":
            orientation = step["axcodes"]
        elif step["_target_"] == "ScaleIntensityRanged":
            intensity = {"scheme": "window", "low": step["a_min"], "high": step["a_max"]}
        elif step["_target_"] == PERCENTILES:
            intensity = {"scheme": "percentile", "low": step["low"], "high": step["high"]}
        elif step["_target_"] not in NEUTRAL:
            raise _unknown(bundle, step["_target_"])
    cleaning = next(
        (step for step in config["postprocessing"]["transforms"] if step["_target_"] == CLEAN), None
    )
    if config.get("mirror"):
        raise _unknown(bundle, "mirror")
    return Record(
        model=sha256_of(bundle.model_file), config=sha256_of(bundle.config_file("inference.json")),
        orientation=orientation, intensity=intensity,
        largest=tuple(cleaning["largest"]) if cleaning else (),
        cleaned=bool(cleaning) and bundle.content("clean_predictions"), seen=_seen(bundle, inferer),
    )  # fmt: skip


def _seen(bundle: Bundle, inferer: Any) -> SliceInput | PatchInput:
    if type(inferer) is SliceInferer:
        return SliceInput(
            image_size=inferer.image_size, fit=inferer.fit, stack_depth=inferer.stack_depth,
            stack_overlap=inferer.stack_overlap,
        )  # fmt: skip
    if type(inferer) is PatchInferer:
        return PatchInput(patch=inferer.patch, spacing=inferer.spacing, overlap=inferer.overlap)
    raise _unknown(bundle, type(inferer).__name__)


def _unknown(bundle: Bundle, step: str) -> UserFault:
    return UserFault(
        f"{bundle}: predictions without torch don't know '{step}' of its inference.json; leave the export out, and it "
        "is predicted with torch."
    )


class _OneOutput(nn.Module):
    """The final logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.network(image)
        return output[0] if isinstance(output, list | tuple) else output


@torch.no_grad()
def _write_onnx(network: nn.Module, file: Path, shape: Sequence[int]) -> Path:
    """For inputs of one shape, which is what predictions give it."""
    merged = _OneOutput(fix_texts(merge_for_inference(network)).float()).eval()
    image = torch.zeros(*shape)
    with whole(file) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about sizes that are constant here
        torch.onnx.export(
            merged, (image,), str(partial), input_names=["image"], output_names=["logits"],
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return file


def _convert(onnx_file: Path, file: Path) -> None:
    import openvino

    with scratch(file.parent) as folder:
        openvino.save_model(openvino.Core().read_model(onnx_file), folder / file.name, compress_to_fp16=False)
        for made in sorted(folder.iterdir(), key=lambda made: made.name == file.name):
            made.replace(file.parent / made.name)


def compared(bundle: Bundle, exported: ExportedNetwork, cases: Sequence[Mapping[str, Any]]) -> float | None:
    """The smallest share, over cases, of the foreground voxels of either that both call alike; None without cases."""
    if not cases:
        return None
    exact = Bundle.trained(bundle.folder, device="cpu", overrides={"precision": "fp32"})
    shares = []
    for case in tqdm(cases, desc=f"comparing {exported.engine}", disable=None):
        expected = exact.label_map(case["image"]).voxels
        found = exported.label_map(case["image"])[0].voxels
        shares.append(agreement(expected, found, bundle.background))
    return min(shares)


def agreement(expected: np.ndarray, found: np.ndarray, background: int) -> float:
    """Of the voxels that either label map calls foreground, the share that both call alike; 1 where there are none."""
    either = (expected != background) | (found != background)
    return float((expected == found)[either].mean()) if either.any() else 1.0


def cases_to_compare(bundle: Bundle, number: int) -> list[dict[str, Any]]:
    """The first cases of the bundle's fold that it didn't train on, if there are any; [] where its data aren't here."""
    folder = Path(bundle.content("dataset_dir"))
    if not folder.is_dir():
        return []
    for part in ("validation", "test", "training"):
        chosen = select_cases(
            splits_file=bundle.config_file("splits.json"), dataset_dir=folder, fold=bundle.content("fold"), part=part
        )  # fmt: skip
        if chosen:
            return [{"name": case["name"], "image": case["image"]} for case in chosen[:number]]
    return []
