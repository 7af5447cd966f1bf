"""A bundle predicts what `pgsam predict` predicts, and never with weights that don't fit."""

from __future__ import annotations

import gc
import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dataset_builders import tiny_image, tiny_label, write_msd, write_series, write_volume
from registry import NETWORKS
from tiny_bundle import read_voxels
from untrained import draw_weights, plan_untrained

from pgsam_monai.base.capabilities import METADATA_KEY
from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle, WeightsFault
from pgsam_monai.commands.export import export
from pgsam_monai.evaluation.few_shot import Run, make_curve
from pgsam_monai.interactive.model import prompt_model
from pgsam_monai.predicting.predict import predict
from pgsam_monai.predicting.prompted import PromptWishes, predict_prompted
from pgsam_monai.running import run_bundle

VALUES = (0, 3, 205)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Name of a network -> its bundle, planned when it is first wanted."""
    work = tmp_path_factory.mktemp("served")
    data = write_msd(work / "Task02_Heart", cases=4, values=VALUES)
    made = {}

    def plan(network):
        if network not in made:
            made[network] = plan_untrained(data, work, network)
        return made[network]

    plan.image = data / "imagesTr/organ_001.nii.gz"
    return plan


@pytest.fixture
def own_copy(planned, tmp_path):
    """A bundle whose files a test may change."""

    def copy(network):
        return shutil.copytree(planned(network), tmp_path / "bundle", dirs_exist_ok=True)

    return copy


def segment(bundle, image, folder, **options):
    """Written as a client of the server gets it."""
    return bundle.label_map(image, **options).save(folder, case_stem(image))


def case_stem(image):
    return image.name.split(".")[0]


def same_files(one, other):
    assert one.name == other.name
    (a, _), (b, _) = read_voxels(one), read_voxels(other)
    assert a.dtype == b.dtype and np.array_equal(a, b)
    assert nib.load(one).header.binaryblock == nib.load(other).header.binaryblock


@pytest.mark.parametrize("network", NETWORKS)
def test_a_served_prediction_is_that_of_pgsam_predict(planned, network, tmp_path):
    bundle = planned(network)
    (expected,) = predict(bundle, planned.image, tmp_path / "predicted", device="cpu")
    served = Bundle(bundle, device="cpu")
    for _ in range(2):  # the second time with what the first left behind
        answer = served.label_map(planned.image)
        same_files(answer.save(tmp_path / "served", case_stem(planned.image)), expected)
    named = {name for name, value in answer.label_names.items() if (answer.voxels == value).any()}
    assert named <= set(answer.soft_dice) <= set(served.labels)
    assert all(0 < each <= 1 for each in answer.soft_dice.values())
    assert served.labels == Bundle(bundle).labels == {"organ3": 3, "organ205": 205}


def test_the_predictions_compared_are_not_empty(planned):
    found = [set(np.unique(Bundle(planned(name)).label_map(planned.image).voxels)) for name in NETWORKS]
    assert sum(len(values) > 1 for values in found) >= len(NETWORKS) / 2


def test_series_and_other_kinds_of_files_come_back_as_pgsam_predict_writes_them(planned, tmp_path):
    label = tiny_label(1, values=VALUES)
    sources = [
        write_series(tmp_path / "series", tiny_image(1, label)),
        write_volume(tmp_path / "scan.mha", tiny_image(1, label)),
    ]
    served = Bundle(planned("samed"))
    for source in sources:
        (expected,) = predict(planned("samed"), source, tmp_path / "predicted")
        got = segment(served, source, tmp_path / "served")
        assert got.name == expected.name
        if got.suffix == ".mha":
            assert got.read_bytes() == expected.read_bytes()
        else:
            same_files(got, expected)


def test_the_weights_are_read_when_they_are_needed(planned):
    served = Bundle(planned("samed"))
    assert served.stamp is None
    served.load()
    assert served.stamp is not None and not served.network.training


def test_weights_of_another_network_are_not_served(own_copy, planned):
    bundle = own_copy("samed")
    shutil.copy(planned("dynunet") / "models/model.pt", bundle / "models/model.pt")
    served = Bundle(bundle)
    for _ in range(2):
        with pytest.raises(
            WeightsFault, match=r"Bundle 'bundle': .* another plan: network dynunet .*train the bundle again"
        ):
            served.label_map(planned.image)
    assert served.stamp is None


@pytest.mark.parametrize(
    ("place", "changed", "told"),
    [
        ("labels", ["0 = background", "5 = kidney"], "5 = kidney"), ("channels", ["0 = PET"], "0 = PET"),
        ("orientation", "SPL", "SPL"), ("intensity", {"scheme": "unit8"}, "unit8"), ("dataset", "knee", "knee"),
    ],
)  # fmt: skip
def test_weights_of_another_plan_are_not_served(own_copy, planned, place, changed, told):
    bundle = own_copy("unet")
    file = bundle / "configs/metadata.json"
    metadata = json.loads(file.read_text())
    metadata["pgsam_monai"]["trained_for"][place] = changed
    file.write_text(json.dumps(metadata))
    with pytest.raises(WeightsFault, match=f"another plan: {place} .*the bundle: {told}"):
        Bundle(bundle).label_map(planned.image)


@pytest.mark.parametrize("harm", ["cut", "lacking", "extra"])
def test_damaged_weights_are_not_served(own_copy, planned, harm):
    file = own_copy("unet") / "models/model.pt"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        state = torch.load(file, weights_only=True)
        first = next(iter(state))
        state = (
            {k: v for k, v in state.items() if k != first}
            if harm == "lacking"
            else state | {"more": state[first]}
        )
        torch.save(state, file)
    with pytest.raises(WeightsFault, match="doesn't fit the network") as caught:
        Bundle(file.parents[1]).load()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


def test_new_weights_are_served_in_the_same_network_and_bad_ones_stop_it(own_copy, planned, tmp_path):
    bundle = own_copy("samed")
    served = Bundle(bundle)
    before, network = served.label_map(planned.image).voxels, served.network
    draw_weights(bundle, seed=1)
    after = served.label_map(planned.image).voxels
    (expected,) = predict(bundle, planned.image, tmp_path)
    assert not np.array_equal(before, after) and np.array_equal(after, read_voxels(expected)[0])
    assert served.network is network

    good = (bundle / "models/model.pt").read_bytes()
    (bundle / "models/model.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsFault, match="doesn't fit"):
        served.label_map(planned.image)
    (bundle / "models/model.pt").unlink()
    with pytest.raises(WeightsFault, match="has lost .*model.pt; train it"):
        served.label_map(planned.image)
    (bundle / "models/model.pt").write_bytes(good)
    assert np.array_equal(served.label_map(planned.image).voxels, after)


def test_an_untrained_bundle_is_refused_at_once(own_copy):
    bundle = own_copy("unet")
    (bundle / "models/model.pt").unlink()
    with pytest.raises(FileNotFoundError, match="train it first"):
        Bundle.trained(bundle)


@pytest.mark.parametrize("text", ["perform organ3 segmentation", "$__import__('os').getpid()", "@seed"])
def test_a_text_is_answered_as_pgsam_predict_answers_it_and_then_forgotten(planned, text, tmp_path):
    served = Bundle(planned("refsam3d"))
    assert served.reads == "requests"
    classes = served.label_map(planned.image)
    (expected,) = predict(planned("refsam3d"), planned.image, tmp_path / "predicted", text=text)
    same_files(segment(served, planned.image, tmp_path / "served", text=text), expected)
    answer = served.label_map(planned.image, text=text)
    assert answer.label_names == {text: 1} and set(np.unique(answer.voxels)) <= {0, 1}
    assert served.network.request is None
    assert np.array_equal(served.label_map(planned.image).voxels, classes.voxels)


def test_different_texts_are_answered_differently(planned):
    served = Bundle(planned("refsam3d"))
    answers = [
        served.label_map(planned.image, text=text).voxels for text in ("organ3", "where is the liver?")
    ]
    assert not np.array_equal(*answers)


def test_exchanged_class_texts_change_the_prediction_for_one_request(planned, tmp_path):
    served = Bundle(planned("pgsam"))
    assert served.reads == "classes"
    own = served.class_texts
    exchanged = {"organ3": own["organ205"], "organ205": own["organ3"]}
    before = served.label_map(planned.image).voxels
    after = served.label_map(planned.image, texts=exchanged).voxels
    assert not np.array_equal(before, after)
    assert np.array_equal(served.label_map(planned.image).voxels, before)
    same = served.label_map(planned.image, texts={"organ3": own["organ3"]}).voxels
    assert np.array_equal(same, before)


def test_class_texts_count_as_those_of_the_bundles_file_would(own_copy, planned):
    import json

    bundle = own_copy("pgsam")
    texts = {"organ3": ["A bright ball.", "Round and bright."], "organ205": ["A thin tube."]}
    asked = Bundle(bundle).label_map(planned.image, texts=texts).voxels
    file = bundle / "configs/texts.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | texts))
    assert np.array_equal(Bundle(bundle).label_map(planned.image).voxels, asked)


def test_texts_are_encoded_once(planned, monkeypatch):
    served = Bundle(planned("pgsam"))
    served.load()
    clip, encoded = served.network.clip, []
    encode = clip.encode_text
    monkeypatch.setattr(clip, "encode_text", lambda tokens: encoded.append(len(tokens)) or encode(tokens))
    for _ in range(3):
        served.label_map(planned.image, texts={"organ3": ["A ball."]})
    assert encoded in ([1], [3, 1])  # the bundle's own may have been encoded while loading


def test_threads_get_the_answers_to_their_own_texts(planned):
    served = Bundle(planned("refsam3d"))
    texts = [None, "organ3", "the liver", "a tube"]
    alone = {text: served.label_map(planned.image, text=text).voxels for text in texts}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda text: (text, served.label_map(planned.image, text=text)), texts * 3))
    assert all(np.array_equal(answer.voxels, alone[text]) for text, answer in answers)


@pytest.mark.parametrize("network", ["samed", "pgsam", "refsam3d"])
def test_nothing_grows_from_request_to_request(planned, network, monkeypatch):
    kept = 3  # texts, where there are 32 else
    monkeypatch.setattr("pgsam_monai.networks.pgsam.other_texts.KEPT", kept)
    served = Bundle(planned(network))

    def ask(number):
        if network == "pgsam":
            served.label_map(planned.image, texts={"organ3": [f"A ball, {number}."]})
        elif network == "refsam3d":
            served.label_map(planned.image, text=f"organ {number}")
        else:
            served.label_map(planned.image)

    many = 2 * kept if served.reads else 3  # as many texts as are kept, and some more
    for number in range(many):
        ask(number)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(many, many + 15):
        ask(number)
    gc.collect()
    assert len(gc.get_objects()) - before < 30


def test_clicks_are_answered_by_the_same_network(planned):
    served = Bundle(planned("medsa"))
    assert served.capabilities.prompts and prompt_model(served).network is served.network
    assert dict(prompt_model(served).labels) == served.labels
    other = Bundle(planned("samed"))
    assert not other.capabilities.prompts
    with pytest.raises(ValueError, match="takes no clicks"):
        prompt_model(other)
    assert [Bundle(planned(name)).capabilities.prompts for name in NETWORKS].count(True) == 1


@pytest.mark.gpu
def test_a_request_may_be_computed_on_the_cpu_instead(planned):
    served = Bundle(planned("samed"), device="cuda")
    elsewhere = served.label_map(planned.image, device=torch.device("cpu"))
    assert np.array_equal(
        elsewhere.voxels, Bundle(planned("samed"), device="cpu").label_map(planned.image).voxels
    )
    assert next(served.network.parameters()).device.type == "cuda"


def test_a_config_is_read_once(planned, tmp_path, monkeypatch):
    from monai.bundle import ConfigParser

    opened, parsed, bundles = Counter(), Counter(), [planned("medsa"), planned("samed")]
    read_text, read_config = Path.read_text, ConfigParser.read_config

    def reading(self, *arguments, **options):
        opened[self.name] += 1
        return read_text(self, *arguments, **options)

    def parsing(self, files, **options):
        parsed.update(Path(file).name for file in files)
        return read_config(self, files, **options)

    monkeypatch.setattr(Path, "read_text", reading)
    monkeypatch.setattr(ConfigParser, "read_config", parsing)
    wishes = PromptWishes(box=(2, 5, 2, 5, 1, 1), label="organ3")
    predict_prompted(bundles[0], planned.image, tmp_path, wishes=wishes, overlays=True, html=True)
    assert parsed == {"inference.json": 1}
    assert (opened["plan.json"], opened["metadata.json"], opened["inference.json"]) == (1, 1, 1)
    predict(bundles[1], planned.image, tmp_path, overlays=True, html=True)
    assert parsed == {"inference.json": 2} and opened["plan.json"] == opened["metadata.json"] == 2


def test_a_bundle_of_an_older_version_is_to_be_written_again(own_copy, planned):
    """As the sentence says, and then it predicts."""
    from preprocess.commands.main import plan

    bundle = own_copy("samed")
    file = bundle / "configs/metadata.json"
    content = json.loads(file.read_text())
    del content[METADATA_KEY]
    file.write_text(json.dumps(content))
    said = (
        rf"planned by an older version; write it again with pgsam-plan --from_plan {bundle}/configs/plan.json"
    )
    for use in (lambda: predict(bundle, planned.image, bundle), lambda: check_training(bundle)):
        with pytest.raises(UserFault, match=said):
            use()
    folders = {"plans_dir": str(bundle.parent / "plans"), "bundles_dir": str(bundle.parent / "bundles")}
    plan(from_plan=str(bundle / "configs/plan.json"), **folders)
    (written,) = (bundle.parent / "bundles").iterdir()
    assert Bundle(written).capabilities.network == "samed"


def check_training(bundle):
    """As `pgsam train` does."""
    run_bundle("training", str(bundle), ["train.json"], {})


def test_overrides_of_nothing_are_faults(planned):
    with pytest.raises(UserFault, match="--epoch is no option here. Did you mean --epochs?"):
        Bundle(planned("samed"), configs=["train.json"], overrides={"epoch": 3})


def test_networks_are_asked_for_what_they_have(planned):
    bundle = Bundle(planned("samed"))
    with pytest.raises(UserFault, match="^Bundle '.*' has no guide maps: its network is SAMed; use a bundle"):
        bundle.require_guide_maps()
    with pytest.raises(UserFault, match="takes no clicks and no boxes: its network is SAMed"):
        export(str(planned("samed")), form="sam")
    with pytest.raises(UserFault, match="takes no text"):
        bundle.require_requests("liver")
    Bundle(planned("pgsam")).require_guide_maps()
    Bundle(planned("medsa")).require_prompts()


def test_texts_that_a_config_turns_off_are_not_read(own_copy):
    for network, switch in (("refsam3d", "text_prompt"), ("pgsam", "prior_aligner")):
        bundle = own_copy(network)
        file = bundle / "configs/inference.json"
        content = json.loads(file.read_text())
        content["network_def"][switch] = False
        file.write_text(json.dumps(content))
        assert Bundle(bundle).reads is None
        shutil.rmtree(bundle)


def test_an_answer_is_not_cleaned_as_a_class(own_copy):
    bundle = Bundle(own_copy("refsam3d"))
    kinds = [
        [type(step).__name__ for step in steps.transforms]
        for steps in (bundle.postprocessing, bundle.answering)
    ]
    assert kinds == [
        ["CleanClassesd", "Invertd", "RestoreLabelsd"],
        ["Invertd", "RestoreLabelsd"],
    ]
    assert [steps.transforms[-1].labels for steps in (bundle.postprocessing, bundle.answering)] == [
        ((0,), (3,), (205,)), ((0,), (1,)),
    ]  # fmt: skip


def test_a_network_is_called_what_its_plan_calls_it(planned):
    curve = make_curve(
        planned("dynunet_3d"), lambda splits, cases, seed: splits, cases=[1], seeds=[0], overrides={}
    )
    assert curve.network == "dynunet_3d"
    assert str(Run(curve=curve, cases=1, seed=0)) == "dynunet_3d, 1 case, seed 0"
