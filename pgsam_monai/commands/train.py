"""`pgsam train`: a bundle, all its folds, or its few-shot curve."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands.values import seed_numbers, settle_overrides, whole_numbers
from pgsam_monai.running import initial_model, run_bundle

MODES_OF = {
    "folds_folder": ("--folds",),
    "seeds": ("--few_shot_curve",),
    "few_shot_folder": ("--few_shot_curve",),
    "parallel": ("--folds", "--few_shot_curve"),
}
"""Flags → the modes that take them."""


def train(
    bundle: str,
    *,
    resume: bool = False,
    folds: str | None = None,
    folds_folder: str | None = None,
    few_shot_curve: object = None,
    seeds: object = None,
    few_shot_folder: str | None = None,
    parallel: int | None = None,
    max_gb: object = None,
    **overrides: object,
) -> None:
    """Train a bundle: `python -m monai.bundle run training` with shorter words; all its folds; or its few-shot curve.

    --from begins with the network of another bundle, as far as it fits: what is sized by the classes starts anew. With
    a bundle that was planned for five cases this is fine-tuning with five shots, in three commands:
        pgsam-plan /data/AMOS --networks refsam3d --few_shot 5
        pgsam train bundles/refsam3d_amos --from bundles/refsam3d_btcv
        pgsam evaluate bundles/refsam3d_amos

    --folds trains each fold and measures it on the cases that it kept out, with the last network, so that these have no
    say in choosing it. eval/folds then has every case predicted by the network that did not see it (predictions), one
    table over all (metrics.csv and .json, with the fold of each case), its intervals and what was trained how long
    (folds.json), and each fold's weights (fold_0/models). Once all folds are finished, these predictions choose the
    bundle's post-processing: per structure small pieces dropped and holes filled where the mean Dice gains, written
    with the gains to configs/postprocessing.json, which predict and evaluate heed, and which you may edit or delete.
    They calibrate, too, which Dice to expect of a prediction by how sure the network is of it, and how far off that is
    (configs/confidence.json): `pgsam predict --summary` tells it per structure.
    Interrupted, the same command goes on.

    --fold all_cases is the last training, once everything is decided: on every labelled case, test cases left out.
    Nothing is validated, for nothing is left to validate on, and `pgsam evaluate` refuses the cases that it has seen.

    --few_shot_curve trains the bundle on 1, 3, 5, … of its fold's training cases (subjects, with all their cases, where
    several cases show one) and measures each network on the same held-out cases. Smaller sets lie inside larger ones.
    Every run takes the bundle's epochs times iterations_per_epoch steps, however few its cases: that is what makes the
    points comparable. Unless you say otherwise, the last network is measured (model_selection=last), so that held-out
    cases have no say in choosing it, and validation waits for the end. Interrupted, the same command goes on; with more
    numbers or seeds it adds to what is there.

    Examples:
        pgsam train bundles/samed_hippocampus
        pgsam train bundles/samed_hippocampus --resume --epochs 60 --fold 1
        pgsam train bundles/refsam3d_amos --from bundles/refsam3d_btcv
        pgsam train bundles/samed_hippocampus --folds all
        pgsam train bundles/samed_hippocampus --fold all_cases
        pgsam train bundles/samed_hippocampus --few_shot_curve 1,3,5,10,20 --seeds 3
        pgsam train bundles/samed_hippocampus --few_shot_curve 5,10 --seeds 4,7 --epochs 20 --few_shot_folder short

    Args:
        bundle: the bundle's folder.
        resume: go on after the last completed epoch; --folds and --few_shot_curve always do.
        folds: all, or numbers as in 0,2,4.
        folds_folder: where the folds go; eval/folds of the bundle by default. One folder, one setting. Post-processing
            and confidence of another folder stay there.
        few_shot_curve: numbers of training cases or subjects, separated by commas; writes few_shot.csv, .json and .png.
        seeds: of the curve, 3 by default: 3 means 0,1,2, and 4,7 these two. Each draws cases and seeds the training.
        few_shot_folder: where the curve goes; eval/few_shot of the bundle by default. One folder, one setting.
        parallel: folds at a time, which share the cores, by default as many as cores or GPUs and memory bear; or runs
            of the curve, 1 by default, one thread each if there are several.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
        overrides: --from BUNDLE, a trained one; any value of configs/train.json (for folds and curves of
            configs/evaluate.json, too).
    """
    set_limit(max_gb)
    if "from" in overrides:  # a keyword of Python's, so it can't be an argument of its own
        overrides["initial_model"] = initial_model(bundle, str(overrides.pop("from")), resume=resume)
    Bundle(bundle, configs=["train.json"]).require_trainable()
    given = {
        "folds_folder": folds_folder,
        "seeds": seeds,
        "few_shot_folder": few_shot_folder,
        "parallel": parallel,
    }
    _check_mode({"--folds": folds is not None, "--few_shot_curve": few_shot_curve is not None}, given)
    if folds is None and few_shot_curve is None:
        settled = settle_overrides(bundle, ["train.json"], overrides)
        return run_bundle("training", bundle, ["train.json"], {"resume": resume, **settled})
    overrides = settle_overrides(bundle, ["train.json", "evaluate.json"], overrides)
    number = None if parallel is None else _parallel_runs(parallel)
    if folds is not None:
        chosen = None if folds == "all" else whole_numbers("folds", folds)
        return _cross_validate(bundle, chosen, folds_folder, number, overrides)
    cases, drawn = whole_numbers("few_shot_curve", few_shot_curve), seed_numbers(seeds)
    _few_shot_curve(bundle, cases, drawn, few_shot_folder, number or 1, overrides)


def _check_mode(modes: Mapping[str, bool], given: Mapping[str, object]) -> None:
    """Refuse two modes at once, and flags that the chosen one doesn't take."""
    if all(modes.values()):
        raise UserFault(f"{' and '.join(modes)} are different trainings; give one of them.")
    for name, value in given.items():
        if value is not None and not any(modes[mode] for mode in MODES_OF[name]):
            raise UserFault(f"--{name} belongs to {' or '.join(MODES_OF[name])}; give both or neither.")


def _cross_validate(
    bundle: str, folds: list[int] | None, folder: str | None, parallel: int | None, overrides: dict
) -> None:
    from pgsam_monai.evaluation.after_folds import calibrate_confidence, choose_postprocessing
    from pgsam_monai.evaluation.folds import make_folds, run_folds

    validation, chosen = make_folds(bundle, folds=folds, overrides=overrides, folder=folder)
    with _going_on():
        done = run_folds(validation, chosen, parallel=parallel)
        cleaning = choose_postprocessing(validation)
        confidence = calibrate_confidence(validation, cleaning) if cleaning else None
    tables = [validation.folder / name for name in ("metrics.json", "folds.json")]
    for file in (done.predictions, done.table, *tables, cleaning, confidence):
        if file:
            print(file)


@contextmanager
def _going_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(
            "pgsam: interrupted. Finished runs and epochs are kept; the same command goes on after them."
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
    with _going_on():
        run_curves([curve], parallel=parallel)
    for name in ("few_shot.csv", "few_shot.json", "few_shot.png"):
        print(curve.folder / name)


def _parallel_runs(value: object) -> int:
    numbers = whole_numbers("parallel", value)
    if len(numbers) > 1 or numbers[0] < 1:
        typed = ",".join(map(str, numbers))
        raise UserFault(f"--parallel takes one number of runs, at least 1; got {typed}.")
    return numbers[0]
