"""RefSAM3D through its bundle: trained, measured, asked in words, verified, exported, ablated, started from."""

from __future__ import annotations

import json

import letters_encoder
import numpy as np
import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import check_predicted_as_inferred, plan_tiny, read_voxels, run_bundle

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.text import sentences

SHAPE = (36, 30, 18)
TABLES_4_AND_5 = {
    "1_full": {"text_prompt": True},
    "2_without_text_prompt": {"text_prompt": False},
    "3_without_projector": {"cross_modal_projector": False},
    "4_without_hierarchical_fusion": {"hierarchical_fusion": False},
    "5_stages_1_4": {"stages": [1, 4]},
    "6_stages_2_4": {"stages": [2, 4]},
    "7_stages_3_4": {"stages": [3, 4]},
    "8_stage_4": {"stages": [4]},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("refsam3d")
    return plan_tiny(
        write_msd(work / "Task02_Heart", cases=5, shape=SHAPE),
        work,
        "referring_share=0.5",
        networks="refsam3d",
    )


@pytest.fixture(scope="module")
def trained(planned):
    run_bundle("training", planned)
    return planned


def parsed(bundle, *names):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle / f"configs/{name}.json") for name in names])
    parser["bundle_root"] = str(bundle)
    return parser


def arguments(bundle):
    configs = bundle / "configs"
    return {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}


def test_it_evaluates_and_infers_on_the_scans_own_grid(trained, tmp_path):
    run_bundle("evaluating", trained, ("train.json", "evaluate.json"))
    assert json.loads((trained / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", trained, ("inference.json",))
    voxels, _ = read_voxels(next((trained / "eval/inference").glob("*.nii.gz")))
    assert voxels.shape == SHAPE
    check_predicted_as_inferred(trained, tmp_path)


def test_asked_in_words_it_answers_with_one_structure(trained, tmp_path):
    from pgsam_monai.commands.main import predict

    source = sorted((trained.parents[1] / "Task02_Heart/imagesTr").glob("*.nii.gz"))[0]
    answers = []
    for number, text in enumerate(("perform heart segmentation", "$1/0", "@device")):
        predict(str(trained), str(source), str(tmp_path / str(number)), text=text)
        voxels, _ = read_voxels(next((tmp_path / str(number)).glob("*.nii.gz")))
        assert voxels.shape == SHAPE and set(np.unique(voxels)) <= {0, 1}
        answers.append(voxels)
    network = parsed(trained, "inference").get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(trained / "models/model.pt", weights_only=True))
    image = torch.rand(1, 1, 32, 32, 16)
    network.request = "perform heart segmentation"
    with torch.no_grad():
        one = network(image)
        network.request = "@device"
        assert (network(image) - one).abs().max() > 1e-4


def test_read_by_a_sentence_encoder_it_needs_none_for_what_training_asked(
    planned, tmp_path, monkeypatch, caplog
):
    from pgsam_monai.commands.main import predict

    data = planned.parents[1] / "Task02_Heart"
    wishes = ("referring_share=1.0", "text_encoder=letters")
    bundle = plan_tiny(data, tmp_path, *wishes, networks="refsam3d")
    monkeypatch.setattr(sentences, "_encode", letters_encoder.encode)
    monkeypatch.setattr(sentences, "_encode_words", letters_encoder.encode_words)
    run_bundle("training", bundle)
    assert not [
        name for name in torch.load(bundle / "models/model.pt") if name.startswith(("clip.", "texts."))
    ]
    monkeypatch.undo()

    source = str(sorted((data / "imagesTr").glob("*.nii.gz"))[0])
    name = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"][1]
    predict(str(bundle), source, str(tmp_path / "all"))
    predict(str(bundle), source, str(tmp_path / "one"), text=f"show me the {name}")
    assert f"«show me the {name}» means {name}." in caplog.messages
    voxels, _ = read_voxels(next((tmp_path / "one").glob("*.nii.gz")))
    assert voxels.shape == SHAPE and set(np.unique(voxels)) <= {0, 1}
    with pytest.raises(UserFault, match="modules.json"):
        predict(str(bundle), source, str(tmp_path / "other"), text="what beats?")


def test_monai_verifies_it(trained):
    from monai.bundle import verify_metadata, verify_net_in_out

    schema = trained / "configs/meta_schema_20240725.json"
    verify_metadata(meta_file=arguments(trained)["meta_file"], filepath=str(schema))
    verify_net_in_out(net_id="network_def", **arguments(trained), bundle_root=str(trained))


def test_it_is_exported(trained, tmp_path):
    from monai.bundle import ckpt_export, onnx_export

    common = {
        "net_id": "network_def", "ckpt_file": str(trained / "models/model.pt"), **arguments(trained),
        "bundle_root": str(trained),
    }  # fmt: skip
    ckpt_export(filepath=str(tmp_path / "model.ts"), **common)
    onnx_export(filepath=str(tmp_path / "model.onnx"), **common)
    network = parsed(trained, "inference").get_parsed_content("network_def")
    network.load_state_dict(torch.load(trained / "models/model.pt", weights_only=True))
    image = torch.rand(1, 1, 32, 32, 16)
    with torch.no_grad():
        expected = network.eval()(image)
        torch.testing.assert_close(
            torch.jit.load(tmp_path / "model.ts")(image), expected, atol=1e-3, rtol=1e-3
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("row", TABLES_4_AND_5)
def test_ablations_switch_the_parts_of_the_network(planned, row):
    for base in (("train",), ("train", "evaluate"), ("inference",)):
        network = parsed(planned, *base, f"ablation_{row}").get_parsed_content("network_def")
        wanted = TABLES_4_AND_5[row]
        assert (network.texts is not None) == wanted.get("text_prompt", True)
        fused = wanted.get("text_prompt", True) and wanted.get("hierarchical_fusion", True)
        assert (network.cross_attention is not None) == fused
        aligned = type(network.projector).__name__ == "CrossModalProjector"
        assert aligned == (wanted.get("text_prompt", True) and wanted.get("cross_modal_projector", True))
        if fused:
            assert list(network.cross_attention.attentions) == [
                str(n) for n in wanted.get("stages", [1, 2, 3, 4])
            ]


def test_a_training_starts_from_another_bundle(trained, tmp_path):
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    run_bundle("training", trained, **places, initial_model=str(trained), learning_rate=1e-12)
    before, after = (
        torch.load(folder / "model.pt", weights_only=True)
        for folder in (trained / "models", tmp_path / "models")
    )
    for name in ("mask_decoder.base_query", "image_encoder.blocks.0.attn.q.weight"):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-6)


def test_killed_after_an_epoch_it_ends_as_undisturbed(planned, tmp_path):
    """Referring steps are drawn by epoch, so a resumed training asks what the undisturbed one asks."""
    states = []
    for name, runs in (("whole", [{}]), ("parts", [{"epochs": 1, "schedule_epochs": 2}, {"resume": True}])):
        for run in runs:
            places = {"ckpt_dir": str(tmp_path / name), "output_dir": str(tmp_path / name / "eval")}
            run_bundle("training", planned, **{"epochs": 2, "model_selection": "last", **places, **run})
        states.append(torch.load(tmp_path / name / "model.pt", weights_only=True))
    for name, value in states[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(states[1][name], value, atol=1e-5, rtol=1e-4)
