"""A trained network for engines without torch, compared with itself before anybody relies on it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import scratch, sha256_of, whole
from pgsam_monai.base.replacing import note_written
from pgsam_monai.bundle import Bundle
from pgsam_monai.export.comparing import ask_trained, cases_of, measured
from pgsam_monai.export.quantizing import calibration_inputs, quantized
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.networks.traced import fix_texts, merge_for_inference
from pgsam_monai.runtime.engines import BF16, FP32, INT8, ONNXRUNTIME, OPENVINO
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.runtime.record import (
    DICE_LOST,
    FILES,
    Exported,
    PatchInput,
    Record,
    SliceInput,
    read_record,
    stale,
)

OPSET = 17
OURS = "pgsam_monai.transforms."
READ, PERCENTILES, CLEAN = (f"{OURS}{name}" for name in ("ReadCased", "ScalePercentilesd", "CleanClassesd"))
NEUTRAL = (READ, f"{OURS}MapLabelsd", "CastToTyped")
"""steps that every prediction without torch takes"""


def export_engine(
    bundle: Bundle, engine: str, cases: Sequence[Mapping[str, Any]], *, part: str = "", precision: str | None = None
) -> list[Path]:  # fmt: skip
    """Write a trained bundle's network for one engine into its models folder, and what is known of it.

    Args:
        bundle: on the CPU.
        engine: one of `runtime.engines.ENGINES`.
        cases: as of `comparing.cases_to_compare`, that the network is asked in torch, float32, and in the engine.
        part: which these are.
        precision: of OpenVINO `BF16` or `INT8`, whatever voxels they call otherwise; None: the fastest whose voxels
            agree, of bfloat16 and float32.

    Returns:
        the files that were written, the record last.

    Raises:
        UserFault: what is done to images, as its inference.json says, can't be done without torch; or the precision
            costs too much Dice, or nobody knows how much. Nothing has changed then.
    """
    models, record = bundle.folder / "models", described(bundle)
    expected = ask_trained(bundle.folder, cases)
    with scratch(models) as folder:
        made = _written(bundle, engine, record, folder, precision == INT8)
        hashes = {file.name: sha256_of(file) for file in made}
        tried = [precision] if precision else [BF16, FP32] if engine == OPENVINO else [FP32]
        for each in tried:
            exported = Exported(files=hashes, precision=each, chosen=precision is not None, part=part)
            candidate = replace(record, engines={engine: exported})
            exported = measured(exported, ExportedNetwork(bundle, candidate, engine, folder=folder), expected)
            if exported.agrees:
                break
        if precision and not exported.verified:
            raise _too_dear(exported)
        files = [file.replace(models / file.name) for file in made]
    note_written(*files)
    old = read_record(models)
    known = old is not None and stale(old, models, bundle.config_file("inference.json")) is None
    record = replace(record, engines={**(old.engines if known else {}), engine: exported})
    return [*files, record.write(models)]


def _written(bundle: Bundle, engine: str, record: Record, folder: Path, integers: bool) -> list[Path]:
    """An engine's files in `folder`, in integers of 8 bits or not."""
    shape = ExportedNetwork(bundle, record, engine).input_shape
    onnx_file = write_onnx(bundle.network, folder / FILES[ONNXRUNTIME][0], shape)
    if engine == ONNXRUNTIME:
        return [onnx_file]
    import openvino

    if integers:
        model = quantized(onnx_file, calibration_inputs(bundle, record, cases_of(bundle, "training")))
    else:
        model = openvino.Core().read_model(onnx_file)
    files = [folder / name for name in FILES[engine]]
    openvino.save_model(model, files[0], compress_to_fp16=False)
    return files


def _too_dear(exported: Exported) -> UserFault:
    what = f"{exported.precision} isn't offered for this network"
    if exported.dice_lost is None:
        return UserFault(
            f"{what}, for nobody can tell what it costs: no case of its data set with a label is here. Nothing was "
            "changed."
        )
    return UserFault(
        f"{what}: its Dice is {exported.dice:.4f}, {exported.dice_lost:.4f} less than in float32, on "
        f"{', '.join(exported.cases)}; {DICE_LOST} is allowed. Nothing was changed."
    )


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
            stack_overlap=inferer.stack_overlap, sampling=inferer.sampling,
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
def write_onnx(network: nn.Module, file: Path, shape: Sequence[int]) -> Path:
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
