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
    "openvino": ["openvino.xml", "openvino.bin"], "sam": ["encoder.onnx", "decoder.onnx"],
}  # fmt: skip
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}


def export(
    bundle: str, *, form: str = "adapters", output: str | None = None, overwrite: bool = False, cases: int = 2,
) -> None:  # fmt: skip
    """Write a trained bundle's network in another form.

    "openvino" and "onnx" make predictions fast: pgsam predict then starts without torch. They are compared with the
    trained network first, on cases of its data set, and used unasked if 99.9 % of the foreground is the same.

    Examples:
        pgsam export bundles/samed_synapse                       # what was trained, alone (a few MB)
        pgsam export bundles/samed_hippocampus --form openvino   # pip install openvino
        pgsam export bundles/medsa_hippocampus --form sam   # encoder.onnx, decoder.onnx, as SAM has them

    Args:
        bundle: a trained bundle's folder.
        form: "adapters" (safetensors), "torchscript", "onnx", "openvino", or "sam": the encoder and the prompt decoder
            of a network that takes prompts.
        output: the file; in the bundle's models folder by default, where predictions look for it; for "sam" the
            folder.
        overwrite: replace files that are none of ours, or were changed since they were written.
        cases: of "onnx" and "openvino", how many cases of the data set they are compared on.
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
    elif form in ENGINES and output is None and trained.capabilities.trains:
        _export_engine(trained, ENGINES[form], cases)
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


def _export_engine(bundle: Bundle, engine: str, number: int) -> None:
    from pgsam_monai.export.engines import cases_to_compare, export_engine
    from pgsam_monai.runtime.engines import NAMES, require_engine
    from pgsam_monai.runtime.record import AGREEMENT, read_record

    require_engine(engine)
    found = cases_to_compare(bundle, number)
    export_engine(bundle, engine, found)
    made = read_record(bundle.folder / "models").engines[engine]
    if made.agreement is None:
        told = f"not compared: the data set of {bundle} isn't here; ask for it with pgsam predict --engine {engine}"
    else:
        share = f"{made.agreement:.4%} of the foreground as the trained network calls it, in {made.precision}"
        used = f"at least {AGREEMENT:.1%}: pgsam predict takes it unasked"
        told = (
            f"{share}; {used if made.verified else f'less than {AGREEMENT:.1%}: only with --engine {engine}'}"
        )
    print(f"{NAMES[engine]}: {told}.")


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
