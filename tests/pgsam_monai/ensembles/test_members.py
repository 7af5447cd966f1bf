"""Which members bundles have, what they saw, and which networks go together."""

import json
import shutil

import pytest
import torch
from fold_weights import finish_folds, plan_pair, splits_of, write_weights

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.ensembles.members import find_models, read_sources
from pgsam_monai.ensembles.out_of_fold import find_unseen_cases

FLAT = [(1.0, 0.0, 0.0)] * 3


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    return plan_pair(tmp_path_factory.mktemp("members"))


@pytest.fixture
def bundles(planned, tmp_path):
    """Copies that a test may change."""
    return [shutil.copytree(bundle, tmp_path / bundle.name) for bundle in planned]


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def edit(bundle, name, change):
    file = bundle / "configs" / name
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_finished_folds_go_before_the_single_model(tmp_path):
    single = tmp_path / "models/model.pt"
    touch(tmp_path / "configs/train.json", single)
    assert find_models(tmp_path) == [single]
    folds = [tmp_path / f"eval/folds/fold_{fold}" for fold in (0, 2, 10)]
    touch(*(fold / "models/model.pt" for fold in folds), *(fold / "result.json" for fold in folds))
    touch(tmp_path / "eval/folds/fold_3/models/model.pt")  # at work still
    assert find_models(tmp_path) == [fold / "models/model.pt" for fold in folds]


@pytest.mark.parametrize("word", ["eval/seed_2", "{}/eval/seed_2"])
def test_other_folders_of_folds_or_checkpoints_can_be_named(tmp_path, word):
    fold = tmp_path / "eval/seed_2/fold_0"
    touch(fold / "result.json", fold / "models/model.pt")
    assert find_models(tmp_path, word.format(tmp_path)) == [fold / "models/model.pt"]
    assert find_models(tmp_path, "eval/seed_2/fold_0/models") == [fold / "models/model.pt"]


def test_without_weights_the_remedy_is_told(bundles):
    with pytest.raises(
        MissingFile, match="neither finished folds nor models/model.pt; train it first: pgsam train"
    ):
        read_sources([str(bundles[0])])
    with pytest.raises(MissingFile, match="'eval/x' holds neither model.pt nor finished folds"):
        read_sources([f"{bundles[0]}@eval/x"])
    with pytest.raises(MissingFile, match="is no bundle"):
        read_sources([str(bundles[0].parent / "nowhere")])


def test_several_words_of_a_bundle_are_one_network(bundles):
    first = bundles[0].rename(bundles[0].with_name("unet@home"))
    finish_folds(first, FLAT)
    finish_folds(first, FLAT, folder="eval/seed_2")
    (source,) = read_sources([str(first), f"{first}@eval/seed_2"])
    assert source.name == "unet@home" and len(source.models) == 6
    with pytest.raises(UserFault, match="the same weights of 'unet@home' are named twice"):
        read_sources([str(first), f"{first}@eval/folds"])


def test_each_case_has_the_members_that_did_not_train_on_it(bundles):
    for bundle in bundles:
        finish_folds(bundle, FLAT)
    sources = read_sources(list(map(str, bundles)))
    held_out = {n: (k,) for k, fold in enumerate(splits_of(bundles[0])["folds"]) for n in fold["validation"]}
    assert find_unseen_cases(sources) == {name: [place, place] for name, place in held_out.items()}


def test_a_subject_is_seen_with_any_of_its_cases(bundles):
    finish_folds(bundles[0], FLAT)
    folds = splits_of(bundles[0])["folds"]
    own, other = folds[0]["validation"][0], folds[1]["validation"][0]

    def join(splits):
        for name in (own, other):
            splits["cases"][name]["subject"] = "one"

    edit(bundles[0], "splits.json", join)
    unseen = find_unseen_cases(read_sources([str(bundles[0])]))
    assert sorted(unseen) == sorted(set(splits_of(bundles[0])["cases"]) - {own, other})


def test_cases_that_all_members_of_a_network_saw_do_not_count(bundles):
    finish_folds(bundles[0], FLAT)
    seen = splits_of(bundles[1])["folds"][0]["training"]
    write_weights(bundles[1] / "models/model.pt", bundles[1], FLAT[0], seen)
    unseen = find_unseen_cases(read_sources(list(map(str, bundles))))
    assert sorted(unseen) == sorted(splits_of(bundles[0])["folds"][0]["validation"])
    write_weights(bundles[1] / "models/model.pt", bundles[1], FLAT[0], None)
    assert find_unseen_cases(read_sources(list(map(str, bundles)))) == {}


