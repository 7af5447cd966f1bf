"""A vision model is shown plain slices of training cases, and only when asked for."""

import base64
import io
import json
import re

import numpy as np
import pytest
from chat_server import ChatServer, as_json, texts_of
from dataset_builders import write_nnunet
from PIL import Image
from tiny_bundle import plan_tiny

from pgsam_monai.base.errors import UserFault
from pgsam_monai.data.splits import FewSlices
from pgsam_monai.texts.describe import describe
from pgsam_monai.texts.endpoint import Endpoint
from pgsam_monai.texts.pictures import allowed_slices, choose_slices, place_of
from pgsam_monai.texts.wishes import ModelChoice, Wishes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    work = tmp_path_factory.mktemp("seen")
    bundle = plan_tiny(write_nnunet(work / "Dataset001_Pair", cases=5, shape=(40, 36, 6)), work)
    plan = json.loads((bundle / "configs/plan.json").read_text())
    plan["configurations"]["pgsam"] = {"clip_model": {"value": "hf-hub:someone/BiomedCLIP"}}
    (bundle / "configs/plan.json").write_text(json.dumps(plan))
    return bundle


@pytest.fixture
def names(bundle):
    names = json.loads((bundle / "configs/plan.json").read_text())["decisions"]["label_names"]["value"]
    (bundle / "configs/texts.json").write_text(json.dumps({name: f"The {name}." for name in names}))
    (bundle / "configs/texts_cache.json").unlink(missing_ok=True)
    return names


def numbered(server):
    """A new good text for each request."""
    return lambda request: as_json(f"Text number {len(server.requests)} says it is a smooth grey oval.")


def look(bundle, server, said, **wishes):
    choice = ModelChoice(endpoint=server.address, model="tiny")
    describe(bundle, choice, Wishes(**{"pictures": 3, **wishes}), say=said.append)


def test_each_slice_becomes_an_alternative_text(bundle, names):
    said = []
    with ChatServer() as server:
        server.plays = [numbered(server)] * 4
        look(bundle, server, said, pictures=2)
    assert len(server.requests) == 2 * (len(names) - 1) == 4
    texts = texts_of(bundle)
    assert texts[names[1]] == [f"Text number {n} says it is a smooth grey oval." for n in (1, 2)]
    assert texts[names[0]] == f"The {names[0]}." or texts[names[0]] == [f"The {names[0]}."]
    splits = json.loads((bundle / "configs/splits.json").read_text())
    training, validation = (splits["folds"][0][part] for part in ("training", "validation"))
    assert "the pixels of 4 slices of patients' scans" in said[0]
    assert any(f"{case} slice " in said[0] for case in training)
    assert not any(f"{case} slice " in said[0] for case in validation)


def test_requests_hold_plain_pictures_and_no_names(bundle, names):
    with ChatServer() as server:
        look(bundle, server, [], pictures=1, classes=(names[1],))
    (request,) = server.requests
    assert set(request) == {"model", "messages", "temperature", "seed", "max_tokens", "response_format"}
    (message,) = request["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "image_url"]
    kind, data = message["content"][1]["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    png = base64.b64decode(data, validate=True)
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert (picture.format, picture.mode, max(picture.size), picture.info) == ("PNG", "L", 512, {})
    grey = np.asarray(picture)
    left, right, top, bottom = [int(word) for word in re.findall(r"(\d+) % ", message["content"][0]["text"])][
        :4
    ]
    rows, columns = (
        slice(round(low / 100 * size), round(high / 100 * size))
        for (low, high), size in zip([(top, bottom), (left, right)], grey.shape, strict=True)
    )
    assert (
        np.median(grey[rows, columns]) > np.median(grey) + 50
    )  # the class is brighter, and where it is said
    chunks = {
        png[at : at + 4] for at in range(len(png)) if png[at : at + 4] in (b"tEXt", b"iTXt", b"zTXt", b"eXIf")
    }
    assert not chunks
    assert "% of the width from the left edge" in message["content"][0]["text"]
    splits = json.loads((bundle / "configs/splits.json").read_text())
    for secret in (*splits["cases"], "Dataset001", str(bundle), ".nii"):
        assert secret not in message["content"][0]["text"], secret


def test_pictures_leave_the_machine_only_with_leave(bundle, names, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Endpoint, "ask", lambda self, messages: asked.append(messages) or as_json("A grey oval organ on CT.")
    )
    choice = ModelChoice(endpoint="https://vision.example.org/v1", model="see")
    wishes = {"pictures": 1, "classes": (names[1],)}
    with pytest.raises(
        UserFault, match=r"pixels of 1 slices .*case_\d slice \d .* to vision.example.org; nothing"
    ):
        describe(bundle, choice, Wishes(**wishes), say=str)
    assert not asked
    describe(bundle, choice, Wishes(**wishes, send_to_remote=True), say=str)
    assert len(asked) == 1


def test_a_class_without_a_slice_is_named(bundle, names, monkeypatch):
    from pgsam_monai.texts import pictures

    monkeypatch.setattr(pictures, "choose_slices", lambda cases, value, count: [])
    with ChatServer() as server, pytest.raises(UserFault, match="no training slice of fold 0 shows it"):
        look(bundle, server, [], classes=(names[1],))
    assert not server.requests


def test_a_data_set_that_moved_is_told(bundle, names):
    with (
        ChatServer() as server,
        pytest.raises(UserFault, match="'/nowhere' is not there; .*--dataset_dir"),
    ):
        look(bundle, server, [], dataset_dir="/nowhere")


class Case:
    def __init__(self, name, slice_labels, mm=1.0):
        self.name, self.slice_labels, self.affine = name, slice_labels, np.diag([mm, mm, 5, 1])


def test_the_largest_slice_of_each_case_comes_first_and_few_shot_is_kept():
    small, large = Case("a", [{1: 5}, {1: 9}, {}, {1: 9}]), Case("b", [{1: 4}, {2: 3}], mm=2.0)
    cases = [(small, range(4)), (large, range(2)), (Case("c", [{2: 1}]), [0])]
    assert [(case.name, index) for case, index in choose_slices(cases, 1, 3)] == [("b", 0), ("a", 1)]
    assert [(case.name, index) for case, index in choose_slices([(small, [0, 2])], 1, 3)] == [("a", 0)]


def test_places_are_told_in_percent():
    inside = np.zeros((10, 20), bool)
    inside[2:4, 15:20] = True
    assert place_of(inside) == (
        "between 75 % and 100 % of the width from the left edge and between 20 % and 40 % of the height from the "
        "top, covering 5.0 % of the area"
    )


def test_only_slices_that_training_sees_are_shown():
    few = FewSlices(spec="slices:3", seed=0, count=3)
    drawn = few.draw(5)  # of a's slices 0, 1, 2 and b's 4, 5, in this order
    places = [("a", 0), ("a", 1), ("a", 2), ("b", 4), ("b", 5)]
    shown = allowed_slices(["a", "b"], [range(3), [4, 5]], few)
    assert [(case, index) for case, indices in shown for index in indices] == [places[n] for n in drawn]
    assert allowed_slices(["a", "b"], [range(2), []], None) == [("a", [0, 1])]
