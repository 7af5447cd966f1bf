"""Whether the Dice that a bundle expects of its predictions comes true, on labelled cases that no fold had.

    python benchmarks/confidence.py bundles/samed_spleen --part test
    python benchmarks/confidence.py bundles/samed_spleen --cases case_41,case_42
    python benchmarks/confidence.py bundles/samed_spleen --images /data/other/images --labels /data/other/labels
    python benchmarks/confidence.py bundles/samed_spleen --confidence folds/confidence.json

Predicts as `pgsam predict --summary` does and holds each structure's expected Dice against its true one. Cases that the
weights were trained on are refused. Prints a table in Markdown, per structure and over all: Spearman's rank correlation
of expected and true Dice, the mean error of the expected, the error that the bundle states, and that of expecting one
Dice, the median of these cases, of all. Structures that weren't found have no expectation; they are counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402

from pgsam_monai.base.cleaning import FILE as CLEANING  # noqa: E402
from pgsam_monai.base.errors import MissingFile, UserFault  # noqa: E402
from pgsam_monai.base.labels import known_classes  # noqa: E402
from pgsam_monai.bundle import Bundle  # noqa: E402
from pgsam_monai.data.splits import located, select_cases  # noqa: E402
from pgsam_monai.evaluation.calibration import dice_of_found, rank_correlation  # noqa: E402
from pgsam_monai.evaluation.unseen import require_unseen  # noqa: E402
from pgsam_monai.predicting.confidence import FILE, Confidence, read_confidence  # noqa: E402
from pgsam_monai.predicting.inputs import CHANNEL_FILE, list_inputs, prediction_file  # noqa: E402
from pgsam_monai.predicting.predict import predict_cases  # noqa: E402
from pgsam_monai.predicting.products import Products  # noqa: E402
from pgsam_monai.predicting.summary import Maker, Summary  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Found:
    """One structure in one case."""

    case: str
    structure: str
    expected: float | None
    """None: it wasn't found, or isn't calibrated"""
    stated: float | None
    """error of the expected"""
    dice: float
    """NaN: it wasn't found, or nobody looked for it"""


def main() -> None:
    arguments = read_arguments()
    try:
        measure(arguments)
    except UserFault as fault:
        sys.exit(str(fault))


def measure(arguments: argparse.Namespace) -> None:
    bundle, confidence = load(arguments)
    cases = choose_cases(bundle, arguments)
    require_unseen(cases, bundle.model_file)
    with tempfile.TemporaryDirectory(prefix="confidence-") as scratch:
        folder = arguments.output or Path(scratch)
        found = compare(bundle, cases, folder, confidence)
    print(f"{bundle.name}, {len(cases)} cases. {confidence}\n")
    print(table(found, bundle.names[1:]))
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(each) for each in found], indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a trained bundle's folder")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--part", choices=["test", "validation"], help="of the bundle's splits.json")
    chosen.add_argument("--cases", help="names of its splits.json, separated by commas")
    chosen.add_argument("--images", type=Path, help="a folder of images; needs --labels")
    parser.add_argument("--labels", type=Path, help="of the same names, with the bundle's values")
    parser.add_argument("--fold", type=int, default=0, help="of --part validation")
    parser.add_argument("--dataset_dir", help="where the bundle's data set lies, if not where it was planned")
    parser.add_argument("--confidence", type=Path, help="of folds elsewhere, with their postprocessing.json")
    parser.add_argument("--weights", type=Path, help="a folder with the model.pt to use")
    parser.add_argument("--device", help="cpu, cuda, …")
    parser.add_argument("--output", type=Path, help="keep predictions and summary here")
    parser.add_argument("--json", type=Path, help="also write each structure of each case")
    arguments = parser.parse_args()
    if (arguments.images is None) != (arguments.labels is None):
        parser.error("give both --images and --labels, or neither")
    return arguments


