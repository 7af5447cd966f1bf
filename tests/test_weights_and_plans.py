"""Trained weights and the plans that they are for, a training that diverges, two trainings of one bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, run_bundle

from pgsam_monai.base.errors import UserFault, root_of
from pgsam_monai.bundle import Bundle, WeightsFault
from pgsam_monai.networks.description import unpack_description
from pgsam_monai.training.divergence import Diverged

EVALUATION = ("train.json", "evaluate.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set folder, its plans, and a trained bundle."""
    work = tmp_path_factory.mktemp("plans")
    folder = write_msd(work / "Task01_Heart", cases=5, shape=(16, 16, 3), values=(0, 1, 2))
    bundle = plan_tiny(folder, work, networks="unet")
    run_bundle("training", bundle)
    return folder, work, bundle


def fault_of(call, *arguments, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011, MONAI wraps it
        call(*arguments, **options)
    root = root_of(caught.value)
    assert isinstance(root, UserFault)
    return str(root)


def test_weights_serve_the_plan_that_they_were_trained_for_and_no_other(trained, capsys):
    folder, work, bundle = trained
    image = next((folder / "imagesTr").glob("*.nii*"))
    first = Bundle(bundle).label_map(image).voxels
    for file, content in (("model.pt", lambda c: c), ("checkpoint_last.pt", lambda c: c["model"])):
        state = content(torch.load(bundle / "models" / file, weights_only=True))
        assert unpack_description(state["_extra_state"])["trained_for"]["dataset"] == "heart"

    capsys.readouterr()
    plan_tiny(folder, work, "epochs=7", "learning_rate=0.5", "folds=2", networks="unet")
    assert "another plan" not in capsys.readouterr().out
    assert (Bundle(bundle).label_map(image).voxels == first).all()

    plan_tiny(folder, work, "slice_axis=sagittal", networks="unet")
    told = capsys.readouterr().out
    assert "models/model.pt' was trained for another plan (orientation PLS, now " in told
    assert "checkpoint_last.pt' was trained for another plan" in told
    with pytest.raises(WeightsFault, match="another plan: orientation PLS"):
        Bundle(bundle).label_map(image)
    assert "another plan: orientation PLS" in fault_of(run_bundle, "evaluating", bundle, EVALUATION)
    assert "another plan: orientation PLS" in fault_of(run_bundle, "inferring", bundle, ("inference.json",))
    assert "another plan: orientation PLS" in fault_of(run_bundle, "training", bundle, resume=True)

    told = fault_of(run_bundle, "inferring", bundle, ("inference.json",), fit="stretch")
    assert "fit pad (the bundle: stretch)" in told
    plan_tiny(folder, work, networks="unet")
    with pytest.raises(WeightsFault, match=r"fit pad \(the bundle: stretch\)"):
        Bundle(bundle, overrides={"fit": "stretch"}).label_map(image)
    assert "another plan" not in capsys.readouterr().out
    assert (Bundle(bundle).label_map(image).voxels == first).all()


def test_a_training_that_diverges_says_so_and_leaves_the_last_good_model(trained):
    _, _, bundle = trained
    before = {file.name: file.read_bytes() for file in (bundle / "models").glob("*.pt")}
    with pytest.raises(Exception) as caught:  # noqa: PT011, MONAI wraps it
        run_bundle("training", bundle, learning_rate=1e30, epochs=2, iterations_per_epoch=4)
    assert isinstance(root_of(caught.value), Diverged)
    assert "epoch 1" in str(root_of(caught.value)) and "lower than" in str(root_of(caught.value))
    assert {file.name: file.read_bytes() for file in (bundle / "models").glob("*.pt")} == before


def test_a_second_training_is_refused_by_name_before_anything_is_done(trained):
    _, _, bundle = trained
    program = (
        "import sys\nfrom pgsam_monai.base.locks import keep\nkeep(sys.argv[1], refusal='')\n"
        "print('held', flush=True)\nsys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(bundle / "other_models")], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert first.stdout.readline() == b"held\n"
    told = fault_of(run_bundle, "training", bundle, ckpt_dir=str(bundle / "other_models"))
    assert told.startswith(f"Process {first.pid} is at work in '") and "--ckpt_dir" in told
    first.communicate()
    assert list((bundle / "other_models").iterdir()) == []
