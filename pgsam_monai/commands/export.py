"""`pgsam export`: a trained network in other forms."""

from __future__ import annotations

import sys
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.running import call_command


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
    from pgsam_monai.predicting.predict import bundle_folder

    root = bundle_folder(bundle)
    forms = {"adapters": "adapters.safetensors", "torchscript": "model.ts", "onnx": "model.onnx", "sam": ""}
    if form not in forms:
        raise UserFault(f"export: form must be one of {', '.join(forms)}, got '{form}'.")
    target = Path(output) if output else root / "models" / forms[form]
    if form == "sam":
        return _export_prompted(root, target)
    if form == "adapters":
        _export_adapters(root, target)
    else:
        _monai_export("ckpt_export" if form == "torchscript" else "onnx_export", root, target)
    print(target)


def _export_adapters(root: Path, target: Path) -> None:
    from pgsam_monai.export.network import save_adapters

    save_adapters(_trained_network(root), target)


def _export_prompted(root: Path, folder: Path) -> None:
    from pgsam_monai.export.prompted import export_prompted

    for file in export_prompted(_trained_network(root), folder):
        print(file)


def _trained_network(root: Path):
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(root / "configs/inference.json")  # asks for no pretrained weights
    parser.update({"bundle_root": str(root)})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(root / "models/model.pt", map_location="cpu", weights_only=True))
    return network


def _monai_export(verb: str, root: Path, target: Path) -> None:
    configs = root / "configs"
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        verb,
        "--net_id",
        "network_def",
        "--filepath",
        str(target),
    ]
    command += ["--ckpt_file", str(root / "models/model.pt"), "--meta_file", str(configs / "metadata.json")]
    call_command([*command, "--config_file", str(configs / "inference.json")])
