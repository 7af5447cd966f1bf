"""Med-SA through its bundle: alone and in stacks, trained without and with prompts, verified, exported, ablated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import check_predicted_as_inferred, plan_tiny, read_voxels, run_bundle

SHAPE = (20, 18, 7)
DEPTH = 3
TABLES_5_AND_8 = {
    "1_baseline": ("none", "none"),
    "2_sd_trans": ("add", "none"),
    "3_prompt_added": ("add", "add"),
    "4_prompt_concatenated": ("add", "concat"),
    "5_full": ("add", "hyper"),
    "6_depth_concatenated": ("concat", "hyper"),
    "7_depth_cross_attention": ("cross", "hyper"),
}
"""Overlay -> how slices, and how prompts are joined."""


def planned(work, depth):
    folder = write_msd(work / "Task02_Heart", cases=5, shape=SHAPE)
    return plan_tiny(folder, work, f"stack_depth={depth}", "rank=4", networks="medsa")


@pytest.fixture(scope="module", params=[1, DEPTH])
def trained(request, tmp_path_factory):
    bundle = planned(tmp_path_factory.mktemp("medsa"), request.param)
    run_bundle("training", bundle)
    return bundle


@pytest.fixture(scope="module")
def stacked(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("medsa_stacked"), DEPTH)


def parsed(bundle, *names):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle / f"configs/{name}.json") for name in names])
    parser["bundle_root"] = str(bundle)
    return parser


def arguments(bundle):
    configs = bundle / "configs"
    return {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}


def test_it_evaluates_and_infers(trained, tmp_path):
    run_bundle("evaluating", trained, ("train.json", "evaluate.json"))
    assert json.loads((trained / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", trained, ("inference.json",))
    voxels, _ = read_voxels(next((trained / "eval/inference").glob("*.nii.gz")))
    assert voxels.shape == SHAPE
    check_predicted_as_inferred(trained, tmp_path)


def test_monai_verifies_it(trained):
    from monai.bundle import verify_metadata, verify_net_in_out

    schema = trained / "configs/meta_schema_20240725.json"
    verify_metadata(meta_file=arguments(trained)["meta_file"], filepath=str(schema))
    for n in (1, 2):
        verify_net_in_out(net_id="network_def", **arguments(trained), bundle_root=str(trained), n=n)


def test_encoder_and_decoder_are_exported_by_command(trained, tmp_path, capsys):
    from pgsam_monai.commands.main import export

    export(str(trained), form="sam", output=str(tmp_path))
    assert capsys.readouterr().out.split() == [
        str(tmp_path / name) for name in ("encoder.onnx", "decoder.onnx")
    ]
    assert all((tmp_path / name).stat().st_size > 100_000 for name in ("encoder.onnx", "decoder.onnx"))


def test_exports_equal_the_network(trained, tmp_path):
    import onnxruntime
    from monai.bundle import ckpt_export, onnx_export

    common = {"net_id": "network_def", "ckpt_file": str(trained / "models/model.pt"), **arguments(trained)}
    ckpt_export(filepath=str(tmp_path / "model.ts"), **common, bundle_root=str(trained))
    onnx_export(filepath=str(tmp_path / "model.onnx"), **common, bundle_root=str(trained))
    parser = parsed(trained, "inference")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(trained / "models/model.pt", weights_only=True))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    image = torch.rand(1, 1, 32, 32, parser["stack_depth"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(image)
        torch.testing.assert_close(
            torch.jit.load(str(tmp_path / "model.ts"))(image), expected, atol=1e-4, rtol=1e-4
        )
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(expected.numpy(), logits, atol=1e-3)


def test_a_step_trains_both_modes_on_stacks(stacked, tmp_path):
    parser = parsed(stacked, "train")
    for name, value in {
        "ckpt_dir": str(tmp_path),
        "output_dir": str(tmp_path),
        "iterations_per_epoch": 1,
    }.items():
        parser[name] = value
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert batch["image"].shape == batch["label"].shape == (2, 1, 32, 32, DEPTH)
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    outputs = network.train()(batch["image"], label=batch["label"])
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 32, 32, DEPTH)] * 2
    assert loss.weights == [0.5, 0.5]
    halves = [loss.loss(output, batch["label"]) for output in outputs]
    torch.testing.assert_close(loss(outputs, batch["label"]), 0.5 * sum(halves))


def test_the_share_of_prompts_can_be_set_when_training_starts(stacked):
    parser = parsed(stacked, "train")
    parser["prompted_share"] = 0.2
    assert parser.get_parsed_content("loss").weights == [0.8, 0.2]


@pytest.mark.parametrize("base", [("train",), ("train", "evaluate"), ("inference",)])
@pytest.mark.parametrize("row", TABLES_5_AND_8)
def test_ablations_are_tables_5_and_8(stacked, base, row):
    network = parsed(stacked, *base, f"ablation_{row}").get_parsed_content("network_def")
    assert (
        tuple(network.description[name] for name in ("depth_fusion", "hyper_prompt")) == TABLES_5_AND_8[row]
    )


def test_the_network_sees_the_stacks_that_the_plan_says(stacked):
    parser = parsed(stacked, "inference")
    assert parser.get_parsed_content("network_def").stack_depth == DEPTH
    assert parser.get_parsed_content("inferer").stack_depth == DEPTH
    assert parsed(stacked, "train").get_parsed_content("train#dataset").stack_depth == DEPTH
