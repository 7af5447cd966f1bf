"""`pgsam export`: a trained network in other forms."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import scratch, visible
from pgsam_monai.base.replacing import note_written, require_replaceable
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.running import call_command
from pgsam_monai.runtime.record import AGREEMENT

if TYPE_CHECKING:
    from torch import nn

    from pgsam_monai.bundle import Bundle
    from pgsam_monai.runtime.record import Exported

FORMS = {
    "adapters": ["adapters.safetensors"], "torchscript": ["model.ts"], "onnx": ["model.onnx"],
    "openvino": ["openvino.xml", "openvino.bin"], "sam": ["encoder.onnx", "decoder.onnx"],
}  # fmt: skip
ENCODER = ["encoder.xml", "encoder.bin"]
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}


def export(
    bundle: str, *, form: str = "adapters", output: str | None = None, overwrite: bool = False, cases: int = 2,
    bf16: bool = False, int8: bool = False,
) -> None:  # fmt: skip
    """Write a trained bundle's network in another form.

    "openvino" and "onnx" make predictions fast: pgsam predict then starts without torch. They are compared with the
    trained network first, on cases of its data set, and used unasked if 99.9 % of the foreground is the same. OpenVINO
    computes in bfloat16 if that agrees, else in float32.

    --bf16 and --int8 are for those who want speed: voxels needn't agree then, but the mean Dice of the compared cases,
    which need labels, must stay within 0.005 of the trained network's in float32; else nothing is exported.

    Examples:
        pgsam export bundles/samed_synapse                       # what was trained, alone (a few MB)
        pgsam export bundles/samed_hippocampus --form openvino   # pip install openvino
        pgsam export bundles/samed_synapse --form openvino --int8 --cases 4   # pip install openvino nncf
        pgsam export lite_medsam --form openvino   # for pgsam predict lite_medsam … --box
        pgsam export bundles/medsa_hippocampus --form sam   # encoder.onnx, decoder.onnx, as SAM has them

    Args:
        bundle: a trained bundle's folder; with "openvino" also a name of `pgsam weights list`, whose image encoder then
            answers clicks and boxes.
        form: "adapters" (safetensors), "torchscript", "onnx", "openvino", or "sam": the encoder and the prompt decoder
            of a network that takes prompts.
        output: the file; in the bundle's models folder by default, where predictions look for it; for "sam" the
            folder.
        overwrite: replace files that are none of ours, or were changed since they were written.
        cases: of "onnx" and "openvino", how many cases of the data set they are compared on, those first that the
            network didn't train on.
        bf16: of "openvino": bfloat16, even if some voxels are called otherwise.
        int8: of "openvino": integers of 8 bits, calibrated on training cases.
    """
    from pgsam_monai.bundle import Bundle

    if form not in FORMS:
        raise UserFault(f"export: form must be one of {', '.join(FORMS)}, got '{form}'.")
    if bundle in KNOWN_WEIGHTS and not Path(bundle).is_dir():
        return _export_published(bundle, form, overwrite)
    trained = Bundle.trained(bundle, device="cpu")
    precision = _precision(form, bf16, int8)
    if cases < 0:
        raise UserFault(f"--cases must be 0 or more, got {cases}.")
    folder = Path(output) if output else trained.folder / "models"
    files = [Path(output)] if output and form != "sam" else [folder / name for name in FORMS[form]]
    encodes = form == "openvino" and output is None and trained.capabilities.prompts
    files += [folder / name for name in ENCODER] if encodes else []
    require_replaceable(files, inputs=_read_files(trained), overwrite=overwrite)
    if form == "sam":
        from pgsam_monai.export.prompted import export_prompted

        trained.require_prompts()
        export_prompted(trained.network, folder)
    elif form == "adapters":
        from pgsam_monai.export.network import save_adapters

        save_adapters(trained.network, files[0])
    elif form in ENGINES and output is None and trained.capabilities.trains:
        _export_engine(trained, ENGINES[form], cases, precision)
        if encodes:
            _export_encoder(trained.network, trained.model_file, folder)
    else:
        trained.require_one_input()
        if form == "openvino":
            raise UserFault(
                "--form openvino goes to the models folder of a trained network; leave --output out."
            )
        _monai_export("ckpt_export" if form == "torchscript" else "onnx_export", trained, files[0])
    note_written(*files)
    for file in files:
        print(file)


def _export_published(weights: str, form: str, overwrite: bool) -> None:
    from pgsam_monai.interactive.zero_shot import encoder_folder, load_zero_shot
    from pgsam_monai.runtime.engines import OPENVINO, require_engine
    from pgsam_monai.weights.files import resolve_weights

    if form != OPENVINO:
        raise UserFault(f"'{weights}' as published is exported with --form openvino alone.")
    require_engine(OPENVINO)
    folder = encoder_folder(weights)
    files = [folder / name for name in ENCODER]
    require_replaceable(files, overwrite=overwrite)
    _export_encoder(load_zero_shot(weights, device="cpu").network, resolve_weights(weights), folder)
    print(*files, sep="\n")


def _export_encoder(network: nn.Module, weights: Path, folder: Path) -> None:
    from pgsam_monai.export.encoder import export_encoder
    from pgsam_monai.runtime.encoder import read_encoder_record

    export_encoder(network, weights, folder)
    made = read_encoder_record(folder)
    used = "taken unasked" if made.verified else "only with --engine openvino"
    print(
        f"OpenVINO's image encoder for clicks and boxes, in {made.precision}: features {made.error:.2%} from exact "
        f"ones, torch's {made.error_of_torch:.2%}; {used}."
    )


def _precision(form: str, bf16: bool, int8: bool) -> str | None:
    """What the user chose."""
    chosen = [name for name, wished in (("bf16", bf16), ("int8", int8)) if wished]
    if len(chosen) > 1:
        raise UserFault("--bf16 and --int8 are two precisions; give one of them.")
    if chosen and form != "openvino":
        raise UserFault(f"--{chosen[0]} is for --form openvino; leave it out.")
    return chosen[0] if chosen else None


def _export_engine(bundle: Bundle, engine: str, number: int, precision: str | None) -> None:
    from pgsam_monai.export.comparing import cases_to_compare
    from pgsam_monai.export.engines import export_engine
    from pgsam_monai.export.quantizing import require_quantizer
    from pgsam_monai.runtime.engines import INT8, NAMES, require_engine
    from pgsam_monai.runtime.record import read_record

    require_engine(engine)
    if precision == INT8:
        require_quantizer()
    part, found = cases_to_compare(bundle, number)
    export_engine(bundle, engine, found, part=part, precision=precision)
    made = read_record(bundle.folder / "models").engines[engine]
    print(f"{NAMES[engine]} in {made.precision}: {_told(made, bundle, engine)}")


def _told(made: Exported, bundle: Bundle, engine: str) -> str:
    if made.agreement is None:
        return f"not compared: the data set of {bundle} isn't here; ask for it with pgsam predict --engine {engine}."
    asked = f"only pgsam predict --engine {engine} takes it, for {AGREEMENT:.1%} of the foreground should be the same"
    told = f"{made.agreement:.3%} of the foreground as the trained network calls it in float32"
    if made.dice is not None:
        told += f", Dice {made.dice:.4f} instead of {made.dice_of_trained:.4f}"
    told += f" ({made.part}: {', '.join(made.cases)})"
    return f"{told}; {'pgsam predict takes it unasked' if made.verified else asked}."


def _read_files(bundle: Bundle) -> list[Path]:
    return [bundle.model_file, *visible(bundle.folder / "configs")]


def _monai_export(verb: str, bundle: Bundle, file: Path) -> None:
    with scratch(file.parent) as folder:
        made = folder / file.name
        files = {
            "--filepath": made, "--ckpt_file": bundle.model_file, "--meta_file": bundle.config_file("metadata.json"),
            "--config_file": bundle.config_file("inference.json"),
        }  # fmt: skip
        # Absolute, for MONAI's command line takes 7 for a number.
        words = [word for flag, path in files.items() for word in (flag, str(Path(path).absolute()))]
        call_command([sys.executable, "-m", "monai.bundle", verb, "--net_id", "network_def", *words])
        os.replace(made, file)
