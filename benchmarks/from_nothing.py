"""From no label at all to a trained network, over the server alone: a simulated user clicks, saves, trains, measures.

    python benchmarks/from_nothing.py --data /data --set hippocampus --scans 8 --labelled 4 --goal 0.85
    python benchmarks/from_nothing.py --data /data --set synapse --scans 6 --goal 0.8 --most 30 --epochs 2

Starts `pgsam label --labels …` on a free port of this machine with copies of the first scans and no label. For each of
the first --labelled scans, structure by structure, the user clicks in the middle of the largest error in the volume
(`evaluation/interaction/users.py`) until --goal or --most clicks, then saves the label. Then *Train* plans, trains and
serves, and the network's answers for the other scans are compared with their references. Clicks, answers, labels and
training go through HTTP only; --beside also asks `Segmenter` in Python the same, and counts voxels that differ. Prints
Markdown: clicks, Dice and the server's seconds per scan, then the trained network's Dice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import requests  # noqa: E402
from doors.label_door import TRAINER, LabelAnswers, copy_studies, infer, label_server  # noqa: E402
from doors.running import TIMEOUT_S, wait_until  # noqa: E402
from prompting.sets import SETS, MeasuredSet, find_cases  # noqa: E402

from pgsam_monai.base.volume import read_label  # noqa: E402
from pgsam_monai.evaluation.interaction.users import Correction, next_correction  # noqa: E402
from pgsam_monai.evaluation.interaction.whole_volume import dice_of  # noqa: E402
from pgsam_monai.interactive.segmenter import Segmenter  # noqa: E402


def main() -> None:
    arguments = read_arguments()
    measured = SETS[arguments.set]
    cases = find_cases(MeasuredSet(**{**vars(measured), "cases": arguments.scans}), arguments.data)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        studies = copy_studies(cases, work / "studies")
        with label_server(studies, list(measured.structures), work, window=measured.window) as address:
            print(
                "| scan | clicks | Dice | server, s | voxels that differ from Python |\n|---|---|---|---|---|"
            )
            for case in cases[: arguments.labelled]:
                label_scan(address, case, measured, arguments, work)
            train(address, arguments)
            compare(address, cases[arguments.labelled :], measured, studies, work)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder of all sets")
    add("--set", choices=SETS, default="hippocampus")
    add("--scans", type=int, default=8, help="in the studies folder")
    add("--labelled", type=int, default=4, help="of these, by clicks")
    add("--goal", type=float, default=0.85, help="Dice at which a structure is done")
    add("--most", type=int, default=40, help="clicks on a structure")
    add("--epochs", type=int, default=10, help="of the training")
    add("--steps", type=int, default=60, help="an epoch")
    add("--beside", action="store_true", help="ask the segmenter in Python, too")
    return parser.parse_args()


def label_scan(
    address: str, case: dict[str, str], measured: MeasuredSet, arguments: argparse.Namespace, work: Path
) -> None:
    label, begun, clicks, dice, differing = read_label(case["label"]), 0.0, 0, [], 0
    saved = np.zeros(label.voxels.shape[1:], np.uint8)
    for number, (name, value) in enumerate(measured.structures.items(), 1):
        target = label.voxels[0] == value
        if not target.any():
            continue
        answers = LabelAnswers(address, case["name"], name, target.shape, work, client=name)
        mask, given, seconds = correct(answers, target, label.spacing, arguments)
        if arguments.beside:
            differing += np.count_nonzero(mask != in_python(case, measured, name, given))
        saved[mask & (saved == 0)] = number
        clicks, begun = clicks + len(given), begun + seconds
        dice.append(dice_of(mask, target))
    save_label(address, case["name"], saved, label.affine, list(measured.structures), work)
    told = differing if arguments.beside else "-"
    print(f"| {case['name']} | {clicks} | {mean(dice):.3f} | {begun:.0f} | {told} |", flush=True)


def correct(answers: LabelAnswers, target: np.ndarray, spacing, arguments: argparse.Namespace):
    """The mask at the end, the clicks that it took, and seconds of the answers."""
    mask, given, seconds = np.zeros_like(target), [], 0.0
    while len(given) < arguments.most and (dice_of(mask, target) < arguments.goal):
        click = next_correction(mask, target, spacing, [each.voxel for each in given])
        if click is None:
            break
        given.append(click)
        begun = time.perf_counter()
        answers.click(click)
        mask = answers.mask()
        seconds += time.perf_counter() - begun
    return mask, given, seconds


def in_python(case: dict[str, str], measured: MeasuredSet, name: str, given: list[Correction]) -> np.ndarray:
    segmenter = Segmenter.from_weights("drawn_tiny", list(measured.structures), window=measured.window)
    segmenter.set_image(case["image"])
    for click in given:
        segmenter.add_click(click.voxel, name, positive=click.positive)
    return segmenter.mask(name)


def save_label(address: str, study: str, voxels: np.ndarray, affine, names: list[str], work: Path) -> None:
    file = work / "saved.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), file)
    info = [{"name": name, "idx": number} for number, name in enumerate(names, 1)]
    reply = requests.put(
        f"{address}/datastore/label", params={"image": study, "tag": "final"}, timeout=TIMEOUT_S,
        data={"params": json.dumps({"label_info": info})}, files={"label": (file.name, file.read_bytes())},
    )  # fmt: skip
    reply.raise_for_status()


def train(address: str, arguments: argparse.Namespace) -> None:
    wishes = {"max_epochs": arguments.epochs, "iterations_per_epoch": arguments.steps}
    begun = time.monotonic()
    requests.post(f"{address}/train/{TRAINER}", json=wishes, timeout=TIMEOUT_S).raise_for_status()

    def ended() -> bool:
        task = requests.get(f"{address}/train/", timeout=TIMEOUT_S).json()
        if task["status"] not in ("SUBMITTED", "RUNNING", "DONE"):
            sys.exit(f"training: {task['status']}: {str(task.get('details'))[-1500:]}")
        return task["status"] == "DONE"

    wait_until(ended, 3600, "training didn't end")
    steps = arguments.epochs * arguments.steps
    print(f"\nTraining of {steps} steps, planning included: {(time.monotonic() - begun) / 60:.1f} min\n")


def compare(
    address: str, cases: list[dict[str, str]], measured: MeasuredSet, studies: Path, work: Path
) -> None:
    """The trained network on scans that nobody labelled."""
    models = requests.get(f"{address}/info/", timeout=TIMEOUT_S).json()["models"]
    (model,) = (name for name, about in models.items() if about["type"] == "segmentation")
    print(
        f"| {model} on | {' | '.join(measured.structures)} | mean |\n{'|---' * (len(measured.structures) + 2)}|"
    )
    labels, means = models[model]["labels"], []
    for case in cases:
        found = infer(address, model, case["name"], {"result_extension": ".nii.gz"}, work / "found.nii.gz")
        truth = read_label(case["label"]).voxels[0]
        dice = [
            dice_of(found == labels.get(name, -1), truth == value) if (truth == value).any() else None
            for name, value in measured.structures.items()
        ]
        means.append(mean(each for each in dice if each is not None))
        cells = [f"{each:.3f}" if each is not None else "-" for each in dice]
        print(f"| {case['name']} | {' | '.join(cells)} | {means[-1]:.3f} |", flush=True)
    print(f"\nMean: {mean(means):.3f}")


if __name__ == "__main__":
    main()
