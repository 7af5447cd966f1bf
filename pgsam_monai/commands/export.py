"""`pgsam export`: a trained network in other forms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgsam_monai.base.errors import UserFault
from pgsam_monai.running import call_command

if TYPE_CHECKING:
    from pgsam_monai.bundle import Bundle


def export(bundle: str, *, form: str = "adapters", output: str | None = None) -> None:
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
    """
    from pgsam_monai.bundle import Bundle

    trained = Bundle.trained(bundle, device="cpu")
    forms = {"adapters": "adapters.safetensors", "torchscript": "model.ts", "onnx": "model.onnx", "sam": ""}
    if form not in forms:
        raise UserFault(f"export: form must be one of {', '.join(forms)}, got '{form}'.")
    target = Path(output) if output else trained.folder / "models" / forms[form]
    if form == "sam":
        from pgsam_monai.export.prompted import export_prompted

        trained.require_prompts()
        for file in export_prompted(trained.network, target):
            print(file)
        return
    if form == "adapters":
        from pgsam_monai.export.network import save_adapters

        save_adapters(trained.network, target)
    else:
        _monai_export("ckpt_export" if form == "torchscript" else "onnx_export", trained, target)
    print(target)


def _monai_export(verb: str, bundle: Bundle, target: Path) -> None:
    files = {
        "--filepath": target, "--ckpt_file": bundle.model_file, "--meta_file": bundle.config_file("metadata.json"),
        "--config_file": bundle.config_file("inference.json"),
    }  # fmt: skip
    # Absolute, for MONAI's command line takes 7 for a number.
    words = [word for flag, file in files.items() for word in (flag, str(Path(file).absolute()))]
    call_command([sys.executable, "-m", "monai.bundle", verb, "--net_id", "network_def", *words])
