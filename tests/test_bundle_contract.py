"""What every bundle must be: reproducible, valid for MONAI, one preprocessing, only fixed expressions."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from dataset_builders import write_msd
from tiny_bundle import plan_tiny

ROOT = Path(__file__).parents[1]
COMMITTED = sorted(path for path in (ROOT / "bundles").glob("*/") if path.name == "samed_synapse")
ODD_NAME = "Task01_it's $os.remove('x') \"odd\""


@pytest.fixture(scope="module", params=["planned", *(path.name for path in COMMITTED)])
def bundle(request, tmp_path_factory):
    if request.param != "planned":
        return ROOT / "bundles" / request.param
    work = tmp_path_factory.mktemp("contract")
    return plan_tiny(write_msd(work / "Task02_Heart", cases=5), work)


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def expressions(content):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [text for item in content for text in expressions(item)]
    return [content] if isinstance(content, str) and content.startswith("$") else []


def test_samed_synapse_is_reproduced_byte_for_byte(tmp_path):
    from preprocess.cli import plan

    plan(recipe="samed_synapse", plans_dir=str(tmp_path / "plans"), bundles_dir=str(tmp_path / "bundles"))
    made, committed = tmp_path / "bundles/samed_synapse", ROOT / "bundles/samed_synapse"
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert files and files == {
        str(path.relative_to(committed))
        for path in committed.rglob("*")
        if path.is_file() and path.parts[-2] not in ("models", "eval", "store") and path.suffix != ".bak"
    }
    for name in sorted(files):
        assert (made / name).read_bytes() == (committed / name).read_bytes(), name


def test_metadata_fits_the_schema(bundle):
    metadata = config(bundle, "metadata")
    jsonschema.validate(metadata, config(bundle, "meta_schema_20240725"))
    assert metadata["version"] in metadata["changelog"]


def test_preprocessing_stands_in_both_configs_alike(bundle):
    train, inference = config(bundle, "train"), config(bundle, "inference")
    for key in ("preprocessing", "inferer", "network_def", "labels", "image_size", "fit"):
        assert train[key] == inference[key], key


def test_monai_finds_what_it_requires(tmp_path):
    from monai.bundle import ConfigWorkflow

    bundle = plan_tiny(write_msd(tmp_path / "Task02_Heart", cases=5), tmp_path)
    for name, kind in (("train", "train"), ("inference", "infer")):
        workflow = ConfigWorkflow(
            config_file=str(bundle / f"configs/{name}.json"), workflow_type=kind, logging_file=False,
            meta_file=str(bundle / "configs/metadata.json"), bundle_root=str(bundle),
        )  # fmt: skip
        workflow.initialize()
        assert workflow.check_properties() == []


def test_what_monai_label_needs(bundle):
    inference, train = config(bundle, "inference"), config(bundle, "train")
    assert {
        "network_def",
        "preprocessing",
        "inferer",
        "postprocessing",
        "device",
        "bundle_root",
        "run",
    } <= set(inference)
    assert all(isinstance(handler, dict) for handler in train["train"]["handlers"])
    assert train["run"] == ["$@training"]
    outputs = config(bundle, "metadata")["network_data_format"]["outputs"]
    assert list(outputs) == ["pred"] and outputs["pred"]["channel_def"]["0"] == "background"


def test_names_enter_as_data_never_as_expressions(tmp_path):
    """A hostile data set name changes no expression."""
    plain = plan_tiny(write_msd(tmp_path / "a" / "Task02_Heart", cases=5), tmp_path / "a")
    odd_folder = write_msd(tmp_path / "b" / ODD_NAME.replace("/", "_"), cases=5)
    plan_tiny(odd_folder, tmp_path / "b", name="odd")
    odd = tmp_path / "b/bundles/samed_odd"
    for name in ("train", "evaluate", "inference", "multi_gpu_train"):
        assert expressions(config(plain, name)) == expressions(config(odd, name))


def test_a_bundle_carries_its_papers(bundle):
    for name in (
        "LICENSE",
        "docs/README.md",
        "configs/logging.conf",
        "configs/plan.json",
        "configs/splits.json",
    ):
        assert (bundle / name).stat().st_size > 0
    weights = config(bundle, "plan")["configurations"]["samed"]["weights"]["value"]
    assert (bundle / "large_files.yml").is_file() == (weights is not None)
    assert "code" in (bundle / "docs/README.md").read_text()


def test_large_files_agree_with_the_weights_table():
    from pgsam_monai.weights import KNOWN_WEIGHTS
    from preprocess.bundle import LARGE_FILES, SAM_URL

    for name, (file, sha256) in LARGE_FILES.items():
        assert KNOWN_WEIGHTS[name].url == SAM_URL + file
        assert KNOWN_WEIGHTS[name].sha256 == sha256
