"""The `pgsam` command: demo, plan, train, evaluate, predict, describe, export, weights.

Heavy libraries are imported by the command that needs them, so that help and errors come at once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.running import call_command, check_known, run_bundle


def demo(
    data: str | None = None,
    folder: str = "demo",
    cases: int = 30,
    seed: int = 0,
    resolution: int | None = None,
    epochs: int | None = None,
    network: str = "samed",
) -> None:
    """Plan, train, evaluate and predict on a drawn phantom abdomen, or on your own folder, start to end.

    Examples:
        pgsam demo
        pgsam demo --data /data/Task04_Hippocampus --network pgsam

    Args:
        data: a data set folder; without it phantom cases are drawn (shapes, not patients).
        folder: where data, plans, bundle, predictions and pictures go.
        cases: how many phantoms to draw.
        seed: of the phantoms.
        resolution: the network's input size; the plan chooses it otherwise.
        epochs: training length; the plan chooses it otherwise.
        network: samed, pgsam or hsam; dynunet, unet, swinunetr, unetr, autosam or samdecoder as a baseline.
    """
    from pgsam_monai.demo import run_demo
    from preprocess.cli import plan

    run_demo(
        plan, data=data, folder=Path(folder), cases=cases, seed=seed, resolution=resolution, epochs=epochs,
        network=network,
    )  # fmt: skip


def train(
    bundle: str,
    resume: bool = False,
    few_shot_curve: object = None,
    seeds: object = None,
    few_shot_folder: str | None = None,
    parallel: int | None = None,
    **overrides: object,
) -> None:
    """Train a bundle: `python -m monai.bundle run training` with shorter words; or its few-shot curve.

    --few_shot_curve trains the bundle on 1, 3, 5, … of its fold's training cases and measures each network on the same
    held-out cases. Smaller sets lie inside larger ones. Every run takes the bundle's epochs times iterations_per_epoch
    steps, however few its cases: that is what makes the points comparable. Unless you say otherwise, the last network
    is measured (model_selection=last), so that held-out cases have no say in choosing it, and validation waits for the
    end. Interrupted, the same command goes on; with more numbers or seeds it adds to what is there.

    Examples:
        pgsam train bundles/samed_hippocampus
        pgsam train bundles/samed_hippocampus --resume --epochs 60 --fold 1
        pgsam train bundles/samed_hippocampus --few_shot_curve 1,3,5,10,20 --seeds 3
        pgsam train bundles/samed_hippocampus --few_shot_curve 5,10 --seeds 4,7 --epochs 20 --few_shot_folder short

    Args:
        bundle: the bundle's folder.
        resume: go on after the last completed epoch.
        few_shot_curve: numbers of training cases, separated by commas; writes few_shot.csv, .json and .png.
        seeds: of the curve, 3 by default: 3 means 0,1,2, and 4,7 these two. Each draws cases and seeds the training.
        few_shot_folder: where the curve goes; eval/few_shot of the bundle by default. One folder, one setting.
        parallel: runs of the curve at a time, one thread each if there are several; 1 by default.
        overrides: any value of configs/train.json (for a curve of configs/evaluate.json, too).
    """
    if few_shot_curve is None:
        for name, value in (("seeds", seeds), ("few_shot_folder", few_shot_folder), ("parallel", parallel)):
            if value is not None:
                raise ValueError(f"--{name} belongs to --few_shot_curve; give both or neither.")
        return run_bundle("training", bundle, ["train.json"], {"resume": resume, **overrides})
    sizes, chosen = _numbers("few_shot_curve", few_shot_curve), _seeds(seeds)
    _few_shot_curve(str(bundle), sizes, chosen, _text(few_shot_folder), _parallel(parallel), overrides)


def _few_shot_curve(
    bundle: str, cases: list[int], seeds: list[int], folder: str | None, parallel: int, overrides: dict
) -> None:
    from pgsam_monai.child_processes import RunFailed
    from pgsam_monai.few_shot import make_curve, run_curves
    from preprocess.few_shot import few_shot_splits
    from preprocess.splits import Splits

    def subset(record: dict, count: int, seed: int) -> dict:
        return few_shot_splits(Splits.from_json(record), count, seed).to_json()

    curve = make_curve(bundle, subset, cases=cases, seeds=seeds, overrides=overrides, folder=folder)
    try:
        run_curves([curve], parallel=parallel)
    except RunFailed as fault:
        sys.exit(f"pgsam: {fault}")
    except KeyboardInterrupt:
        sys.exit(
            "pgsam: interrupted. Finished runs and epochs are kept; the same command goes on after them."
        )
    for name in ("few_shot.csv", "few_shot.json", "few_shot.png"):
        print(curve.folder / name)


def _numbers(flag: str, value: object) -> list[int]:
    """What was typed as 5 or 1,3,5: python-fire makes a number of the first and a tuple of the second."""
    several = list(value) if isinstance(value, tuple | list) else [value]
    if not several or any(isinstance(number, bool) or not isinstance(number, int) for number in several):
        raise ValueError(
            f"--{flag} takes whole numbers separated by commas, as in 1,3,5; got {_text(value)}."
        )
    return several


def _seeds(value: object) -> list[int]:
    """The seeds that were typed: 3 means 0,1,2."""
    numbers = _numbers("seeds", 3 if value is None else value)
    return list(range(numbers[0])) if isinstance(value, int | None) else numbers


def _parallel(value: object) -> int:
    numbers = _numbers("parallel", 1 if value is None else value)
    if len(numbers) > 1 or numbers[0] < 1:
        raise ValueError(f"--parallel takes one number of runs, at least 1; got {_text(value)}.")
    return numbers[0]


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
    run_bundle("evaluating", bundle, ["train.json", "evaluate.json"], {"part": part, **overrides})


def predict(
    bundle: str,
    source: str,
    output: str,
    overlays: bool = False,
    guide_maps: bool = False,
    device: str | None = None,
) -> None:
    """Predict a file, a folder of files or a DICOM series; label maps come on the input's own grid and values.

    Examples:
        pgsam predict bundles/samed_hippocampus scan.nii.gz predictions --overlays
        pgsam predict bundles/pgsam_synapse scans predictions --guide_maps

    Args:
        bundle: a trained bundle's folder.
        source: image file, folder, or DICOM series folder. Several channels: nnU-Net's _0000, _0001 endings.
        output: folder of the predictions.
        overlays: also write overlay PNGs.
        guide_maps: also write PNGs of where PG-SAM's prior points, a heat map per class.
        device: cpu or cuda; by default a GPU if there is one.
    """
    from pgsam_monai.predict import predict as run

    for path in run(bundle, source, output, overlays=overlays, guide_maps=guide_maps, device=device):
        print(path)


def describe(
    bundle: str,
    endpoint: str | None = None,
    model: str | None = None,
    local: str | None = None,
    api_key_file: str | None = None,
    classes: str | None = None,
    instructions: str = "",
    per_image: bool = False,
    images: int | None = None,
    send_to_remote: bool = False,
    dataset_dir: str | None = None,
    append: bool = False,
    dry_run: bool = False,
) -> None:
    """Let a language model write or refine the texts of a bundle's classes, configs/texts.json.

    Nothing is sent unless you name an endpoint; what is sent is printed first. Interrupted, the same command goes on.

    Examples:
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:11434/v1 --model llama3.1:8b
        pgsam describe bundles/pgsam_synapse --local /models/Qwen3-8B --classes "spleen,left kidney"
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:8000/v1 --model medgemma --per_image --images 3

    Args:
        bundle: the folder of a bundle whose network reads texts.
        endpoint: an OpenAI-compatible server (vLLM, Ollama, llama.cpp, …), up to /v1.
        model: the model's name there.
        local: instead of both, the folder of a transformers model (safetensors).
        api_key_file: file with the server's key; the variable OPENAI_API_KEY otherwise.
        classes: some of the classes, separated by commas; all but the background otherwise.
        instructions: added to every request.
        per_image: send slices of training cases to a vision model; each gives its class another text.
        images: slices per class, 3 by default.
        send_to_remote: allow these slices to leave this machine.
        dataset_dir: where the data set lies, if not where the bundle says.
        append: keep the current texts beside the new ones.
        dry_run: print the requests; send and write nothing.
    """
    from pgsam_monai.prompts.describe import describe as run
    from pgsam_monai.prompts.wishes import ModelChoice, Wishes

    choice = ModelChoice(
        endpoint=_text(endpoint), model=_text(model), local=_text(local), api_key_file=_text(api_key_file)
    )
    names = _text(classes)
    wishes = Wishes(
        classes=tuple(name.strip() for name in names.split(",")) if names else None,
        instructions=_text(instructions) or "", per_image=per_image, images=images, send_to_remote=send_to_remote,
        dataset_dir=_text(dataset_dir), append=append, dry_run=dry_run,
    )  # fmt: skip
    try:
        run(str(bundle), choice, wishes)
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Answers so far are kept; the same command goes on after them.")


def _text(value: object) -> str | None:
    """What was typed: python-fire makes a tuple of `a,b` and a number of `7`."""
    if value is None or isinstance(value, str):
        return value
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


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
    parser.read_config(root / "configs/inference.json")  # asks for no pretrained weights
    parser.update({"bundle_root": str(root)})
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
    call_command([*command, "--config_file", str(configs / "inference.json")])


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
            check_known(word[2:].partition("=")[0].replace("-", "_"), set(parameters))


def commands() -> dict:
    """The commands by name; `plan` is listed for its help and handled by `pgsam-plan` itself."""
    from preprocess.cli import plan

    weights = {"list": list_weights, "fetch": fetch_weights, "import": import_weights}
    return {
        "demo": demo, "plan": plan, "train": train, "evaluate": evaluate, "predict": predict, "describe": describe,
        "export": export, "weights": weights,
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
