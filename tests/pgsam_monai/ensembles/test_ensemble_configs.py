"""The configs of ensembles: whose entries are shared, where references lead, names that look like syntax."""

import copy
import json
import shutil

import pytest
from dataset_builders import write_nnunet
from fold_weights import plan_pair
from tiny_bundle import plan_tiny

from pgsam_monai.configs import read_configs
from pgsam_monai.ensembles.configs import ensemble_configs
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.inference.turning import TurnedInferer


def read(bundle, name):
    return json.loads((bundle / "configs" / name).read_text())


def together(bundles, **options):
    names = options.pop("names", [bundle.name for bundle in bundles])
    options = {"orientations": ["PLS"] * len(bundles), **options}
    return ensemble_configs(
        [read(bundle, "inference.json") for bundle in bundles], read(bundles[0], "train.json"),
        read(bundles[0], "evaluate.json"), names=names, members=[2] * len(bundles), bundle_name="both", **options,
    )  # fmt: skip


def parsed(tmp_path, bundle, content):
    configs = shutil.copytree(bundle / "configs", tmp_path / "both/configs")
    (configs / "inference.json").write_text(json.dumps(content))
    return read_configs([configs / "inference.json"], {"bundle_root": str(tmp_path / "both")})


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return plan_pair(tmp_path_factory.mktemp("configs"))


def test_each_network_has_its_own_sizes_and_all_share_the_rest(pair):
    inference = together(pair)["inference.json"]
    first, second = inference["networks"]
    assert first["image_size"] == 32 and "patch" not in first and second["patch"] == [16, 16, 16]
    assert not {"image_size", "fit", "sampling", "patch", "spacing", "weights"} & set(inference)
    assert first["network_def"]["image_size"] == "@networks#0#image_size"
    assert second["inferer"]["spacing"] == "@networks#1#spacing"
    assert second["network_def"]["num_classes"] == "@num_classes"
    assert inference["preprocessing"] == read(pair[0], "inference.json")["preprocessing"]
    assert inference["handlers"][0]["seen"] == {}


def test_an_ensemble_is_measured_by_ours(pair, tmp_path):
    """The papers' protocol knows one network's answers."""
    alone = shutil.copytree(pair[0], tmp_path / "samed_pair")
    for planned, expected in (("papers", "mm"), ("synapse", "synapse")):
        content = read(alone, "evaluate.json") | {"protocol": planned}
        (alone / "configs/evaluate.json").write_text(json.dumps(content))
        assert together([alone, pair[1]])["evaluate.json"]["protocol"] == expected


def test_a_network_of_other_axes_is_turned_and_volumes_are_read_as_the_first_ones(pair, tmp_path):
    inference = together(pair, orientations=["PLS", "ILP"])["inference.json"]
    assert inference["preprocessing"] == read(pair[0], "inference.json")["preprocessing"]
    plain, turned = parsed(tmp_path, pair[0], inference).get_parsed_content("inferer").members
    assert isinstance(plain, SliceInferer) and isinstance(turned, TurnedInferer)
    assert isinstance(turned.inferer, PatchInferer) and turned.inferer.patch == (16, 16, 16)


def test_what_two_bundles_have_otherwise_is_each_ones_own(pair, tmp_path):
    other = shutil.copytree(pair[1], tmp_path / "dynunet_3d_pair")
    content = read(other, "inference.json") | {"precision": "bf16"}
    (other / "configs/inference.json").write_text(json.dumps(content))
    inference = together([pair[0], other])["inference.json"]
    assert inference["precision"] == "auto" and inference["networks"][1]["precision"] == "bf16"
    members = parsed(tmp_path, pair[0], inference).get_parsed_content("inferer").members
    assert [member.precision for member in members] == ["auto", "bf16"]


def test_the_bundles_own_configs_are_left_as_they_are(pair):
    before = [
        copy.deepcopy(read(bundle, name)) for bundle in pair for name in ("train.json", "evaluate.json")
    ]
    together(pair)
    assert before == [read(bundle, name) for bundle in pair for name in ("train.json", "evaluate.json")]


def test_names_are_data(pair, tmp_path):
    inference = together(pair, names=["$1/0", "@seed#x"])["inference.json"]
    parser = parsed(tmp_path, pair[0], inference)
    assert [parser.get_parsed_content(f"networks#{place}#bundle") for place in (0, 1)] == ["$1/0", "@seed#x"]


def test_texts_are_read_from_the_ensembles_own_files(tmp_path):
    folder = write_nnunet(tmp_path / "Dataset001_Pair", cases=5)
    unet = plan_tiny(folder, tmp_path, "image_size=32", networks="unet,pgsam")
    pgsam = unet.with_name("pgsam_pair")
    inference = together([unet, pgsam])["inference.json"]
    own = inference["networks"][1]
    assert own["texts_file"] == "$@bundle_root + '/configs/texts_1.json'"
    assert own["network_def"]["texts"]["file"] == "@networks#1#texts_file"
    parser = parsed(tmp_path, unet, inference)
    shutil.copyfile(pgsam / "configs/texts.json", tmp_path / "both/configs/texts_1.json")
    assert len(parser.get_parsed_content("networks#1#network_def#texts")) == 3
