"""What people type: MONAI's own commands, torchrun, and `pgsam`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny, run_bundle
from typed import typed

from pgsam_monai.commands.main import main
from pgsam_monai.evaluation.soft_dice import read_soft_dice


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    work = tmp_path_factory.mktemp("commands")
    folder = write_nnunet(work / "Dataset001_Pair", cases=5, shape=(40, 36, 6))
    bundle = plan_tiny(folder, work)
    run_bundle("training", bundle)
    return bundle


@pytest.fixture(scope="module")
def trained_reader(tmp_path_factory):
    """The same with PG-SAM, which reads texts."""
    work = tmp_path_factory.mktemp("commands_pgsam")
    folder = write_nnunet(work / "Dataset001_Pair", cases=5, shape=(40, 36, 6))
    bundle = plan_tiny(folder, work, networks="pgsam")
    run_bundle("training", bundle)
    return bundle


@pytest.fixture(params=["trained", "trained_reader"])
def either(request):
    return request.getfixturevalue(request.param)


def arguments(bundle):
    configs = bundle / "configs"
    return {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}


def test_monai_verifies_the_bundle(either):
    from monai.bundle import verify_metadata, verify_net_in_out

    schema = either / "configs/meta_schema_20240725.json"
    verify_metadata(meta_file=arguments(either)["meta_file"], filepath=str(schema))
    verify_net_in_out(net_id="network_def", **arguments(either), bundle_root=str(either))


def load_network(bundle):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle / "configs/inference.json")
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    return network.eval()


def test_exports_equal_the_network(either, tmp_path):
    import onnxruntime
    from monai.bundle import ckpt_export, onnx_export

    common = {"net_id": "network_def", "ckpt_file": str(either / "models/model.pt"), **arguments(either)}
    common["bundle_root"] = str(either)
    ckpt_export(filepath=str(tmp_path / "model.ts"), **common)
    onnx_export(filepath=str(tmp_path / "model.onnx"), **common)
    network = load_network(either)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    shape = [size if isinstance(size, int) else 1 for size in session.get_inputs()[0].shape]
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(image)
        scripted = torch.jit.load(str(tmp_path / "model.ts"))(image)
    assert torch.allclose(expected, scripted, atol=1e-5)
    (onnx,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert np.allclose(expected.numpy(), onnx, atol=1e-3)


def test_torchrun_trains_in_two_processes(trained):
    configs = [str(trained / f"configs/{name}.json") for name in ("train", "multi_gpu_train")]
    done = typed(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run", "training",
        "--config_file", str(configs), "--bundle_root", str(trained), "--ckpt_dir", str(trained / "models_ddp"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(trained / "models_ddp/model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)
    load_network(trained).load_state_dict(state)


def test_pgsam_trains_evaluates_predicts_and_exports(trained, tmp_path):
    done = typed("-m", "pgsam_monai.commands.main", "evaluate", str(trained), "--tolerance_mm", "1.0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((trained / "eval/validation/metrics.json").read_text())["tolerance_mm"] == 1.0
    done = typed("-m", "pgsam_monai.commands.main", "export", str(trained))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (trained / "models/adapters.safetensors").stat().st_size > 0


def test_the_demo_goes_the_whole_way_and_can_be_repeated(tmp_path, monkeypatch, capsys):
    words = f"demo --cases 5 --epochs 1 --resolution 32 --folder {tmp_path}/demo".split()
    with monkeypatch.context() as patch:
        # Its two steps run as it says, each in a process of its own that needn't import MONAI anew.
        patch.setattr("pgsam_monai.commands.demo.subprocess", SimpleNamespace(run=run_and_show))
        main(words)
    shown = capsys.readouterr().out
    for said in ("not patients", "Protocol 'mm'", "report.html", "overlays", "tensorboard --logdir"):
        assert said in shown, said
    assert list((tmp_path / "demo/predictions/overlays").glob("*.png"))
    steps = []
    monkeypatch.setattr(
        "pgsam_monai.commands.demo._step", lambda title, arguments: steps.append(arguments[3])
    )
    main(words)  # without its two steps, which take longest and repeat what other tests do
    assert steps == ["training", "evaluating"]


def run_and_show(command, *, check):
    assert command[0] == sys.executable and not check
    done = typed(*command[1:])
    print(done.stdout, done.stderr)
    return done


def test_a_fault_in_training_is_its_own_sentence(trained, tmp_path):
    bundle = tmp_path / "samed_broken"
    shutil.copytree(trained, bundle)
    damaged = tmp_path / "Dataset001_Pair"
    shutil.copytree(trained.parents[1] / "Dataset001_Pair", damaged)
    image = damaged / "imagesTr/case_2_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    done = typed("-m", "pgsam_monai.commands.main", "train", str(bundle), "--dataset_dir", str(damaged))
    assert done.returncode == 1
    assert "pgsam: training failed: Case 'case_2'" in done.stderr
    assert "case_2_0000.nii.gz" in done.stderr and "Traceback" not in done.stderr


def test_training_starts_from_another_bundles_network(trained, tmp_path):
    bundle = tmp_path / "samed_five_shots"
    shutil.copytree(trained, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    words = ["-m", "pgsam_monai.commands.main", "train", str(bundle), "--from"]
    done = typed(*words, str(trained), "--learning_rate", "0.0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Training starts from {trained}/models/model.pt" in done.stdout
    assert "100.0 % of the parameters; position tables resized: 0; other shapes, start anew: 0" in done.stdout
    before, after = (torch.load(b / "models/model.pt", weights_only=True) for b in (trained, bundle))
    assert all(torch.equal(before[name], after[name]) for name in before)  # nothing was learnt at that rate
    done = typed(*words, str(trained), "--resume")
    assert "pgsam: --from begins a training and --resume goes on with one" in done.stderr
    done = typed(*words, str(tmp_path))
    assert "has no models/model.pt to start from; train it first" in done.stderr
    config = json.loads((bundle / "configs/train.json").read_text())
    del config["initial_model"]
    (bundle / "configs/train.json").write_text(json.dumps(config))
    done = typed(*words, str(trained))
    assert "knows no initial_model, which --from sets; plan it again" in done.stderr


def test_another_data_set_from_the_command_line(trained, tmp_path):
    other = write_nnunet(tmp_path / "Dataset009_Again", cases=1, shape=(20, 18, 4))
    words = ["-m", "pgsam_monai.commands.main", "evaluate", str(trained), "--dataset", str(other)]
    done = typed(*words, "--map", "auto", "--tolerance_mm", "1.5")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Compared: 2 of 2 classes" in done.stdout and "NSD 1.5 mm" in done.stdout
    assert (trained / "eval/again/predictions/case_1.nii.gz").is_file()
    done = typed(*words, "--fold", "1")
    assert done.returncode != 0 and "--fold is no option here" in done.stderr


def test_mirror_images_are_measured_as_they_are_predicted(trained, tmp_path):
    """Mirrored answers don't tell how sure the network is, plain ones do."""
    words = ["evaluate", str(trained), "--device", "cpu", "--output_dir", str(tmp_path)]
    measured = tmp_path / "validation"
    for axes, told in (
        ("none", True),
        ("front-back,up-down", False),
        ('["front-back"]', False),
        ("auto", True),
    ):
        main([*words, "--mirror", axes])
        assert (measured / "metrics.json").is_file()
        assert bool(read_soft_dice(measured / "soft_dice.json")) is told
    (measured / "metrics.json").unlink()
    with pytest.raises(SystemExit, match="'sideways' is no axis; there are left-right, front-back, up-down"):
        main([*words, "--mirror", "sideways"])
    with pytest.raises(SystemExit, match="--mirror is not for --interaction; leave it out"):
        main([*words, "--mirror", "auto", "--interaction"])
    assert not (measured / "metrics.json").exists()


