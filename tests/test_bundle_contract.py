"""What every bundle must be: reproducible, valid for MONAI, one preprocessing, only fixed expressions."""

from __future__ import annotations

import functools
import json

import jsonschema
import pytest
import torch
from dataset_builders import write_msd, write_synapse
from registry import COMMITTED, NETWORKS, ROOT
from tiny_bundle import plan_tiny, run_bundle

from pgsam_monai.base.weights import KNOWN_WEIGHTS

ODD_NAME = "Task01_it's $os.remove('x') \"odd\""
ODD_LABELS = ["background", "$1/0", "@seed", "a#b::c", "%configs"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Name of a network -> its bundle, planned when it is first wanted."""
    work = tmp_path_factory.mktemp("contract")
    scans = write_msd(work / "Task02_Heart", cases=5)
    return functools.cache(lambda network: plan_tiny(scans, work / network, networks=network))


@pytest.fixture(scope="module", params=[*NETWORKS, *COMMITTED])
def bundle(request, planned):
    return ROOT / "bundles" / request.param if request.param in COMMITTED else planned(request.param)


def config(bundle, name):
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


def expressions(content):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [text for item in content for text in expressions(item)]
    return [content] if isinstance(content, str) and content.startswith("$") else []


@pytest.mark.parametrize(("name", "most"), [("train", 315), ("inference", 165), ("evaluate", 110)])
def test_configs_can_be_read(bundle, name, most):
    """Data, not code: few expressions, few lines."""
    text = (bundle / f"configs/{name}.json").read_text()
    assert len(expressions(json.loads(text))) <= 20
    assert len(text.splitlines()) <= most and max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_bundles_are_reproduced_byte_for_byte(name, tmp_path):
    from preprocess.commands.main import plan

    plan(recipe=name, plans_dir=str(tmp_path / "plans"), bundles_dir=str(tmp_path / "bundles"))
    made, committed = tmp_path / "bundles" / name, ROOT / "bundles" / name
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert files and files == {
        str(path.relative_to(committed))
        for path in committed.rglob("*")
        if path.is_file()
        and not {"models", "eval", "store"} & set(path.relative_to(committed).parts)
        and path.suffix != ".bak"
    }
    for file in sorted(files):
        assert (made / file).read_bytes() == (committed / file).read_bytes(), f"{file}: run `make bundles`"


@pytest.mark.parametrize("name", COMMITTED)
def test_without_its_data_a_bundle_says_so_before_it_looks_for_weights(name):
    (fold,) = config(ROOT / "bundles" / name, "splits")["folds"]
    files = 2 * len({*fold["training"], *fold["validation"]})
    sentence = f"{files} of the {files} files .* are missing, .*--dataset_dir FOLDER"
    with pytest.raises(SystemExit, match=sentence):
        run_bundle("training", ROOT / "bundles" / name)


def test_the_tenth_is_drawn_alike_from_a_bundle_planned_with_data_and_one_without(tmp_path):
    """Slices are counted where training starts; what the planner saw of the data changes nothing."""
    from monai.bundle import ConfigParser

    from preprocess.commands.main import plan

    scans = write_synapse(tmp_path / "scans", cases=40, shape=(12, 10, 7))
    common = {"recipe": "samed_synapse_10pct", "few_shot": "slices:10%", "override": "image_size=32"}
    places = []
    for folder, options in (("with", {"dataset": str(scans), "workers": 1}), ("without", {})):
        work = tmp_path / folder
        plan(**common, **options, plans_dir=str(work / "plans"), bundles_dir=str(work))
        parser = ConfigParser()
        parser.read_config(work / "samed_synapse_10pct/configs/train.json")
        parser.update({"bundle_root": str(work / "samed_synapse_10pct"), "dataset_dir": str(scans)})
        parser["store_dir"] = str(tmp_path / "store")
        places.append(parser.get_parsed_content("train#dataset").places.tolist())
    assert places[0] == places[1]
    assert len(places[0]) == 13  # a tenth of 18 cases of 7 slices


def test_metadata_fits_the_schema(bundle):
    metadata = config(bundle, "metadata")
    jsonschema.validate(metadata, config(bundle, "meta_schema_20240725"))
    assert metadata["version"] in metadata["changelog"]


def test_preprocessing_stands_in_both_configs_alike(bundle):
    train, inference = config(bundle, "train"), config(bundle, "inference")
    sizes = ("image_size", "fit") if "image_size" in train else ("patch", "spacing")
    for key in ("preprocessing", "inferer", "network_def", "labels", *sizes):
        assert train[key] == inference[key], key
    for key in ("texts_file", "class_indices", "request"):
        assert train.get(key) == inference.get(key), key


@pytest.mark.parametrize("network", NETWORKS)
def test_monai_finds_what_it_requires(network, planned):
    from monai.bundle import ConfigWorkflow

    bundle = planned(network)
    for name, kind in (("train", "train"), ("inference", "infer")):
        workflow = ConfigWorkflow(
            config_file=str(bundle / f"configs/{name}.json"), workflow_type=kind, logging_file=False,
            meta_file=str(bundle / "configs/metadata.json"), bundle_root=str(bundle),
        )  # fmt: skip
        workflow.initialize()
        assert workflow.check_properties() == []


@pytest.mark.parametrize("row", ["", "2_aligner"])
def test_pgsam_trains_evaluates_and_infers_plain_and_as_an_ablation(odd, row, tmp_path):
    overlay = (f"ablation_{row}.json",) if row else ()
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    case = next(iter(config(odd[1], "splits")["cases"]))
    own = {case: {name: f"The {name} of this case." for name in list(config(odd[1], "texts"))[1:]}}
    (odd[1] / "configs/case_texts.json").write_text(json.dumps(own))
    run_bundle("training", odd[1], ("train.json", *overlay), **places)
    state = torch.load(tmp_path / "models/model.pt", weights_only=True)
    assert any("clip" in name for name in state)
    run_bundle("evaluating", odd[1], ("train.json", "evaluate.json", *overlay), **places)
    assert json.loads((tmp_path / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", odd[1], ("inference.json", *overlay), **places)
    assert list((tmp_path / "eval").glob("organ_*.nii.gz"))


def test_it_tells_how_sure_its_network_is(bundle):
    """Both inferers do (`test_confidence`), and evaluation keeps it before the inverse drops it."""
    target = config(bundle, "inference")["inferer"]["_target_"].removeprefix("pgsam_monai.inference.")
    assert target in ("slices.SliceInferer", "patches.PatchInferer")
    first = config(bundle, "evaluate")["evaluate"]["postprocessing"]["transforms"][0]
    assert first["_target_"] == "pgsam_monai.evaluation.soft_dice.KeepSoftDiced"
    keep = parsed(bundle, "train", "evaluate").get_parsed_content("evaluate#postprocessing#transforms#0")
    assert keep.names == config(bundle, "plan")["decisions"]["label_names"]["value"]


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


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """PG-SAM's bundle of a data set with a hostile name and hostile label names, and the same data's plain one."""
    work = tmp_path_factory.mktemp("odd")
    options = {"cases": 5, "values": (0, 1, 2, 3, 4)}
    plain = plan_tiny(write_msd(work / "a" / "Task02_Heart", **options), work / "a", networks="pgsam")
    folder = write_msd(work / "b" / ODD_NAME.replace("/", "_"), **options)
    wish = f"label_names={json.dumps(ODD_LABELS)}"
    return plan_tiny(folder, work / "b", wish, name="odd", networks="pgsam"), plain


def test_names_enter_as_data_never_as_expressions(odd):
    """Hostile names of data set and labels change no expression."""
    for name in ("train", "evaluate", "inference", "multi_gpu_train"):
        assert expressions(config(odd[0], name)) == expressions(config(odd[1], name))


def test_hostile_label_names_reach_the_texts_as_they_are(odd):
    parser = parsed(odd[0], "inference")
    assert parser.get_parsed_content("class_indices") == {name: n for n, name in enumerate(ODD_LABELS)}
    (background, *_), *others = parser.get_parsed_content("network_def#texts")
    assert background.startswith("Background") and others[0] == ["The $1/0 on MRI."]


def parsed(bundle, *names):
    """MONAI's parser of these configs, in this bundle."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle / f"configs/{name}.json") for name in names])
    parser["bundle_root"] = str(bundle)
    return parser


@pytest.mark.parametrize("base", [("train",), ("train", "evaluate"), ("inference",)])
@pytest.mark.parametrize("row", ["1_baseline", "2_aligner", "3_fusion", "4_full"])
def test_ablations_switch_the_parts_of_the_network(odd, base, row):
    network = parsed(odd[1], *base, f"ablation_{row}").get_parsed_content("network_def")
    assert (network.aligner is not None) == (row != "1_baseline")
    assert network.description["feature_fusion"] == (row in ("3_fusion", "4_full"))
    assert bool(network.description["refinement_steps"]) == (row == "4_full")


def test_a_bundle_carries_its_papers(bundle):
    for name in (
        "LICENSE",
        "docs/README.md",
        "configs/logging.conf",
        "configs/plan.json",
        "configs/splits.json",
    ):
        assert (bundle / name).stat().st_size > 0
    (entries,) = config(bundle, "plan")["configurations"].values()
    weights = entries["weights"]["value"] if "weights" in entries else None
    fetched = weights is not None and not KNOWN_WEIGHTS[weights].shipped
    assert (bundle / "large_files.yml").is_file() == fetched
    assert "code" in (bundle / "docs/README.md").read_text()


def test_ranks_wait_for_each_other_before_they_leave(bundle):
    """Else gloo's threads may hold tensors while Python is torn down, and the process aborts (seen 1 in 20 times)."""
    steps = config(bundle, "multi_gpu_train")["finalize"]
    assert [step.rpartition(".")[2] for step in steps] == ["barrier()", "destroy_process_group()"]
