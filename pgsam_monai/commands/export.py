"""`pgsam export`: a trained network in other forms."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import scratch, visible
from pgsam_monai.base.replacing import note_written, require_replaceable
from pgsam_monai.running import call_command

if TYPE_CHECKING:
    from pgsam_monai.bundle import Bundle


FORMS = {
    "adapters": ["adapters.safetensors"], "torchscript": ["model.ts"], "onnx": ["model.onnx"],
    "sam": ["encoder.onnx", "decoder.onnx"],
}  # fmt: skip


def export(
    bundle: str, *, form: str = "adapters", output: str | None = None, overwrite: bool = False
) -> None:
    """Write a trained bundle's network in another form.

    Examples:
        pgsam export bundles/samed_synapse                       # what was trained, alone (a few MB)
        pgsam export bundles/samed_hippocampus --form onnx
        pgsam export bundles/medsa_hippocampus --form sam   # encoder.onnx, decoder.onnx, as SAM has them

    Args:
        bundle: a trained bundle's folder.
        form: "adapters" (safetensors), "torchscript", "onnx", or "sam": the encoder and the prompt decoder of a network
            that takes prompts.
        output: the file; models/adapters.safetensors, models/model.ts or models/model.onnx by default; for "sam" the
            folder, models by default.
        overwrite: replace files that are none of ours, or were changed since they were written.
    """
    from pgsam_monai.bundle import Bundle

    trained = Bundle.trained(bundle, device="cpu")
    if form not in FORMS:
        raise UserFault(f"export: form must be one of {', '.join(FORMS)}, got '{form}'.")
    folder = Path(output) if output else trained.folder / "models"
    files = [Path(output)] if output and form != "sam" else [folder / name for name in FORMS[form]]
    require_replaceable(files, inputs=_read_files(trained), overwrite=overwrite)
    if form == "sam":
        from pgsam_monai.export.prompted import export_prompted

        trained.require_prompts()
        export_prompted(trained.network, folder)
    elif form == "adapters":
        from pgsam_monai.export.network import save_adapters

        save_adapters(trained.network, files[0])
    else:
        trained.require_one_input()
        _monai_export("ckpt_export" if form == "torchscript" else "onnx_export", trained, files[0])
    note_written(*files)
    for file in files:
        print(file)


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
