"""Version 2: requests as nnInteractive's client sends them, and, where it is installed, that client itself."""

import json
import threading

import numpy as np
import pytest
from answering_network import draw_blocks
from werkzeug.test import Client as WerkzeugClient

from pgsam_monai.nninteractive.application import Application
from pgsam_monai.nninteractive.blosc import pack, unpack
from pgsam_monai.nninteractive.leases import LEASE, META
from pgsam_monai.nninteractive.serving import make_click_server
from pgsam_monai.nninteractive.session import PointingSession

IMAGE, LABEL = (array.transpose() for array in draw_blocks())  # (z, y, x)
LIVER, SPLEEN = [3, 8, 10], [4, 20, 28]


@pytest.fixture
def application(answering):
    return Application(answering)


class Client:
    """With a mask of its own, of which it is told what changed."""

    def __init__(self, application):
        self._inner = WerkzeugClient(application)
        self._headers = {LEASE: self._inner.post("/claim").json["lease_token"]}
        self.mask = None

    def ask(self, endpoint, array=None, **said):
        """JSON, with its status if that isn't 200; or the mask."""
        words = json.dumps(said)
        headers = self._headers | ({"Content-Type": "application/json"} if array is None else {META: words})
        body = words if array is None else pack(array)
        kind = None if array is None else "application/octet-stream"
        answer = self._inner.post(f"/{endpoint}", data=body, headers=headers, content_type=kind)
        if META not in answer.headers:
            return (
                answer.json
                if answer.status_code == 200
                else (answer.status_code, answer.json["detail"], answer)
            )
        meta = json.loads(answer.headers[META])
        if meta["bbox"] is not None:
            place = tuple(slice(*ends) for ends in meta["bbox"])
            self.mask[place] = unpack(answer.data)
        return meta["ran_prediction"]

    def begin(self, image, spacing=(1.0, 1.0, 1.0)):
        found = self.ask("set_image", image[None], image_properties={"spacing": list(spacing)})
        assert found == {"original_image_shape": [1, *image.shape]}
        self.mask = np.zeros(image.shape, bool)
        assert self.ask("set_target_buffer", shape=list(image.shape), dtype="uint8") == {}
        return self

    def point(self, voxel, positive=True, **more):
        return self.ask("add_point_interaction", coordinates=voxel, include_interaction=positive, **more)


@pytest.fixture
def client(application):
    return Client(application).begin(IMAGE)


def in_python(answering, *steps, spacing=(1.0, 1.0, 1.0)):
    session = PointingSession(answering, IMAGE, spacing)
    return [getattr(session, name)(*arguments) for name, *arguments in steps][-1]


def test_points_change_the_clients_mask(client, answering):
    assert client.point(LIVER)
    np.testing.assert_array_equal(client.mask, in_python(answering, ("add_point", LIVER, True)))
    client.point([3, 6, 6], positive=False)
    both = in_python(answering, ("add_point", LIVER, True), ("add_point", [3, 6, 6], False))
    np.testing.assert_array_equal(client.mask, both)


def test_the_spacing_that_is_sent_counts(application, answering):
    thick = Client(application).begin(IMAGE, (9.0, 1.0, 1.0))
    thick.point(LIVER), thick.point([3, 6, 6], positive=False)
    steps = ("add_point", LIVER, True), ("add_point", [3, 6, 6], False)
    np.testing.assert_array_equal(thick.mask, in_python(answering, *steps, spacing=(9.0, 1.0, 1.0)))
    assert (thick.mask != in_python(answering, *steps)).any()


def test_boxes_are_half_open(client, answering):
    assert client.ask(
        "add_bbox_interaction", bbox_coords=[[3, 4], [2, 16], [2, 23]], include_interaction=True
    )
    np.testing.assert_array_equal(
        client.mask, in_python(answering, ("add_box", (3, 2, 2), (3, 15, 22), True))
    )


@pytest.mark.parametrize("kind", ["lasso", "scribble"])
def test_masks_come_whole_or_cropped(application, answering, kind):
    mask = np.zeros(IMAGE.shape, np.uint8)
    mask[3, 6:11, 5:18] = 1
    whole, cropped = (Client(application).begin(IMAGE) for _ in range(2))
    whole.ask(f"add_{kind}_interaction", mask, include_interaction=True, interaction_bbox=None)
    cropped.ask(
        f"add_{kind}_interaction", mask[3:4, 5:, 2:30], include_interaction=True,
        interaction_bbox=[[3, 4], [5, 32], [2, 30]],
    )  # fmt: skip
    expected = in_python(answering, (f"add_{kind}", mask > 0, True))
    for found in (whole, cropped):
        np.testing.assert_array_equal(found.mask, expected)


def test_a_segment_is_what_clicks_correct(client):
    client.mask[:] = LABEL == 7  # as the client does by itself
    assert client.ask("add_initial_seg_interaction", LABEL == 7, run_prediction=False) is False
    client.point(LIVER)
    assert (client.mask & (LABEL == 7)).sum() == (LABEL == 7).sum() and client.mask[tuple(LIVER)]
    client.mask[:] = False
    assert client.ask("reset_interactions") == {}
    client.point(LIVER)
    assert not (client.mask & (LABEL == 7)).any()


