"""A vision model is shown each case without its labels, and what it sees becomes the case's texts."""

import base64
import builtins
import io
import json
import shutil
import sys

import numpy as np
import pytest
from chat_server import ChatServer
from dataset_builders import write_nnunet
from PIL import Image
from tiny_bundle import plan_tiny

import pgsam_monai.commands.main as cli
from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts import pages
from pgsam_monai.texts.describe_cases import describe_cases
from pgsam_monai.texts.endpoint import Endpoint
from pgsam_monai.texts.wishes import ModelChoice, Wishes

DEPTH, TILE_PX, SIDE_PX = 6, 32, 64


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A bundle whose data set has lost all of its labels, and its class names."""
    work = tmp_path_factory.mktemp("cases")
    data = write_nnunet(work / "Dataset001_Pair", cases=5, shape=(40, 36, DEPTH))
    bundle = plan_tiny(data, work)
    shutil.rmtree(data / "labelsTr")
    plan = json.loads((bundle / "configs/plan.json").read_text())
    plan["configurations"]["pgsam"] = {"clip_model": {"value": "hf-hub:someone/BiomedCLIP"}}
    (bundle / "configs/plan.json").write_text(json.dumps(plan))
    names = plan["decisions"]["label_names"]["value"]
    (bundle / "configs/texts.json").write_text(json.dumps({name: f"The {name}." for name in names}))
    return bundle, data, names


@pytest.fixture
def bundle(planned, tmp_path):
    return shutil.copytree(planned[0], tmp_path / "bundle")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(pages, "TILE_PX", TILE_PX)
    monkeypatch.setattr(pages, "SIDE_PX", SIDE_PX)


@pytest.fixture
def names(planned):
    return planned[2]


def sees(*names):
    """A play that answers that these classes are seen, numbered by request."""

    def play(request):
        number = len(play.server.requests)
        return json.dumps({name: f"In picture {number} the {name} is an oval." for name in names})

    return play


def describe(bundle, server, *, plays=(), said=None, **options):
    for play in filter(callable, plays):
        play.server = server
    server.plays = list(plays)
    choice = ModelChoice(endpoint=server.address, model="tiny")
    given = {name: options.pop(name) for name in ("images", "output", "make_asker") if name in options}
    wishes = Wishes(**{"each": "case", **options})
    return describe_cases(
        bundle, choice, wishes, say=(said.append if said is not None else lambda line: None), **given
    )


def written(bundle):
    return json.loads((bundle / "configs/case_texts.json").read_text())


def cases_of(bundle):
    return list(json.loads((bundle / "configs/splits.json").read_text())["cases"])


def pictures_of(server):
    urls = [request["messages"][0]["content"][1]["image_url"]["url"] for request in server.requests]
    return [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) for url in urls]


def test_each_case_of_all_lists_gets_the_texts_of_what_is_seen(bundle, names):
    said = []
    with ChatServer() as server:
        file = describe(bundle, server, plays=[sees(names[1])] * 4 + [sees()], said=said)
    assert file == bundle / "configs/case_texts.json"
    cases = cases_of(bundle)
    expected = {
        case: {names[1]: f"In picture {number} the {names[1]} is an oval."}
        for number, case in enumerate(cases[:4], 1)
    }
    assert len(cases) == 5 and written(bundle) == expected  # the last shows nothing
    assert "5 requests to model 'tiny'" in said[0]
    assert "Sent: class names, modality, plane; and the pixels of 30 slices" in said[0]
    assert "5 of 5 pictures described, 4 texts" in said[-1]


def test_no_label_is_opened_shown_or_told(bundle, names, monkeypatch):
    opened, real = [], builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k)
    )

    def refuse(*_):
        raise AssertionError("a label was read")

    monkeypatch.setattr("pgsam_monai.transforms.read.read_classes", refuse)
    with ChatServer() as server:
        describe(bundle, server, plays=[sees(names[1])] * 5)
    assert not [file for file in opened if "labelsTr" in file]  # nor are there any
    assert not (bundle / "store").exists()
    for request in server.requests:
        (message,) = request["messages"]
        assert [part["type"] for part in message["content"]] == ["text", "image_url"]
        words = message["content"][0]["text"]
        assert f'"{names[1]}"' in words and "6 slices of one scan side by side" in words
        for secret in (*cases_of(bundle), "Dataset001", "%", ".nii", "Current text"):
            assert secret not in words, secret
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == names[1:]
    picture = pictures_of(server)[0]
    assert (picture.format, picture.mode, picture.info) == ("PNG", "L", {})
    assert picture.height == 2 * TILE_PX  # three columns, two rows


def test_each_slice_that_is_used_is_a_request(bundle, names):
    file = bundle / "configs/splits.json"
    splits = json.loads(file.read_text())
    first, second, third = list(splits["cases"])[:3]
    splits["cases"][first]["slices"] = [1, 4]
    splits["folds"] = [{"training": [first], "validation": [second]}]
    splits["test"] = [third]
    file.write_text(json.dumps(splits))
    with ChatServer() as server:
        describe(bundle, server, plays=[sees(names[1])] * (2 + 2 * DEPTH), each="slice")
    expected = [
        f"{first}/1",
        f"{first}/4",
        *(f"{case}/{n}" for case in (second, third) for n in range(DEPTH)),
    ]
    assert list(written(bundle)) == expected
    assert len(server.requests) == len(expected)
    words = server.requests[0]["messages"][0]["content"][0]["text"]
    assert "Picture: one slice." in words
    assert max(pictures_of(server)[0].size) == SIDE_PX


def test_slices_are_those_of_the_preprocessed_volume(bundle, names):
    """Slice n as it is shown is slice n of what the network sees."""
    from pgsam_monai.bundle import Bundle

    with ChatServer() as server:
        describe(bundle, server, plays=[sees()] * (5 * DEPTH), each="slice")
    (first, *_) = cases_of(bundle)
    files = json.loads((bundle / "configs/splits.json").read_text())["cases"][first]["image"]
    whole = Bundle(bundle)
    volume = (
        whole.preprocessing({"image": f"{whole.content('dataset_dir')}/{files}"})["image"].float().numpy()
    )
    grey = np.asarray(pictures_of(server)[2].resize(volume.shape[2:0:-1], Image.Resampling.BOX), float)
    likeness = [np.corrcoef(grey.ravel(), volume[0, ..., n].ravel())[0, 1] for n in range(DEPTH)]
    assert int(np.argmax(likeness)) == 2


def test_what_was_there_stays_beside_what_is_new(bundle, names):
    first, second, *_ = cases_of(bundle)
    before = {
        first: {names[1]: "An old sentence.", names[2]: "Another old sentence."},
        f"{second}/0": {names[1]: ["One of a slice.", "Two of a slice."]},
    }
    file = bundle / "configs/case_texts.json"
    file.write_text(json.dumps(before))
    with ChatServer() as server:
        describe(bundle, server, plays=[sees(names[1])] * 5, classes=(names[1],))
    after = written(bundle)
    assert after[first] == {
        names[1]: f"In picture 1 the {names[1]} is an oval.",
        names[2]: "Another old sentence.",
    }
    assert after[f"{second}/0"] == before[f"{second}/0"]
    assert json.loads((bundle / "configs/case_texts.json.bak").read_text()) == before
    with ChatServer() as server:
        describe(
            bundle, server, plays=[sees(names[1])] * 5, classes=(names[1],), instructions="Anew.", append=True
        )
    sentence = f"In picture 2 the {names[1]} is an oval."
    assert written(bundle)[second] == {names[1]: sentence}  # word for word what it was
    file.write_text(json.dumps(before))
    with ChatServer() as server:
        describe(bundle, server, plays=[sees()] * 5, classes=(names[1],), instructions="Again.")
    assert written(bundle)[first] == {names[2]: "Another old sentence."}  # no longer seen


def test_faults_are_told_to_the_model_and_then_to_the_user(bundle, names):
    good = json.dumps({names[1]: "It is an oval in the middle of the picture.", names[2]: None})
    plays = [
        json.dumps({"splen": "It is an oval in the middle of the picture."}), good,
        *[json.dumps({names[1]: "Oval."})] * 3, *[good] * 3,
    ]  # fmt: skip
    with ChatServer() as server:
        with pytest.raises(
            UserFault, match=rf"1 of 5 pictures have no new texts. '\w+': '{names[1]}': .*has 1 words"
        ):
            describe(bundle, server, plays=plays)
        complaint = server.requests[1]["messages"][-1]["content"]
        assert "'splen' is none of the structures" in complaint and names[1] in complaint
        cases = cases_of(bundle)
        assert list(written(bundle)) == [cases[0], *cases[2:]]
        said = []
        describe(bundle, server, plays=[good], said=said)
    assert "5 requests (4 answered before)" in said[0]
    assert set(written(bundle)) == set(cases)


def test_an_interrupted_run_asks_nothing_twice(bundle, names):
    class Interrupted(Endpoint):
        def ask(self, messages):
            if len(server.requests) == 2:
                raise KeyboardInterrupt
            return super().ask(messages)

    with ChatServer() as server:
        with pytest.raises(KeyboardInterrupt):
            describe(bundle, server, plays=[sees(names[1])] * 2,
                     make_asker=lambda choice: Interrupted(choice.endpoint, choice.model))  # fmt: skip
        assert not (bundle / "configs/case_texts.json").exists()
        said = []
        describe(bundle, server, plays=[sees(names[1])] * 3, said=said)
    assert "5 requests (2 answered before)" in said[0]
    assert len(server.requests) == 5 and len(written(bundle)) == 5
    cache = (bundle / "configs/texts_cache.json").read_text()
    assert not any(case in cache for case in cases_of(bundle))


def test_pictures_leave_the_machine_only_with_leave(bundle, names, monkeypatch):
    asked = []
    monkeypatch.setattr(Endpoint, "ask", lambda self, messages: asked.append(messages) or "{}")
    choice = ModelChoice(endpoint="https://vision.example.org/v1", model="see")
    with pytest.raises(
        UserFault, match=r"--each case would send the pixels of .* to vision.example.org; nothing was"
    ):
        describe_cases(bundle, choice, Wishes(each="case"), say=str)
    said = []
    assert describe_cases(bundle, choice, Wishes(each="case", dry_run=True), say=said.append) is None
    assert len(said) == 2 and ", ".join(cases_of(bundle)) in said[1]  # one wording
    assert not asked and not (bundle / "configs/case_texts.json").exists()
    describe_cases(bundle, choice, Wishes(each="case", send_to_remote=True), say=str)
    assert len(asked) == 5


def typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pgsam", "describe", *map(str, words)])
    cli.main()


def reads_texts(bundle):
    file = bundle / "configs/metadata.json"
    content = json.loads(file.read_text())
    content["pgsam_monai"]["texts"] = "classes"
    file.write_text(json.dumps(content))


def test_other_images_have_a_file_of_their_own(bundle, planned, names, tmp_path, monkeypatch):
    reads_texts(bundle)
    images = tmp_path / "new"
    images.mkdir()
    shutil.copy(planned[1] / "imagesTr/case_1_0000.nii.gz", images / "scan.nii.gz")
    output = tmp_path / "texts.json"
    (bundle / "configs/splits.json").unlink()  # which isn't needed for that
    with ChatServer(json.dumps({names[2]: "It is an oval in the middle of the picture."})) as server:
        typed(monkeypatch, bundle, "--endpoint", server.address, "--model", "tiny", "--each", "case",
              "--images", images, "--output", output)  # fmt: skip
    assert json.loads(output.read_text()) == {
        "scan": {names[2]: "It is an oval in the middle of the picture."}
    }
    assert not (bundle / "configs/case_texts.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--each", "case"], "reads no texts of its classes: --each case is for networks that do"),
        (["--per_image", "--images", "3"], "--per_image is called --pictures now"),
        (["--images", "3"], "--images FILE_OR_FOLDER goes with --each case; .* is --pictures"),
        (["--images", "a", "--each", "slice"], "goes with --each case"),
        (["--images", "a", "--each", "case"], "--output is the file .*; give both"),
        (["--output", "a", "--each", "case"], "--output is the file .*; give both"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(bundle, monkeypatch, words, said):
    with pytest.raises(SystemExit, match=said):
        typed(monkeypatch, bundle, "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", *words)


def test_an_image_that_can_not_be_read_is_named(bundle, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    images = [{"name": "broken", "image": str(tmp_path / "broken.nii.gz")}]
    with ChatServer() as server:
        with pytest.raises(UserFault, match="Case 'broken' can't be shown: .*broken.nii.gz"):
            describe(bundle, server, images=images, output=tmp_path / "texts.json")
        with pytest.raises(UserFault, match="'/nowhere' is not there; give its place as --dataset_dir"):
            describe(bundle, server, dataset_dir="/nowhere")
    assert not server.requests
