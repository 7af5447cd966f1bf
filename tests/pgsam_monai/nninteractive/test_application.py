"""Requests as the extension sends them, through the application; and such as it never sends."""

import json

import numpy as np
import pytest
from answering_network import draw_blocks, make_model
from slicer_client import SlicerClient, as_npy, form
from werkzeug.test import Client as WerkzeugClient

from pgsam_monai.base.memory import VARIABLE
from pgsam_monai.nninteractive import application as module
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.application import Application

IMAGE, LABEL = (array.transpose() for array in draw_blocks())  # (z, y, x)
LIVER, SPLEEN = [3, 8, 10], [4, 20, 28]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def application():
    model = make_model(names=["object"], values=[0, 1])
    return Application(Answering(model=model, corrector=model, label="object"))


def client_of(application, address="127.0.0.1", prefix="", **headers) -> SlicerClient:
    inner = WerkzeugClient(application)

    def post(path, body, more):
        answer = inner.post(
            path, data=body, headers={**more, **headers}, environ_overrides={"REMOTE_ADDR": address}
        )
        return answer.status_code, answer.headers, answer.data

    return SlicerClient(post, prefix)


@pytest.fixture
def client(application):
    return client_of(application)


@pytest.fixture
def opened(client):
    client.upload_image(IMAGE)
    return client


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_a_whole_session(client):
    assert client.upload_image(IMAGE) == {"status": "ok"}
    assert client.upload_segment(np.zeros(IMAGE.shape, bool)) == {"status": "ok"}
    found = client.point(LIVER)
    assert dice(found, LABEL == 3) > 0.8
    assert not client.point([3, 6, 6], positive=False)[3, 6, 6]
    client.upload_segment(np.zeros(IMAGE.shape, bool))
    np.testing.assert_array_equal(client.point(LIVER), found)
    client.upload_segment(LABEL == 7)
    np.testing.assert_array_equal(client.point(SPLEEN), LABEL == 7)
    client.upload_segment(np.zeros(IMAGE.shape, bool))
    assert dice(client.box([3, 2, 2], [3, 15, 22]), LABEL == 3) > 0.6
    client.upload_segment(np.zeros(IMAGE.shape, bool))
    mask = np.zeros(IMAGE.shape, np.uint8)
    mask[3, 4:14, 4:20] = 1
    assert dice(client.lasso(mask)[3], LABEL[3] == 3) > 0.8
    client.upload_segment(np.zeros(IMAGE.shape, bool))
    mask[3, :7] = mask[3, 11:] = 0
    assert dice(client.scribble(mask), LABEL == 3) > 0.8
    assert client.scribble(mask, positive=False).sum() < found.sum()


def test_clients_do_not_see_each_other(application):
    ours, theirs = client_of(application), client_of(application, "127.0.0.2")
    named = client_of(application, prefix="/anna")
    ours.upload_image(IMAGE)
    for other in (theirs, named):
        assert other.point(LIVER)["message"] == "No image uploaded"
        other.upload_image(IMAGE[:, ::-1].copy())
    first = ours.point(LIVER)
    theirs.point(SPLEEN), named.point([0, 0, 0])
    np.testing.assert_array_equal(ours.point(LIVER), first)


def test_a_server_that_was_started_again_goes_on_from_what_the_extension_has(application, opened):
    """It knows the words, sends image and segment again, and then what its user pointed at."""
    opened.point(LIVER)
    before = opened.point([3, 6, 6], positive=False)
    client = client_of(Application(application._answering))
    client.shape = IMAGE.shape
    for refused in (client.point(SPLEEN), client.upload_segment(before)):
        assert (refused["status"], refused["message"]) == ("error", "No image uploaded")
    assert client.upload_image(IMAGE) == client.upload_segment(before) == {"status": "ok"}
    after = client.point(SPLEEN)
    assert after[tuple(SPLEEN)] and after[tuple(LIVER)] and not after[3, 6, 6]


def test_a_refused_image_leaves_none(opened):
    """The extension thinks that it sent it; what it points at next is not the image before. It is not asked to send the
    image again, which it would do without end."""
    refused = opened.upload_image(np.full((2, 3, 4), np.nan))
    assert refused["status"] == "error" and refused["message"].startswith("The image has 24 NaN")
    said = opened.point([0, 0, 0])
    assert said["message"].startswith("The image was refused: The image has 24 NaN")
    assert opened.upload_segment(np.zeros((2, 3, 4), bool))["status"] == "error"
    assert opened.upload_image(IMAGE) == {"status": "ok"}
    assert opened.point(LIVER).any()


def test_what_the_user_can_mend_is_told_where_the_extension_shows_it(opened):
    for said in (
        opened.point([9, 0, 0]),
        opened.box([3, 2, 2], [3, 5, 5], positive=False),
        opened.upload_segment(np.zeros((2, 2, 2), bool)),
        opened.scribble(np.zeros(IMAGE.shape, np.uint8)),
        opened.upload_image(np.zeros((4, 4, 4, 3), np.uint8)),
    ):
        assert said["status"] == "error" and said["message"].endswith(".")