def test_undo_takes_prompts_back(client):
    client.point(LIVER)
    first = client.mask.copy()
    client.ask("add_bbox_interaction", bbox_coords=[[4, 5], [14, 28], [24, 34]], include_interaction=True)
    assert (client.mask != first).any()
    assert client.ask("undo") is True
    np.testing.assert_array_equal(client.mask, first)
    assert client.ask("undo") is True and not client.mask.any()
    assert client.ask("undo") is False


def test_an_answer_may_be_asked_for_later(client, answering):
    assert client.point(LIVER, run_prediction=False) is False and not client.mask.any()
    assert client.ask("predict", force_full_refine=False) is True
    np.testing.assert_array_equal(client.mask, in_python(answering, ("add_point", LIVER, True)))


def test_clients_do_not_see_each_other(application, client):
    other = Client(application).begin(IMAGE[:, ::-1].copy())
    client.point(LIVER)
    before = client.mask.copy()
    other.point(SPLEEN)
    client.point(LIVER)
    np.testing.assert_array_equal(client.mask, before)


def test_a_lease_that_is_gone_is_told(application, client):
    assert client.ask("heartbeat")["remaining_seconds"] > 0
    assert client.ask("release") == {"released": True}
    for endpoint in ("heartbeat", "reset_interactions"):
        status, sentence, _ = client.ask(endpoint)
        assert status == 410 and "Initialize again" in sentence
    assert WerkzeugClient(application).post("/set_image").status_code == 410


def test_a_server_that_was_started_again_goes_on_from_the_clients_segment(answering, client):
    client.point(LIVER), client.point([3, 6, 6], positive=False)
    before = client.mask.copy()
    client._inner = WerkzeugClient(Application(answering))
    status, sentence, _ = client.point(SPLEEN)
    assert status == 410 and "started again" in sentence and "Initialize again" in sentence
    again = Client(client._inner.application).begin(IMAGE)
    again.mask[:] = before  # as the extension does by itself
    assert again.ask("add_initial_seg_interaction", before.astype(np.uint8), run_prediction=False) is False
    again.point(SPLEEN)
    steps = ("show", before), ("add_point", SPLEEN, True)
    np.testing.assert_array_equal(again.mask, in_python(answering, *steps))
    assert again.mask[tuple(SPLEEN)] and again.mask[tuple(LIVER)] and not again.mask[3, 6, 6]


def test_what_is_wrong_stands_behind_the_status(client):
    for wrong, status, words in (
        (client.point([9, 0, 0]), 422, "lies outside the image"),
        (client.point([1, 2]), 422, "three whole numbers"),
        (client.ask("add_point_interaction", coordinates=LIVER), 422, "include_interaction takes true or false"),
        (client.ask("add_bbox_interaction", bbox_coords=[[1, 2]], include_interaction=True), 422, "three pairs"),
        (client.ask("add_bbox_interaction", bbox_coords=[[3, 4], [2, 9], [2, 9]], include_interaction=False), 422,
         "use points"),
        (client.ask("add_lasso_interaction", IMAGE[0], include_interaction=True), 422, "has shape (32, 40)"),
        (client.ask("add_lasso_interaction", IMAGE, include_interaction=True,
                    interaction_bbox=[[0, 1], [0, 1], [0, 1]]), 422, "doesn't fit"),
        (client.ask("set_image", IMAGE[None], image_properties={"spacing": [0, 1, 1]}), 422, "above 0"),
        (client.ask("set_image", np.zeros((3, 2, 2, 2))), 422, "one channel"),
        (client.point(LIVER), 409, "no image yet"),
    ):  # fmt: skip
        got, sentence, answer = wrong
        assert got == status and words in sentence and answer.status == f"{status} {sentence}"


def test_what_is_no_array_is_refused(client):
    answer = client._inner.post(
        "/set_image", data=b"\x80\x04pickle", headers=client._headers, content_type="application/octet-stream"
    )
    assert answer.status_code == 400 and "no array" in answer.json["detail"]


def test_nninteractives_own_client(answering):
    """What the extension of 3D Slicer uses: pip install nninteractive-client."""
    remote = pytest.importorskip("nnInteractive.inference.remote")
    with make_click_server(answering, port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with remote.nnInteractiveRemoteInferenceSession(f"http://127.0.0.1:{server.server_port}") as session:
            session.set_image(np.ascontiguousarray(IMAGE[None]), {"spacing": [1.0, 1.0, 1.0]})
            mask = np.zeros(IMAGE.shape, np.uint8)
            session.set_target_buffer(mask)
            session.add_point_interaction(LIVER, include_interaction=True)
            np.testing.assert_array_equal(mask > 0, in_python(answering, ("add_point", LIVER, True)))
            assert session.ping() and session.undo() and not mask.any()
            server.app = Application(answering)  # which knows no lease, as after a restart
            with pytest.raises(remote.SessionExpiredError, match="started again"):
                session.add_point_interaction(LIVER, include_interaction=True)
        server.shutdown()
