"""`pgsam-plan`: a folder of scans becomes a plan that can be read and changed, and MONAI bundles to train."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault

HELP = """\
pgsam-plan - look at a data set, decide how to train on it, and write a MONAI bundle that does.

usage
  pgsam-plan DATASET [options]
  pgsam-plan --recipe pgsam_synapse [options]      published settings, no data needed
  pgsam-plan --from_plan plans/NAME/plan.json      after editing that file by hand

DATASET is a folder (or a MONAI datalist JSON). Its layout is recognised: nnU-Net, Medical Segmentation
Decathlon, Synapse/BTCV, TransUNet archives, LA (2018 Atrial Segmentation Challenge, also UA-MT's archives),
PROMISE12, KiTS, LiTS, MM-WHS, AMOS, REFUGE, paired folders, pictures with masks, DICOM series.

options
  --target cpu|gpu       plan for this kind of machine         (default: gpu if nvidia-smi lists one)
  --memory_gb N          memory to plan for                    (default: the GPU's, or the RAM)
  --resolution N         input side of the network, e.g. 512   (default: from the smallest structures)
                         for networks of slices; of volumes: --override patch=[128,128,64]
  --backbone NAME        vit_tiny, lite_medsam, mobile_sam, efficient_sam_ti, efficient_sam_s, vit_b, vit_l or vit_h
                         (default: vit_tiny, vit_b or vit_l, from target and memory); refsam3d: vit_mini, vit_b,
                         vit_l, vit_h, efficient_sam_ti, efficient_sam_s (default: vit_mini or vit_b)
  --networks NAMES       of slices: samed, pgsam, hsam, medsa; of volumes: refsam3d; baselines dynunet, unet, swinunetr,
                         unetr, autosam, samdecoder, and dynunet_3d of volumes; several as refsam3d,dynunet_3d; auto:
                         samed, and refsam3d where slices lie close enough for a 3-D network
                         (default: samed, or the recipe's)
  --recipe NAME          published settings: samed_synapse, samed_synapse_10pct, pgsam_synapse,
                         pgsam_synapse_10pct, hsam_synapse, hsam_synapse_10pct, hsam_la,
                         hsam_promise12, medsa_btcv, medsa_2d, refsam3d_btcv; refsam3d_kits21,
                         refsam3d_msd_pancreas, refsam3d_lits, refsam3d_msd_colon, refsam3d_mmwhs, which draw
                         their cases from your copy of the data
  --few_shot N|P%        train on N cases, or P % of the cases, of each fold: seeded, smaller sets inside
                         larger ones, rare structures first; "slices:10%" draws slices over all training
                         cases, as the papers do
  --override NAME=VALUE  any decision of plan.json; may be given several times
  --skip_faulty          leave out cases with fatal faults and go on; the plan records them
  --layout NAME          force a layout: nnunet, msd, synapse, transunet, la, la_h5, promise12, kits, lits, mmwhs,
                         refuge, datalist, dicom, pictures, paired
  --name NAME            short name of the data set            (default: from the folder's)
  --from_plan FILE       re-emit from an edited plan.json; edited values are recorded as overrides
  --plans_dir DIR        where plans go                        (default: plans)
  --bundles_dir DIR      where bundles go                      (default: bundles)
  --workers N            processes that read files             (default: from cores and memory)

examples
  pgsam-plan Task04_Hippocampus
  pgsam-plan RawData/Training --target gpu --memory_gb 24 --resolution 512
  pgsam-plan scans --networks samed,pgsam --few_shot 5 --skip_faulty
  pgsam-plan scans --networks refsam3d,dynunet_3d --target gpu --memory_gb 24
  pgsam-plan scans --override "image_size=384" --override "epochs=60"
  pgsam-plan scans --override 'intensity={"scheme":"window","low":-125,"high":275}'

writes plans/NAME/{fingerprint.json,plan.json,splits.json,report.html} and bundles/NETWORK_NAME/. The bundles of
pgsam and refsam3d hold configs/texts.json, a description per structure: edit it, or let `pgsam describe` write it.
exit status: 0 done, 1 the data set has fatal faults or doesn't allow what was asked for, 2 wrong arguments.
"""


def plan(
    dataset: str | None = None,
    *,
    networks: str | None = None,
    target: str | None = None,
    memory_gb: float | None = None,
    resolution: int | None = None,
    backbone: str | None = None,
    few_shot: str | None = None,
    recipe: str | None = None,
    layout: str | None = None,
    name: str | None = None,
    override: Any = None,
    skip_faulty: bool = False,
    from_plan: str | None = None,
    plans_dir: str = "plans",
    bundles_dir: str = "bundles",
    workers: int | None = None,
) -> None:
    """Plans a data set and writes its bundles; see `pgsam-plan --help` for every option with examples.

    Exits with status 1 where the data set has fatal faults or forbids what was asked for, 2 for wrong
    arguments.
    """
    arguments = dict(locals())
    status = run(**arguments)
    if status:
        sys.exit(status)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(HELP, end="")
        return
    if arguments == ["--version"]:
        from preprocess import __version__

        print(f"pgsam-plan {__version__}")
        return
    from preprocess.commands.arguments import checked_flags

    try:
        arguments = checked_flags(arguments, inspect.signature(plan).parameters)
    except UserFault as error:
        sys.exit(_refuse(error))
    import fire

    fire.Fire(plan, command=arguments, name="pgsam-plan")


def run(
    *,
    dataset: str | None,
    from_plan: str | None,
    target: str | None,
    memory_gb: float | None,
    **options: Any,
) -> int:
    """Does what `plan` promises and returns the exit status; messages go to the terminal."""
    from preprocess.commands.arguments import make_request

    try:
        request = make_request(dataset, from_plan=from_plan, target=target, memory_gb=memory_gb, **options)
    except UserFault as error:
        return _refuse(error)
    return _carry_out(request, from_plan, target)


def _carry_out(request: Any, from_plan: str | None, target: str | None) -> int:
    from preprocess.checks import DatasetFaults
    from preprocess.commands import (
        console,  # only now: it brings numpy and the checks, which wrong arguments needn't wait for
    )

    try:
        console.show_planned(*_run_request(request, from_plan, target))
    except DatasetFaults as error:
        console.show_refusal(error)
        return 1
    except UserFault as error:
        return _refuse(error, status=1)
    return 0


def _run_request(request: Any, from_plan: str | None, target: str | None) -> Any:
    from preprocess.commands import console
    from preprocess.planning import Progress, plan_again, plan_dataset, plan_recipe
    from preprocess.rules.machine import find_machine

    progress = Progress(say=console.say)
    if from_plan is not None:
        planned = plan_again(Path(str(from_plan)), request, progress)
    elif request.dataset is None:
        planned = plan_recipe(request, progress)
    else:
        planned = plan_dataset(request, find_machine(target), progress)
    return planned, progress.times_s


def _refuse(error: UserFault, status: int = 2) -> int:
    print(f"pgsam-plan: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
