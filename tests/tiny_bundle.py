"""Plans and trains a data set within a second or two: tiny network input, two steps."""

from __future__ import annotations

import warnings
from pathlib import Path

SMALL_INPUT = {
    "refsam3d": ("patch=[32,32,16]", "token_size=[8,8,4]", "window=4"),
    "dynunet_3d": ("patch=[16,16,16]",),
    "swinunetr": ("image_size=64",),
}
TINY = (
    "epochs=1", "iterations_per_epoch=2", "batch_size=2", "num_workers=0", "warmup_iterations=0",
    "val_interval=1",
)  # fmt: skip


def plan_tiny(folder: Path, work: Path, *overrides: str, **options: object) -> Path:
    """Plan the data set in `folder`, write to `work`/plans and `work`/bundles; returns the (first) bundle."""
    from preprocess.commands.main import plan
    from preprocess.layouts.naming import short_name

    network, *others = str(options.get("networks", "samed")).split(",")
    smallest = [wish for name in (network, *others) for wish in SMALL_INPUT.get(name, ())] or [
        "image_size=32"
    ]
    plan(
        str(folder), target="cpu", override=[*TINY, *smallest, *overrides], plans_dir=str(work / "plans"),
        bundles_dir=str(work / "bundles"), **options,
    )  # fmt: skip
    return work / "bundles" / f"{network}_{options.get('name') or short_name(folder.name)}"


def run_bundle(
    run_id: str, bundle: Path, configs: tuple[str, ...] = ("train.json",), **overrides: object
) -> None:
    """`monai.bundle run` in this process; its own warning that configs are code is expected."""
    from monai.bundle import run

    files = [str(bundle / "configs" / name) for name in configs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(run_id, config_file=files, bundle_root=str(bundle), logging_file=False, **overrides)


def read_voxels(file: Path):
    """Voxels (i, j, k) and affine of a NIfTI file, in the stored type."""
    import nibabel as nib
    import numpy as np

    image = nib.load(file)
    return np.asanyarray(image.dataobj), image.affine


def check_predicted_as_inferred(bundle: Path, folder: Path) -> None:
    """`pgsam predict` gives the voxels, types and affines that `monai.bundle run inferring` has just written."""
    import numpy as np

    from pgsam_monai.bundle import Bundle
    from pgsam_monai.predicting.predict import predict

    cases = Bundle(bundle).parser.get_parsed_content("dataset").data
    assert cases
    for case in cases:
        (written,) = predict(bundle, case["image"], folder, device="cpu")
        (voxels, affine), (expected, grid) = (
            read_voxels(file) for file in (written, bundle / "eval/inference" / f"{case['name']}.nii.gz")
        )
        assert voxels.dtype == expected.dtype and np.array_equal(voxels, expected)
        assert np.array_equal(affine, grid)
