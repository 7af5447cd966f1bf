"""The `pgsam` command: demo, plan, train, evaluate, predict, export, weights.

Heavy libraries are imported by the command that needs them, so that help and errors come at once.
"""

from __future__ import annotations

import difflib
import inspect
import json
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path


def demo(
    data: str | None = None,
    folder: str = "demo",
    cases: int = 30,
    seed: int = 0,
    resolution: int | None = None,
    epochs: int | None = None,
) -> None:
    """Plan, train, evaluate and predict on a drawn phantom abdomen, or on your own folder, start to end.

    Examples:
        pgsam demo
        pgsam demo --data /data/Task04_Hippocampus

    Args:
        data: a data set folder; without it phantom cases are drawn (shapes, not patients).
        folder: where data, plans, bundle, predictions and pictures go.
        cases: how many phantoms to draw.
        seed: of the phantoms.
        resolution: the network's input size; the plan chooses it otherwise.
        epochs: training length; the plan chooses it otherwise.
    """
    from pgsam_monai.demo import run_demo
    from preprocess.cli import plan

    run_demo(
        plan, data=data, folder=Path(folder), cases=cases, seed=seed, resolution=resolution, epochs=epochs
    )


def train(bundle: str, resume: bool = False, **overrides: object) -> None:
    """Train a bundle: `python -m monai.bundle run training` with shorter words.

    Examples:
        pgsam train bundles/samed_hippocampus
        pgsam train bundles/samed_hippocampus --resume --epochs 60 --fold 1

    Args:
        bundle: the bundle's folder.
        resume: go on after the last completed epoch.
        overrides: any value of configs/train.json.
    """
    _run_bundle("training", bundle, ["train.json"], {"resume": resume, **overrides})


def evaluate(bundle: str, part: str = "validation", **overrides: object) -> None:
    """Measure a trained bundle: Dice, HD95 and surface Dice per class and case, to eval/PART/metrics.csv and .json.

    Examples:
        pgsam evaluate bundles/samed_hippocampus
        pgsam evaluate bundles/samed_synapse --part test --protocol synapse

    Args:
        bundle: the bundle's folder.
        part: "validation" (of the fold), "test" or "training".
        overrides: any value of configs/evaluate.json or train.json, such as tolerance_mm.
    """
    _run_bundle("evaluating", bundle, ["train.json", "evaluate.json"], {"part": part, **overrides})


def predict(bundle: str, source: str, output: str, overlays: bool = False, device: str | None = None) -> None:
    """Predict a file, a folder of files or a DICOM series; label maps come on the input's own grid and values.

    Examples:
        pgsam predict bundles/samed_hippocampus scan.nii.gz predictions --overlays

    Args:
        bundle: a trained bundle's folder.
        source: image file, folder, or DICOM series folder. Several channels: nnU-Net's _0000, _0001 endings.
        output: folder of the predictions.
        overlays: also write overlay PNGs.
        device: cpu or cuda; by default a GPU if there is one.
    """
    from pgsam_monai.predict import predict as run

    for path in run(bundle, source, output, overlays=overlays, device=device):
        print(path)


def export(bundle: str, form: str = "adapters", output: str | None = None) -> None:
    """Write a trained bundle's network in another form.

    Examples:
        pgsam export bundles/samed_synapse                       # what was trained, alone (a few MB)
        pgsam export bundles/samed_hippocampus --form onnx

    Args:
        bundle: a trained bundle's folder.
        form: "adapters" (safetensors), "torchscript" or "onnx".
        output: the file; models/adapters.safetensors, models/model.ts or models/model.onnx by default.
    """
    from pgsam_monai.predict import bundle_folder

    root = bundle_folder(bundle)
    forms = {"adapters": "adapters.safetensors", "torchscript": "model.ts", "onnx": "model.onnx"}
    if form not in forms:
        raise ValueError(f"export: form must be one of {', '.join(forms)}, got '{form}'.")
    target = Path(output) if output else root / "models" / forms[form]
    if form == "adapters":
        _export_adapters(root, target)
    else:
        _monai_export("ckpt_export" if form == "torchscript" else "onnx_export", root, target)
    print(target)


def list_weights() -> None:
    """The known pretrained weights: name, size, licence, source, and whether they are on this machine."""
    from pgsam_monai.weights import KNOWN_WEIGHTS, default_weights_dir

    for record in KNOWN_WEIGHTS.values():
        here = "here" if (default_weights_dir() / record.file_name).is_file() else "not here"
        print(
            f"{record.name:12} {record.size_bytes / 1e6:8.0f} MB  {record.licence:12} {here:9} {record.url}"
        )


