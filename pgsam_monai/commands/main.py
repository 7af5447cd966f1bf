"""The `pgsam` command: demo, plan, train, evaluate, predict, describe, export, view, label, weights.

Heavy libraries are imported by the command that needs them, so that help and errors come at once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault, root_of
from pgsam_monai.commands.describe import describe
from pgsam_monai.commands.evaluate import check_mode, measure_elsewhere, measure_interaction
from pgsam_monai.commands.export import export
from pgsam_monai.commands.label import label
from pgsam_monai.commands.predict import predict
from pgsam_monai.commands.values import parallel_runs, seed_numbers, typed_text, whole_numbers
from pgsam_monai.commands.view import view
from pgsam_monai.commands.weights import fetch_weights, import_weights, list_weights
from pgsam_monai.running import check_known, initial_model, run_bundle


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
        network: samed, pgsam, hsam, medsa or refsam3d; dynunet, unet, swinunetr, unetr, autosam or samdecoder as a
            baseline.
    """
    from pgsam_monai.commands.demo import run_demo
    from preprocess.commands.main import plan

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

    --from begins with the network of another bundle, as far as it fits: what is sized by the classes starts anew. With
    a bundle that was planned for five cases this is fine-tuning with five shots, in three commands:
        pgsam-plan /data/AMOS --networks refsam3d --few_shot 5
        pgsam train bundles/refsam3d_amos --from bundles/refsam3d_btcv
        pgsam evaluate bundles/refsam3d_amos

    --few_shot_curve trains the bundle on 1, 3, 5, … of its fold's training cases and measures each network on the same
    held-out cases. Smaller sets lie inside larger ones. Every run takes the bundle's epochs times iterations_per_epoch
    steps, however few its cases: that is what makes the points comparable. Unless you say otherwise, the last network
    is measured (model_selection=last), so that held-out cases have no say in choosing it, and validation waits for the
    end. Interrupted, the same command goes on; with more numbers or seeds it adds to what is there.

    Examples:
        pgsam train bundles/samed_hippocampus
        pgsam train bundles/samed_hippocampus --resume --epochs 60 --fold 1
        pgsam train bundles/refsam3d_amos --from bundles/refsam3d_btcv
        pgsam train bundles/samed_hippocampus --few_shot_curve 1,3,5,10,20 --seeds 3
        pgsam train bundles/samed_hippocampus --few_shot_curve 5,10 --seeds 4,7 --epochs 20 --few_shot_folder short

    Args:
        bundle: the bundle's folder.
        resume: go on after the last completed epoch.
        few_shot_curve: numbers of training cases, separated by commas; writes few_shot.csv, .json and .png.
        seeds: of the curve, 3 by default: 3 means 0,1,2, and 4,7 these two. Each draws cases and seeds the training.
        few_shot_folder: where the curve goes; eval/few_shot of the bundle by default. One folder, one setting.
        parallel: runs of the curve at a time, one thread each if there are several; 1 by default.
        overrides: --from BUNDLE, a trained one; any value of configs/train.json (for a curve of configs/evaluate.json,
            too).
    """
    if "from" in overrides:  # a keyword of Python's, so it can't be an argument of its own
        start = overrides.pop("from")
        overrides["initial_model"] = initial_model(str(bundle), str(start), resume=resume)
    if few_shot_curve is None:
        for name, value in (("seeds", seeds), ("few_shot_folder", few_shot_folder), ("parallel", parallel)):
            if value is not None:
                raise UserFault(f"--{name} belongs to --few_shot_curve; give both or neither.")
        return run_bundle("training", bundle, ["train.json"], {"resume": resume, **overrides})
    sizes, chosen = whole_numbers("few_shot_curve", few_shot_curve), seed_numbers(seeds)
    _few_shot_curve(
        str(bundle), sizes, chosen, typed_text(few_shot_folder), parallel_runs(parallel), overrides
    )


def _few_shot_curve(
    bundle: str, cases: list[int], seeds: list[int], folder: str | None, parallel: int, overrides: dict
) -> None:
    from pgsam_monai.evaluation.few_shot import make_curve, run_curves
    from preprocess.splits.few_shot import few_shot_splits
    from preprocess.splits.records import Splits

    def subset(record: dict, count: int, seed: int) -> dict:
        return few_shot_splits(Splits.from_json(record), count, seed).to_json()

    curve = make_curve(bundle, subset, cases=cases, seeds=seeds, overrides=overrides, folder=folder)
    try:
        run_curves([curve], parallel=parallel)
    except KeyboardInterrupt:
        sys.exit(
            "pgsam: interrupted. Finished runs and epochs are kept; the same command goes on after them."
        )
    for name in ("few_shot.csv", "few_shot.json", "few_shot.png"):
        print(curve.folder / name)


def evaluate(
    bundle: str,
    part: str | None = None,
    interaction: bool = False,
    clicks: object = None,
    seeds: object = None,
    cases: int | None = None,
    dataset: str | None = None,
    map: str | None = None,
    intensity: str | None = None,
    device: str | None = None,
    **overrides: object,
) -> None:
    """Measure a trained bundle: Dice, HD95 and surface Dice per class and case, to eval/PART/metrics.csv and .json.

    --dataset measures it on another data set instead, with any network: cases are predicted as `pgsam predict` does,
    and the classes that both label are compared, to eval/NAME/metrics.csv and .json. Which these are is found by their
    names, printed first and written to eval/NAME/label_map.json; an edited one is given back as --map FILE, say
    because there a "liver" leaves out its tumours. Interrupted, the same command goes on after the predicted cases.

    --interaction measures how its network answers clicks and boxes instead, to eval/PART/interaction.csv, .json and
    .png: 3-D Dice after 1, 2, 3, 5 and 10 clicks per slice, the first at random in the structure, each further one in
    the answer's largest error; after 3 points, none, 1 or 2 of them wrong; in boxes at a stated IoU with the tight box;
    beside what the network finds without a prompt. The user is simulated and sees the reference, so these numbers say
    nothing of images that nobody prompts. Interrupted, the same command goes on after the finished cases.

    Examples:
        pgsam evaluate bundles/samed_hippocampus
        pgsam evaluate bundles/samed_synapse --part test --protocol synapse
        pgsam evaluate bundles/refsam3d_btcv --dataset /data/AMOS --map auto
        pgsam evaluate bundles/refsam3d_btcv --dataset /data/CHAOS_MR --map chaos.json --intensity percentile --cases 5
        pgsam evaluate bundles/medsa_hippocampus --interaction
        pgsam evaluate bundles/medsa_hippocampus --interaction --clicks 1,3 --seeds 3 --cases 5

    Args:
        bundle: the bundle's folder.
        part: "validation" (of the fold, the default), "test" or "training".
        interaction: measure answers to simulated clicks and boxes; for networks that take prompts (medsa).
        clicks: after how many clicks per slice, 1,2,3,5,10 by default.
        seeds: of the simulated users, 1 by default: 3 means 0,1,2, and 4,7 these two.
        cases: with --interaction or --dataset the first so many cases; all by default.
        dataset: folder of another data set, in any layout that pgsam-plan reads, or a datalist JSON.
        map: auto (the default), or an edited label_map.json.
        intensity: percentile replaces the bundle's CT window by each case's 0.5 and 99.5 percentiles, for MR.
        device: cpu or cuda; by default a GPU if there is one.
        overrides: any value of configs/evaluate.json or train.json, such as tolerance_mm; with --dataset protocol and
            tolerance_mm only.
    """
    given = {
        "part": part,
        "clicks": clicks,
        "seeds": seeds,
        "cases": cases,
        "map": map,
        "intensity": intensity,
    }
    check_mode({"--interaction": interaction, "--dataset": dataset is not None}, given)
    if dataset is not None:
        return measure_elsewhere(
            str(bundle), _find_dataset, dataset=dataset, label_map=map, cases=cases, intensity=intensity,
            device=device, overrides=overrides,
        )  # fmt: skip
    overrides |= {"part": part or "validation"} | ({} if device is None else {"device": device})
    if interaction:
        return measure_interaction(str(bundle), clicks=clicks, seeds=seeds, cases=cases, overrides=overrides)
    run_bundle("evaluating", bundle, ["train.json", "evaluate.json"], overrides)


def _find_dataset(folder: str) -> dict:
    """The planner's view of a data set in plain words, cases by name: see `evaluate_elsewhere`."""
    from preprocess.layouts import find_dataset
    from preprocess.layouts.tree import natural_key

    try:
        found = find_dataset(folder)
    except UserFault as fault:
        raise UserFault(f"evaluate: {fault}") from fault

    def case(record) -> dict:
        paths = [str(Path(found.folder) / path) for path in record.images]
        image = paths[0] if len(paths) == 1 else paths
        label = (
            image if record.label == "@images" else record.label and str(Path(found.folder) / record.label)
        )
        return {"name": record.name, "image": image, "label": label}

    alone = len(found.images_without_label)
    for note in (*found.notes, *([f"{alone} images without a label are left out"] if alone else [])):
        print(f"note: {note}")
    return {
        "name": found.name,
        "folder": found.folder,
        "cases": [
            case(record) for record in sorted(found.cases, key=lambda record: natural_key(record.name))
        ],
        "label_names": {value: name for name, value in (found.label_names or {}).items()},
    }


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
    from preprocess.commands.main import plan

    weights = {"list": list_weights, "fetch": fetch_weights, "import": import_weights}
    return {
        "demo": demo, "plan": plan, "train": train, "evaluate": evaluate, "predict": predict, "describe": describe,
        "export": export, "view": view, "label": label, "weights": weights,
    }  # fmt: skip


def main() -> None:
    """Entry point; a known fault prints one sentence and exits 2, never a traceback."""
    import fire

    if sys.argv[1:2] == ["plan"]:
        from preprocess.commands.main import main as plan_main

        return plan_main(sys.argv[2:])
    try:
        check_flags(sys.argv[1:])
        fire.Fire(commands(), name="pgsam")
    except UserFault as fault:
        sys.exit(f"pgsam: {fault}")
    except RuntimeError as fault:  # MONAI wraps the faults of a bundle's components
        if not isinstance(root_of(fault), UserFault):
            raise
        sys.exit(f"pgsam: {root_of(fault)}")


if __name__ == "__main__":
    main()