WRONG = {
    "no file": ("upload_image", *form(None, positive_click="True"), 400),
    "no form": ("upload_image", as_npy(IMAGE), {"Content-Type": "application/octet-stream"}, 400),
    "cut form": ("upload_image", form(as_npy(IMAGE))[0][:500], form(b"")[1], 400),
    "no array": ("upload_image", *form(b"GIF89a"), 400),
    "no mask": ("add_lasso_interaction", *form(b"\x1f\x8bdamaged", positive_click="True"), 400),
    "no side": ("add_scribble_interaction", *form(as_npy(LABEL == 3)), 422),
    "other side": ("add_scribble_interaction", *form(as_npy(LABEL == 3), positive_click="perhaps"), 422),
    "no JSON": ("add_point_interaction", b"voxel", JSON, 400),
    "a list": ("add_point_interaction", b"[1, 2]", JSON, 400),
    "deep JSON": ("add_point_interaction", b"[" * 90_000, JSON, 400),
    "no voxel": ("add_point_interaction", b'{"positive_click": true}', JSON, 422),
    "two numbers": ("add_point_interaction", b'{"voxel_coord": [1, 2], "positive_click": true}', JSON, 422),
    "words": ("add_point_interaction", b'{"voxel_coord": [1, 2, "3"], "positive_click": true}', JSON, 422),
    "NaN": ("add_point_interaction", b'{"voxel_coord": [1, 2, NaN], "positive_click": true}', JSON, 422),
    "large": ("add_point_interaction", b'{"voxel_coord": [1, 2, %s]}' % (b"9" * 400), JSON, 422),
    "no truth": ("add_point_interaction", b'{"voxel_coord": [1, 2, 3], "positive_click": 7}', JSON, 422),
    "long": ("add_point_interaction", b" " * 200_000, JSON, 413),
    "elsewhere": ("add_nothing", b"{}", JSON, 404),
    "too deep": ("a/b/add_point_interaction", b"{}", JSON, 404),
    "long name": ("a" * 65 + "/add_point_interaction", b"{}", JSON, 400),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_requests_get_a_sentence(opened, what):
    endpoint, body, headers, status = WRONG[what]
    got, got_headers, answer = opened.send(endpoint, body, headers)
    said = json.loads(answer)
    assert got == status and said["status"] == "error" and said["message"].endswith("."), said
    assert "Traceback" not in said["message"] and len(said["message"]) <= 400
    assert opened.upload_image(IMAGE) == {"status": "ok"}


def test_a_body_is_limited_before_it_is_read(opened, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.0001")
    status, sentence = opened.upload_image(np.random.default_rng(0).random((40, 40, 40)))
    assert status == 413 and "--max_gb" in sentence
    assert opened.point(LIVER)["message"].startswith("The image was refused: ")


def test_an_array_without_its_type_is_told_what_it_lacks(opened):
    status, _, answer = opened.send("upload_image", b" " * 200_000, {"Content-Type": "image/png"})
    assert (
        status == 413 and "multipart/form-data or application/octet-stream" in json.loads(answer)["message"]
    )
    assert "anything else 100 kB" in json.loads(answer)["message"]


def test_other_methods_and_the_home_page(application):
    inner = WerkzeugClient(application)
    assert inner.get("/add_point_interaction").status_code == 405
    assert inner.get("/").json == {"status": "ok", "answers": "The network"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "localhost:1527"}, 200),
        ({"Host": "[::1]:1527", "Origin": "http://127.0.0.1:8000"}, 200),
    ],
)
def test_pages_of_strangers_are_refused(application, headers, status):
    client = client_of(application, **headers)
    answer = client.send("add_point_interaction", b'{"voxel_coord": [0, 0, 0], "positive_click": true}', JSON)
    assert answer[0] == status


def test_a_server_with_other_names_has_them(application):
    open_to_all = Application(application._answering, only_loopback=False)
    assert (
        client_of(open_to_all, Host="server.example:1527").point([0, 0, 0])["message"] == "No image uploaded"
    )


def test_a_fault_of_ours_is_logged_and_not_shown(opened, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("inner words")

    monkeypatch.setattr(module.PointingSession, "add_point", broken)
    status, sentence = opened.point(LIVER)
    assert status == 500 and "inner words" not in sentence and "inner words" in caplog.text
    monkeypatch.undo()
    assert opened.point(LIVER).any()


def test_too_many_at_once_are_told_to_come_again(application, client):
    for _ in range(module.MOST_UNDER_WAY):
        application._room.acquire()
    assert client.point(LIVER)[0] == 503
    application._room.release()
    assert client.point(LIVER)["message"] == "No image uploaded"
