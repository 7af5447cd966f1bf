"""`pgsam train`: a bundle, or its few-shot curve."""

from __future__ import annotations

import sys

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit
from pgsam_monai.commands.values import seed_numbers, settle_overrides, whole_numbers
from pgsam_monai.running import initial_model, run_bundle


def train(
    bundle: str,
    *,
    resume: bool = False,
    few_shot_curve: object = None,
    seeds: object = None,
    few_shot_folder: str | None = None,
    parallel: int | None = None,
    max_gb: object = None,
    **overrides: object,
) -> None:
    """Train a bundle: `python -m monai.bundle run training` with shorter words; or its few-shot curve.

    --from begins with the network of another bundle, as far as it fits: what is sized by the classes starts anew. With
    a bundle that was planned for five cases this is fine-tuning with five shots, in three commands:
        pgsam-plan /data/AMOS --networks refsam3d --few_shot 5
        pgsam train bundles/refsam3d_amos --from bundles/refsam3d_btcv
        pgsam evaluate bundles/refsam3d_amos

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
        pgsam train bundles/samed_hippocampus --few_shot_curve 1,3,5,10,20 --seeds 3
        pgsam train bundles/samed_hippocampus --few_shot_curve 5,10 --seeds 4,7 --epochs 20 --few_shot_folder short

    Args:
        bundle: the bundle's folder.
        resume: go on after the last completed epoch.
        few_shot_curve: numbers of training cases or subjects, separated by commas; writes few_shot.csv, .json and .png.
        seeds: of the curve, 3 by default: 3 means 0,1,2, and 4,7 these two. Each draws cases and seeds the training.
        few_shot_folder: where the curve goes; eval/few_shot of the bundle by default. One folder, one setting.
        parallel: runs of the curve at a time, one thread each if there are several; 1 by default.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
        overrides: --from BUNDLE, a trained one; any value of configs/train.json (for a curve of configs/evaluate.json,
            too).
    """
    set_limit(max_gb)
    if "from" in overrides:  # a keyword of Python's, so it can't be an argument of its own
        overrides["initial_model"] = initial_model(bundle, str(overrides.pop("from")), resume=resume)
    if few_shot_curve is None:
        for name, value in (("seeds", seeds), ("few_shot_folder", few_shot_folder), ("parallel", parallel)):
            if value is not None:
                raise UserFault(f"--{name} belongs to --few_shot_curve; give both or neither.")
        settled = settle_overrides(bundle, ["train.json"], overrides)
        return run_bundle("training", bundle, ["train.json"], {"resume": resume, **settled})
    overrides = settle_overrides(bundle, ["train.json", "evaluate.json"], overrides)
    cases, chosen = whole_numbers("few_shot_curve", few_shot_curve), seed_numbers(seeds)
    _few_shot_curve(bundle, cases, chosen, few_shot_folder, _parallel_runs(parallel), overrides)


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


def _parallel_runs(value: object) -> int:
    numbers = whole_numbers("parallel", 1 if value is None else value)
    if len(numbers) > 1 or numbers[0] < 1:
        typed = ",".join(map(str, numbers))
        raise UserFault(f"--parallel takes one number of runs, at least 1; got {typed}.")
    return numbers[0]
