"""The `pgsam` command: demo, plan, train, evaluate, predict, describe, export, weights.

Heavy libraries are imported by the command that needs them, so that help and errors come at once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.cli_export import export
from pgsam_monai.cli_values import (
    box_numbers,
    one_number,
    parallel_runs,
    propagation,
    seed_numbers,
    typed_text,
    whole_numbers,
    window_numbers,
)
from pgsam_monai.cli_weights import fetch_weights, import_weights, list_weights
from pgsam_monai.running import check_known, run_bundle


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
        network: samed, pgsam, hsam or medsa; dynunet, unet, swinunetr, unetr, autosam or samdecoder as a baseline.
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
    sizes, chosen = whole_numbers("few_shot_curve", few_shot_curve), seed_numbers(seeds)
    _few_shot_curve(
        str(bundle), sizes, chosen, typed_text(few_shot_folder), parallel_runs(parallel), overrides
    )


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


def evaluate(
    bundle: str,
    part: str = "validation",
    interaction: bool = False,
    clicks: object = None,
    seeds: object = None,
    cases: int | None = None,
    **overrides: object,
) -> None:
    """Measure a trained bundle: Dice, HD95 and surface Dice per class and case, to eval/PART/metrics.csv and .json.

    --interaction measures how its network answers clicks and boxes instead, to eval/PART/interaction.csv, .json and
    .png: 3-D Dice after 1, 2, 3, 5 and 10 clicks per slice, the first at random in the structure, each further one in
    the answer's largest error; after 3 points, none, 1 or 2 of them wrong; in boxes at a stated IoU with the tight box;
    beside what the network finds without a prompt. The user is simulated and sees the reference, so these numbers say
    nothing of images that nobody prompts. Interrupted, the same command goes on after the finished cases.

    Examples:
        pgsam evaluate bundles/samed_hippocampus
        pgsam evaluate bundles/samed_synapse --part test --protocol synapse
        pgsam evaluate bundles/medsa_hippocampus --interaction
        pgsam evaluate bundles/medsa_hippocampus --interaction --clicks 1,3 --seeds 3 --cases 5

    Args:
        bundle: the bundle's folder.
        part: "validation" (of the fold), "test" or "training".
        interaction: measure answers to simulated clicks and boxes; for networks that take prompts (medsa).
        clicks: after how many clicks per slice, 1,2,3,5,10 by default.
        seeds: of the simulated users, 1 by default: 3 means 0,1,2, and 4,7 these two.
        cases: measure the first so many cases; all by default.
        overrides: any value of configs/evaluate.json or train.json, such as tolerance_mm.
    """
    if interaction:
        numbers = [1, 2, 3, 5, 10] if clicks is None else whole_numbers("clicks", clicks)
        return _evaluate_interaction(
            str(bundle),
            numbers,
            seed_numbers(1 if seeds is None else seeds),
            cases,
            {"part": part, **overrides},
        )
    for name, value in (("clicks", clicks), ("seeds", seeds), ("cases", cases)):
        if value is not None:
            raise ValueError(f"--{name} belongs to --interaction; give both or neither.")
    run_bundle("evaluating", bundle, ["train.json", "evaluate.json"], {"part": part, **overrides})


def _evaluate_interaction(
    bundle: str, clicks: list[int], seeds: list[int], cases: int | None, overrides: dict
) -> None:
    from pgsam_monai.interactive.evaluate import evaluate_interaction
    from pgsam_monai.interactive.measure import InteractionSettings

    settings = InteractionSettings(clicks=tuple(clicks), seeds=tuple(seeds))
    count = None if cases is None else one_number("cases", cases)
    try:
        evaluate_interaction(bundle, settings, cases=count, overrides=overrides)
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Finished cases are kept; the same command goes on after them.")


def predict(
    bundle: str,
    source: str,
    output: str,
    overlays: bool = False,
    guide_maps: bool = False,
    device: str | None = None,
    clicks: str | None = None,
    box: object = None,
    label: str | int | None = None,
    propagate: bool | int = False,
    background: str = "empty",
    window: object = None,
) -> None:
    """Predict a file, a folder of files or a DICOM series; label maps come on the input's own grid and values.

    --clicks and --box segment what you point at in one image instead, with a network that takes prompts (medsa). Voxels
    (i, j, k) are those of the image file, counted from 0. Slices without a prompt stay empty, unless --propagate
    carries the structure on from slice to slice, or --background everything shows what the network finds by itself.

    A file of clicks:
        {"labels": {"liver": {"positive": [[210, 160, 88]], "negative": [[240, 180, 88]]},
                    "spleen": {"boxes": [[300, 360, 180, 240, 88, 88]]}}}
    Voxels are meant unless it also says "space": "RAS" or "LPS" (mm). 3D Slicer's .mrk.json is read as it is.

    Examples:
        pgsam predict bundles/samed_hippocampus scan.nii.gz predictions --overlays
        pgsam predict bundles/pgsam_synapse scans predictions --guide_maps
        pgsam predict bundles/medsa_synapse scan.nii.gz predictions --clicks clicks.json
        pgsam predict bundles/medsa_synapse scan.nii.gz predictions --box 120,210,90,180,88,88 --label liver --propagate
        pgsam predict lite_medsam ct.nii.gz predictions --box 120,210,90,180,88,88 --window=-160,240 --propagate

    Args:
        bundle: a trained bundle's folder; with --clicks or --box also a name of `pgsam weights list`, untrained.
        source: image file, folder, or DICOM series folder. Several channels: nnU-Net's _0000, _0001 endings.
        output: folder of the predictions.
        overlays: also write overlay PNGs.
        guide_maps: also write PNGs of where PG-SAM's prior points, a heat map per class.
        device: cpu or cuda; by default a GPU if there is one.
        clicks: file of clicks and boxes, by class.
        box: i0,i1,j0,j1,k0,k1, voxels at both ends included; a box on every slice that it covers.
        label: the class in --box; needless where there is only one.
        propagate: carry classes on to slices without prompts, to all or, given a number, to so many on each side.
        background: what slices without prompts show, "empty" or "everything".
        window: for a name of weights, low,high: grey values that become black and white; percentiles by default.
    """
    if clicks is not None or box is not None:
        if guide_maps:
            raise ValueError("--guide_maps is not for --clicks and --box; leave it out.")
        wishes = {
            "clicks": typed_text(clicks), "box": box_numbers(box), "label": label, "propagate": propagation(propagate),
            "background": background, "window": window_numbers(window),
        }  # fmt: skip
        written = _predict_prompted(bundle, source, output, wishes, overlays=overlays, device=device)
    else:
        from pgsam_monai.predict import predict as run

        shown = background != "empty"
        given = {"label": label, "propagate": propagate, "background": shown, "window": window}
        for name in (name for name, value in given.items() if value):
            raise ValueError(f"--{name} belongs to --clicks or --box; give one of them too.")
        written = run(bundle, source, output, overlays=overlays, guide_maps=guide_maps, device=device)
    for path in written:
        print(path)


def _predict_prompted(
    bundle: str, source: str, output: str, wishes: dict, *, overlays: bool, device: str | None
) -> list[Path]:
    from pgsam_monai.interactive.predict import PromptWishes, predict_prompted

    if wishes["label"] is not None and wishes["box"] is None:
        raise ValueError("--label says what is in --box; a file of clicks names its classes itself.")
    return predict_prompted(
        str(bundle), source, output, wishes=PromptWishes(**wishes), overlays=overlays, device=device
    )


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
        endpoint=typed_text(endpoint),
        model=typed_text(model),
        local=typed_text(local),
        api_key_file=typed_text(api_key_file),
    )
    names = typed_text(classes)
    wishes = Wishes(
        classes=tuple(name.strip() for name in names.split(",")) if names else None,
        instructions=typed_text(instructions) or "", per_image=per_image, images=images, send_to_remote=send_to_remote,
        dataset_dir=typed_text(dataset_dir), append=append, dry_run=dry_run,
    )  # fmt: skip
    try:
        run(str(bundle), choice, wishes)
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Answers so far are kept; the same command goes on after them.")


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