def load(arguments: argparse.Namespace) -> tuple[Bundle, Confidence]:
    overrides = {
        "dataset_dir": arguments.dataset_dir,
        "ckpt_dir": arguments.weights and str(arguments.weights.resolve()),
        "postprocessing_file": arguments.confidence and str(arguments.confidence.resolve().parent / CLEANING),
    }
    overrides = {name: value for name, value in overrides.items() if value}
    bundle = Bundle(arguments.bundle, device=arguments.device, overrides=overrides)
    file = arguments.confidence or bundle.config_file(FILE)
    confidence = read_confidence(file, bundle.decisions["labels"])
    if not confidence.of:
        raise UserFault(f"'{file}' expects no Dice of anything; calibrate with pgsam train --folds all.")
    return bundle, confidence


def choose_cases(bundle: Bundle, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """[{"name", "image", "label", ("labelled")}]; those without a label are left out."""
    if arguments.images:
        cases = list_inputs(arguments.images, channels=bundle.channels)
        cases = [case | {"label": label_of(case["name"], arguments.labels)} for case in cases]
    elif arguments.part:
        splits, data = bundle.config_file("splits.json"), bundle.content("dataset_dir")
        cases = select_cases(splits, data, fold=arguments.fold, part=arguments.part)
    else:
        entries = bundle.config("splits.json")["cases"]
        names, folder = arguments.cases.split(","), Path(bundle.content("dataset_dir"))
        if unknown := [name for name in names if name not in entries]:
            raise UserFault(f"--cases: splits.json has no '{unknown[0]}'.")
        cases = [located(name, entries[name], folder) for name in names]
    return [case for case in cases if case.get("label")]


def label_of(name: str, folder: Path) -> Path:
    """The file of an image's name, with or without nnU-Net's channel in it."""
    for each in (name, CHANNEL_FILE.sub("", name)):
        try:
            return prediction_file(folder, each)
        except MissingFile:
            continue
    raise MissingFile(f"--labels '{folder}' has none of '{name}'.")


def compare(
    bundle: Bundle, cases: Sequence[Mapping[str, Any]], folder: Path, confidence: Confidence
) -> list[Found]:
    """Predict into `folder`; what was expected of each structure of each case, and what came true."""
    maker = replace(Maker.of(bundle), confidence=confidence)
    summary = Summary(folder, maker, {"device": str(bundle.device)})
    predict_cases(bundle, cases, Products(folder=folder, summary=summary))
    told = {entry["case"]: entry for entry in json.loads(summary.files()[0].read_text())["cases"]}
    entries, found = bundle.decisions["labels"], []
    labels = dict(zip(bundle.names[1:], entries[1:], strict=True))
    for case in cases:
        pair = prediction_file(folder, case["name"]), case["label"]
        dice = dice_of_found(pair, labels=labels, background=bundle.background, cleanings={})
        dice = np.where(known_classes(entries, case.get("labelled"))[1:], dice, np.nan)
        for each, true in zip(told[case["name"]]["structures"], dice, strict=True):
            found.append(
                Found(
                    case=case["name"], structure=each["structure"], expected=each["expected_dice"],
                    stated=each["expected_dice_error"], dice=float(true),
                )
            )  # fmt: skip
    return found


def table(found: Sequence[Found], structures: Sequence[str]) -> str:
    lines = [
        "| structure | cases | without | true Dice | expected | rank correlation | error | stated | one Dice for all |",
        "|---" * 9 + "|",
    ]
    lines += [_row(name, [each for each in found if each.structure == name]) for name in structures]
    return "\n".join([*lines, _row("all", found)])


def _row(name: str, found: Sequence[Found]) -> str:
    """Means over what has an expected and a true Dice; "without" are those that have not both."""
    both = [each for each in found if each.expected is not None and np.isfinite(each.dice)]
    if not both:
        return f"| {name} | 0 | {len(found)} | | | | | | |"
    expected, stated, dice = (
        np.array([getattr(each, key) for each in both]) for key in ("expected", "stated", "dice")
    )
    rank, usual = rank_correlation(expected, dice), np.abs(dice - np.median(dice)).mean()
    numbers = [
        f"{dice.mean():.3f}", f"{expected.mean():.3f}", f"{rank:+.2f}" if np.isfinite(rank) else "-",
        f"{np.abs(expected - dice).mean():.3f}", f"{stated.mean():.3f}", f"{usual:.3f}",
    ]  # fmt: skip
    return f"| {name} | {len(both)} | {len(found) - len(both)} | {' | '.join(numbers)} |"


if __name__ == "__main__":
    main()