def fetch_weights(name: str, weights_dir: str | None = None) -> None:
    """Download weights by name, check their SHA-256, and keep them for every bundle."""
    from pgsam_monai.weights import resolve_weights

    print(resolve_weights(name, weights_dir=weights_dir))


def import_weights(file: str, weights_dir: str | None = None) -> None:
    """Take in a weights file that was fetched elsewhere; it is recognised by its SHA-256."""
    from pgsam_monai.weights import import_weights as run

    print(run(file, weights_dir=weights_dir))


def _export_adapters(root: Path, target: Path) -> None:
    import torch
    from monai.bundle import ConfigParser

    from pgsam_monai.export import save_adapters

    parser = ConfigParser()
    parser.read_config(root / "configs/train.json")
    parser.update({"bundle_root": str(root), "weights": None})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(root / "models/model.pt", map_location="cpu", weights_only=True))
    save_adapters(network, target)


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
    _call([*command, "--config_file", str(configs / "inference.json")])


def _run_bundle(run_id: str, bundle: str, configs: list[str], overrides: dict[str, object]) -> None:
    """Run a bundle in this process; a fault is its root's sentence and the command that shows the whole story."""
    root = Path(bundle)
    missing = [name for name in configs if not (root / "configs" / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"'{bundle}' is no bundle (no configs/{missing[0]}); plan one with pgsam-plan."
        )
    files = [str(root / "configs" / name) for name in configs]
    flags = [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    config_file = files[0] if len(files) == 1 else str(files)
    typed = shlex.join(["python", "-m", "monai.bundle", "run", run_id, "--config_file", config_file, *flags])
    print("$", typed, flush=True)
    _check_overrides(overrides, files)
    from monai.bundle import run

    try:
        run(run_id, config_file=files, bundle_root=str(root), **overrides)
    except KeyboardInterrupt:
        kept = f" Finished epochs are kept; go on with: pgsam train {bundle} --resume"
        sys.exit(f"pgsam: interrupted.{kept if run_id == 'training' else ''}")
    except Exception as fault:  # whatever a config's components raise, MONAI wraps several times
        sys.exit(f"pgsam: {run_id} failed: {_root_of(fault)}\nThe whole traceback: {typed}")


def _check_overrides(overrides: Mapping[str, object], files: Sequence[str]) -> None:
    """MONAI takes an override of a value that no config has, and then nothing happens; here it is a fault."""
    known = {key for file in files for key in json.loads(Path(file).read_text())}
    for name in overrides:
        _check_known(name.replace("::", "#").split("#")[0], known)


def check_flags(arguments: Sequence[str]) -> None:
    """Unknown flags are told before a command runs; python-fire would run it first and complain afterwards.

    Raises:
        ValueError: naming the flag and the nearest known one.
    """
    command: object = commands()
    words = list(arguments)
    while words and isinstance(command, dict):
        command = command.get(words.pop(0))
    if not callable(command):
        return
    parameters = inspect.signature(command).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for word in words:
        if word.startswith("--") and word not in ("--", "--help"):
            _check_known(word[2:].partition("=")[0].replace("-", "_"), set(parameters))


def _check_known(name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean --{near[0]}?" if near else ""
        raise ValueError(f"--{name} is no option here.{hint}")


def _root_of(fault: BaseException) -> str:
    """The first sentence below MONAI's wrappers, which are plain RuntimeErrors."""
    while type(fault) is RuntimeError and fault.__cause__ is not None:
        fault = fault.__cause__
    return str(fault) or type(fault).__name__


def _call(command: list[str]) -> None:
    """Run a command, shown first as one could type it; its failure ends this one with its exit status."""
    print("$", shlex.join(["python", *command[1:]]), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)


def commands() -> dict:
    """The commands by name; `plan` is listed for its help and handled by `pgsam-plan` itself."""
    from preprocess.cli import plan

    weights = {"list": list_weights, "fetch": fetch_weights, "import": import_weights}
    return {
        "demo": demo, "plan": plan, "train": train, "evaluate": evaluate, "predict": predict, "export": export,
        "weights": weights,
    }  # fmt: skip


def main() -> None:
    """Entry point; a known fault prints one sentence and exits 2, never a traceback."""
    import fire

    from pgsam_monai.weights import WeightsError

    if sys.argv[1:2] == ["plan"]:
        from preprocess.cli import main as plan_main

        return plan_main(sys.argv[2:])
    try:
        check_flags(sys.argv[1:])
        fire.Fire(commands(), name="pgsam")
    except (FileNotFoundError, ValueError, WeightsError) as fault:
        sys.exit(f"pgsam: {fault}")


if __name__ == "__main__":
    main()
