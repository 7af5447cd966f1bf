"""Where a trained bundle's errors lie: at the structures' surfaces, or far from them, missed or added.

    python benchmarks/where_errors_lie.py bundles/refsam3d_synapse
    python benchmarks/where_errors_lie.py bundles/dynunet_3d_synapse --predictions elsewhere/validation/predictions

Needs the label maps that `evaluating` wrote, and references in NIfTI files of label values. A voxel is near if its
centre is at most --near_mm from the nearest one on the other side of the reference's surface. Prints a table in
Markdown: of each structure Dice, and wrong voxels as shares of its own volume, means over the cases that hold it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigParser
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # what the configs name

COLUMNS = ("Dice", "near", "far missed", "far added")


def main() -> None:
    arguments = read_arguments()
    config = ConfigParser()
    config.read_config([str(arguments.bundle / f"configs/{name}.json") for name in ("train", "evaluate")])
    config["bundle_root"] = str(arguments.bundle)
    content = config.get_parsed_content
    cases, values = content("evaluation_cases"), content("label_values")
    predictions = arguments.predictions or arguments.bundle / "eval/validation/predictions"
    if missing := [case["name"] for case in cases if not (predictions / f"{case['name']}.nii.gz").is_file()]:
        sys.exit(f"{predictions} has no label map of {', '.join(missing)}; run `evaluating` first.")
    found = {name: [] for name in values}
    for case in cases:
        reference = nib.load(case["label"])
        spacing, label = reference.header.get_zooms()[:3], np.asarray(reference.dataobj)
        answer = np.asarray(nib.load(predictions / f"{case['name']}.nii.gz").dataobj)
        for name, value in values.items():
            true = label == value
            if true.any():
                found[name].append(errors_of(answer == value, true, spacing, near_mm=arguments.near_mm))
    print(f"| structure | cases | {' | '.join(COLUMNS)} |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    for name, rows in found.items():
        if rows:
            means = " | ".join(f"{mean:.3f}" for mean in np.mean(rows, axis=0))
            print(f"| {name} | {len(rows)} | {means} |")


def errors_of(
    found: np.ndarray, true: np.ndarray, spacing: tuple[float, ...], *, near_mm: float
) -> tuple[float, float, float, float]:
    """Two bool masks (H, W, D) of voxels of `spacing` mm, the reference not empty → `COLUMNS`."""
    outside, inside = (ndimage.distance_transform_edt(mask, spacing) for mask in (~true, true))
    wrong, near = found != true, outside + inside <= near_mm  # one of both distances is 0
    own = np.count_nonzero(true)
    counts = (wrong & near, wrong & ~near & true, wrong & ~near & ~true)
    dice = 2 * np.count_nonzero(found & true) / (np.count_nonzero(found) + own)
    return dice, *(np.count_nonzero(each) / own for each in counts)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a bundle's folder, after `evaluating`")
    parser.add_argument(
        "--predictions", type=Path, help="label maps; BUNDLE/eval/validation/predictions by default"
    )
    parser.add_argument("--near_mm", type=float, default=4.0, help="what is near a surface")
    return parser.parse_args()


if __name__ == "__main__":
    main()