def test_test_cases_and_those_without_label_are_left_alone(bundles):
    finish_folds(bundles[0], FLAT)
    edit(bundles[0], "splits.json", lambda splits: splits["test"].append("case_1"))
    edit(bundles[0], "splits.json", lambda splits: splits["cases"]["case_2"].pop("label"))
    assert sorted(find_unseen_cases(read_sources([str(bundles[0])]))) == [f"case_{n}" for n in (3, 4, 5, 6)]


def another_window(bundle):
    def change(metadata):
        metadata["pgsam_monai"]["trained_for"]["intensity"] = {"scheme": "window", "low": 0, "high": 1}

    edit(bundle, "metadata.json", change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_window, r"differ in intensity \(percentile 0.5 99.5; window 0 1\)"),
        (
            lambda bundle: edit(bundle, "inference.json", lambda c: c["preprocessing"]["transforms"].pop(1)),
            "differ in preprocessing;",
        ),
        (
            lambda bundle: edit(bundle, "splits.json", lambda c: c["cases"]["case_1"].update(subject="x")),
            "differ in the cases of splits.json",
        ),
        (
            lambda bundle: edit(bundle, "splits.json", lambda c: c["test"].append("case_1")),
            "differ in the test cases of splits.json",
        ),
        (
            lambda bundle: edit(
                bundle, "metadata.json", lambda c: c["pgsam_monai"].update(network="ensemble")
            ),
            "is an ensemble itself",
        ),
    ],
)
def test_networks_that_see_other_things_are_refused(bundles, change, said):
    for bundle in bundles:
        touch(bundle / "models/model.pt")
    change(bundles[1])
    with pytest.raises(UserFault, match=said):
        read_sources(list(map(str, bundles)))


def turn(bundle, *, planned=True):
    """Coronal slices, by the configs and the plan's stamp, or by an edited config alone."""

    def change_config(content):
        (step,) = [step for step in content["preprocessing"]["transforms"] if "axcodes" in step]
        step["axcodes"] = "ILP"

    def change_stamp(metadata):
        metadata["pgsam_monai"]["trained_for"]["orientation"] = "ILP"

    edit(bundle, "inference.json", change_config)
    if planned:
        edit(bundle, "metadata.json", change_stamp)


def test_networks_may_see_other_axes(bundles):
    for bundle in bundles:
        touch(bundle / "models/model.pt")
    turn(bundles[1])
    assert len(read_sources(list(map(str, bundles)))) == 2


def test_one_data_set_may_have_been_planned_under_two_names(bundles):
    for bundle in bundles:
        touch(bundle / "models/model.pt")
    edit(bundles[1], "metadata.json", lambda m: m["pgsam_monai"]["trained_for"].update(dataset="coronal"))
    assert len(read_sources(list(map(str, bundles)))) == 2


def test_axes_that_only_the_config_tells_are_refused(bundles):
    for bundle in bundles:
        touch(bundle / "models/model.pt")
    turn(bundles[1], planned=False)
    with pytest.raises(UserFault, match="differ in preprocessing"):
        read_sources(list(map(str, bundles)))


def test_a_bundle_of_a_version_without_mirroring_goes_with_one_that_mirrors_nothing(bundles):
    for bundle in bundles:
        touch(bundle / "models/model.pt")
    edit(bundles[1], "inference.json", lambda content: content.pop("mirror"))
    assert len(read_sources(list(map(str, bundles)))) == 2
    edit(bundles[0], "inference.json", lambda content: content.update(mirror=["up-down"]))
    with pytest.raises(UserFault, match="differ in mirror"):
        read_sources(list(map(str, bundles)))


def test_too_many_networks_are_refused(bundles):
    more = [shutil.copytree(bundles[0], bundles[0].with_name(f"copy_{n}")) for n in range(5)]
    for bundle in more:
        touch(bundle / "models/model.pt")
    with pytest.raises(UserFault, match="5 networks are too many to choose from, at most 4"):
        read_sources(list(map(str, more)))


def test_two_bundles_of_one_name_are_told_by_it(bundles):
    same = shutil.copytree(bundles[1], bundles[1].parent / "elsewhere" / bundles[1].name)
    for bundle in (*bundles, same):
        touch(bundle / "models/model.pt")
    with pytest.raises(UserFault, match="two bundles are called 'dynunet_3d_pair'"):
        read_sources(list(map(str, (*bundles, same))))


def test_constant_weights_are_constant(bundles):
    """What the tests of this folder rest on."""
    from pgsam_monai.bundle import Bundle

    for bundle in bundles:
        write_weights(bundle / "models/model.pt", bundle, (0.0, 1.0, 0.5), [])
        network = Bundle(bundle, device="cpu").network
        with torch.no_grad():
            shape = (1, 1, 32, 32) if bundle is bundles[0] else (1, 1, 16, 16, 16)
            found = network(torch.rand(shape)).argmax(dim=1)
        assert found.unique().tolist() == [1]
