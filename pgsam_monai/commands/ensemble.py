"""`pgsam ensemble`: trained bundles that answer together, as one bundle."""

from __future__ import annotations

import sys

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit


def ensemble(
    *bundles: str,
    output: str | None = None,
    choose: bool = True,
    device: str | None = None,
    dataset_dir: str | None = None,
    max_gb: object = None,
) -> None:
    """Put trained networks together in one bundle, whose answer is the mean of their class probabilities.

    The members of a bundle's network are the finished folds of its cross-validation or, where there is none, its
    models/model.pt. BUNDLE@FOLDER names another cross-validation's folder, or one of checkpoints, instead, and may
    stand beside BUNDLE: more seeds of one network. 2-D and 3-D networks go together, and axial with coronal slices, up
    to four, if they were planned for the same data set, labels and preprocessing; each network counts alike, however
    many members it has.

    Which networks are best together is measured out of fold: each case is predicted by the members that didn't train on
    it, in all ways to put the networks together, and the best mean Dice is taken, or fewer networks that are as good.
    OUTPUT/eval/out_of_fold then has the chosen networks' predictions and their metrics, OUTPUT/configs/ensemble.json
    each way's Dice, the members and their hashes; on the same predictions post-processing is chosen, and calibrated
    which Dice to expect, which `pgsam predict --summary` tells (OUTPUT/configs/confidence.json). Test cases have no
    say. Interrupted, the same command goes on.

    The result is a bundle for predict, evaluate, view and label; export takes it if all members are of one network.

    Examples:
        pgsam ensemble bundles/samed_spleen --output bundles/ensemble_spleen
        pgsam ensemble bundles/samed_spleen bundles/dynunet_3d_spleen --output bundles/ensemble_spleen
        pgsam ensemble bundles/samed_spleen bundles/samed_spleen@eval/folds_seed_2 --output bundles/ensemble_spleen
        pgsam ensemble bundles/hsam_spleen bundles/samed_spleen --output bundles/ensemble_spleen --choose False

    Args:
        bundles: folders of trained bundles, each perhaps with @FOLDER.
        output: the new bundle's folder.
        choose: False takes all networks, and measures nothing, so that no Dice is expected of predictions either.
        device: cpu or cuda; by default a GPU if there is one.
        dataset_dir: where the data set lies, if not where it was planned.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
    """
    set_limit(max_gb)
    if not bundles or not output:
        raise UserFault(
            "ensemble: name at least one trained bundle, and with --output the new bundle's folder."
        )
    from pgsam_monai.ensembles.making import make_ensemble
    from preprocess.bundle.json_text import json_text

    try:
        made = make_ensemble(
            bundles, output, text=json_text, choosing=choose, device=device, dataset_dir=dataset_dir
        )
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Finished cases are kept; the same command goes on after them.")
    print(f"{made.folder}: {', '.join(made.networks)}")
