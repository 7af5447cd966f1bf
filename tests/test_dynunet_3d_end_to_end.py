"""The 3-D baseline through its bundle: plan, train, evaluate, infer, predict."""

import json

import nibabel as nib
import numpy as np
import torch
from dataset_builders import write_nnunet
from tiny_bundle import read_voxels, run_bundle

from pgsam_monai.evaluation.soft_dice import read_soft_dice
from pgsam_monai.predicting.inputs import prediction_file
from pgsam_monai.predicting.predict import predict

TOPOLOGY = {
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]],
    "filters": [4, 8, 8, 8],
}
TINY = (
    "patch=[16,16,16]", f"topology_3d={json.dumps(TOPOLOGY)}", "epochs=1", "iterations_per_epoch=2", "batch_size=2",
    "num_workers=0", "warmup_iterations=0", "val_interval=1", "overlap=0.25", "inference_batch_size=4",
)  # fmt: skip


def test_it_trains_evaluates_infers_and_predicts(tmp_path):
    from preprocess.commands.main import plan

    folder = write_nnunet(
        tmp_path / "Dataset007_Organs", cases=5, test=1, shape=(28, 24, 12), values=(0, 5, 205)
    )
    plan(
        str(folder), target="cpu", networks="dynunet_3d", override=list(TINY), plans_dir=str(tmp_path / "plans"),
        bundles_dir=str(tmp_path / "bundles"),
    )  # fmt: skip
    (bundle,) = (tmp_path / "bundles").iterdir()
    assert bundle.name == "dynunet_3d_organs"
    run_bundle("training", bundle)
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    assert "_extra_state" in state and state["heads.0.conv.conv.weight"].shape == (3, 8, 1, 1, 1)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json"))
    measured = json.loads((bundle / "eval/validation/metrics.json").read_text())["cases"]
    assert measured and set(read_soft_dice(bundle / "eval/validation/soft_dice.json")) == {
        case["name"] for case in measured
    }
    run_bundle("inferring", bundle, ("inference.json",))
    voxels, affine = read_voxels(prediction_file(bundle / "eval/inference", "case_6"))
    source = folder / "imagesTs/case_6_0000.nii.gz"
    image = nib.load(source)
    assert voxels.shape == image.shape and np.array_equal(affine, image.affine)
    assert set(np.unique(voxels)) <= {0, 5, 205}
    (written,) = predict(bundle, source, tmp_path / "out")
    assert np.array_equal(read_voxels(written)[0], voxels)