def test_an_unreadable_image_is_one_sentence(trained, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    done = typed(
        "-m",
        "pgsam_monai.commands.main",
        "predict",
        str(trained),
        str(tmp_path / "broken.nii.gz"),
        str(tmp_path),
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("pgsam: ") and "broken.nii.gz" in done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["train", "nowhere"], "is no bundle"),
        (["train", "nowhere", "--from", "elsewhere"], "'elsewhere' has no models/model.pt to start from"),
        (["evaluate", "nowhere", "--dataset"], "--dataset needs a value"),
        (["evaluate", "nowhere", "--map", "auto"], "--map belongs to --dataset"),
        (["evaluate", "nowhere", "--dataset", "x", "--map"], "--map needs a value"),
        (["predict", "a", "b", "c", "--text"], "--text needs a value"),
        (["predict", "nowhere", "b", "c", "--text", "liver", "--clicks", "d"], "give one of them"),
        (["predict", "nowhere", "x", "y"], "is no bundle"),
        (["weights", "import", "nowhere.pth"], "does not exist"),
        (["weights", "fetch", "sam_vit_x"], "Did you mean 'sam_vit_"),
        (["weights", "import", "nowhere.pth", "--name", "x"], "--name is no option here"),
        (["weights", "fetch", "efficient_sam_s", "--weights_dir", "nowhere"], "--as efficient_sam_s"),
        (["predict", "a", "b", "c", "--overlay"], "Did you mean --overlays?"),
        (["predict", "a", "b", "c", "--guide_map"], "Did you mean --guide_maps?"),
        (["demo", "--epoch=3"], "Did you mean --epochs?"),
    ],
)
def test_faults_are_one_sentence(words, said):
    done = typed("-m", "pgsam_monai.commands.main", *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_override_that_no_config_knows_is_refused(trained):
    done = typed("-m", "pgsam_monai.commands.main", "train", str(trained), "--epoch", "3")
    assert done.returncode != 0 and "Did you mean --epochs?" in done.stderr


def test_help_needs_no_torch():
    code = "import sys, pgsam_monai.commands.main as c; c.commands(); "
    code += "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
