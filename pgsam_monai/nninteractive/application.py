"""The requests of the protocol, as a WSGI application: version 1 here, version 2 in `leases`.

    upload_image            form: file (.npy)                       {"status": "ok"}
    upload_segment          form: file (.npy, gzipped)              {"status": "ok"}
    add_point_interaction   JSON: voxel_coord, positive_click       packed mask
    add_bbox_interaction    JSON: outer_point_one, outer_point_two, positive_click
    add_lasso_interaction   form: file (.npy, gzipped), positive_click
    add_scribble_interaction    likewise

Arrays and voxels are in the order (z, y, x); masks come back one bit a voxel (`arrays.packed`), with the header
Content-Encoding: gzip. Forms arrive with that header too, though only the file in them is gzipped: it is not heeded.

The extension shows its user a sentence only where it comes with the status 200, as {"status": "error", "message": …};
of any other status it shows the number. So what a user can mend, such as a point outside the image, is told with 200;
what no extension would send gets 400 to 499, with the same JSON. To "No image uploaded" the extension answers by
sending image and segment, and asks again, without end: where its image was refused, it is told that instead.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from pgsam_monai.base.addresses import is_loopback_url
from pgsam_monai.base.errors import UserFault, system_sentence
from pgsam_monai.base.memory import limit_bytes
from pgsam_monai.label.faults import LONGEST, RequestFault, cut, sendable, short
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.arrays import packed, read_image, read_mask
from pgsam_monai.nninteractive.fields import json_object, voxel_of
from pgsam_monai.nninteractive.leases import Leases, is_leased
from pgsam_monai.nninteractive.session import PointingSession
from pgsam_monai.nninteractive.sessions import Client, Held, Sessions

logger = logging.getLogger(__name__)

NO_IMAGE = "No image uploaded"
"""The extension knows these words, and sends image and segment again."""
HEAD_BYTES, JSON_BYTES = 100_000, 100_000
"""of a form beside its file; of a request without a file"""
WITH_ARRAYS = ("multipart/form-data", "application/octet-stream")
LONGEST_NAME = 64
"""characters of a client's name"""
MOST_UNDER_WAY = 16
"""requests; more are told to come again"""
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Application:
    """Answers clients by one network; what goes wrong is told, and nothing ends the server."""

    def __init__(self, answering: Answering, *, only_loopback: bool = True) -> None:
        """`only_loopback`: it is reached from this machine alone, so that it has no other name."""
        self._answering, self._only_loopback = answering, only_loopback
        self._sessions = Sessions()
        self._leases = Leases(answering, self._sessions)
        self._room = threading.BoundedSemaphore(MOST_UNDER_WAY)
        self._prompts: dict[str, Callable[[PointingSession, Request], np.ndarray]] = {
            "add_point_interaction": _point,
            "add_bbox_interaction": _box,
            "add_lasso_interaction": _lasso,
            "add_scribble_interaction": _scribble,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        with Request(environ) as request:  # whose files go at the end
            return self.answer(request)(environ, start_response)

    def answer(self, request: Request) -> Response:
        """What a request gets, whatever it is."""
        if not self._room.acquire(blocking=False):
            return _told(503, f"{MOST_UNDER_WAY} requests are under way already; ask again in a minute.")
        try:
            return self._answer(request)
        except Exception as fault:
            status, sentence = _status_and_sentence(fault)
            if status == 200 and is_leased(request, request.path.rpartition("/")[2]):
                status = 422
            logger.log(logging.ERROR if status == 500 else logging.INFO, "%s: %s", request.path, sentence,
                       exc_info=fault if status == 500 else None)  # fmt: skip
            return _told(status, sentence)
        finally:
            self._room.release()

    def _answer(self, request: Request) -> Response:
        self._refuse_strangers(request)
        *names, endpoint = request.path.strip("/").split("/")
        client = Client(request.remote_addr or "", "/".join(names))
        if not names and not endpoint:
            return _json({"status": "ok", "answers": self._answering.model.source})
        if is_leased(request, endpoint):
            _limit(request)
            return self._leases.answer(request, endpoint)
        if endpoint not in (*self._prompts, "upload_image", "upload_segment") or len(names) > 1:
            raise RequestFault(f"There is no {short(request.path)} here.", status=404)
        if len(client.name) > LONGEST_NAME:
            raise RequestFault(f"A name has at most {LONGEST_NAME} characters.")
        if request.method != "POST":
            raise RequestFault(f"{endpoint} takes POST.", status=405)
        _limit(request)
        if endpoint == "upload_image":
            return self._take_image(request, client)
        held = self._sessions.known(client) or Held()
        with held.lock:
            return self._go_on(endpoint, request, held)

    def _take_image(self, request: Request, client: Client) -> Response:
        held = self._sessions.opened(client)
        with held.lock:
            # whatever becomes of the new image, nobody points at the old one any more
            held.session, held.refusal = None, None
            try:
                held.session = PointingSession(self._answering, read_image(_file(request)))
            except Exception as fault:
                held.refusal = _status_and_sentence(fault)[1]
                raise
        return _json({"status": "ok"})

    def _go_on(self, endpoint: str, request: Request, held: Held) -> Response:
        if held.session is None:
            raise UserFault(NO_IMAGE if held.refusal is None else f"The image was refused: {held.refusal}")
        if endpoint == "upload_segment":
            held.session.show(_mask(held.session, request))
            return _json({"status": "ok"})
        mask = self._prompts[endpoint](held.session, request)
        return Response(
            packed(mask), mimetype="application/octet-stream", headers={"Content-Encoding": "gzip"}
        )

    def _refuse_strangers(self, request: Request) -> None:
        """Any page that is open in a browser here can ask a server on loopback, if only by a name that is made to
        mean 127.0.0.1; the extension, which is no page, sends no Origin."""
        origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
        if origin is not None and not is_loopback_url(origin):
            raise RequestFault(f"Pages from {short(origin)} may not ask this server.", status=403)
        if self._only_loopback and host and not is_loopback_url(f"http://{host}"):
            raise RequestFault(
                f"This server is not called {short(host)}; ask for it as 127.0.0.1.", status=403
            )


def _point(session: PointingSession, request: Request) -> np.ndarray:
    said = _said(request)
    return session.add_point(_voxel(said, "voxel_coord"), _is_positive(said))


def _box(session: PointingSession, request: Request) -> np.ndarray:
    said = _said(request)
    corners = (_voxel(said, "outer_point_one"), _voxel(said, "outer_point_two"))
    return session.add_box(*corners, _is_positive(said))


def _lasso(session: PointingSession, request: Request) -> np.ndarray:
    return session.add_lasso(_mask(session, request), _is_positive(request.form))


def _scribble(session: PointingSession, request: Request) -> np.ndarray:
    return session.add_scribble(_mask(session, request), _is_positive(request.form))


def _limit(request: Request) -> None:
    """Before anything of the body is read, how much of it may come."""
    most = limit_bytes() + HEAD_BYTES if request.mimetype in WITH_ARRAYS else JSON_BYTES
    request.max_content_length = None if math.isinf(most) else int(most)
    request.max_form_parts = 10


def _file(request: Request):
    """The stream of the form's file."""
    if "file" not in request.files:
        raise RequestFault("The form has no file; send the array as 'file', multipart/form-data.")
    return request.files["file"].stream


def _mask(session: PointingSession, request: Request) -> np.ndarray:
    return read_mask(_file(request), session.shape)


def _said(request: Request) -> dict[str, Any]:
    return json_object(request.get_data())


def _voxel(said: dict[str, Any], name: str) -> tuple[int, int, int]:
    return voxel_of(said.get(name), name)


def _is_positive(said: Any) -> bool:
    """Of JSON, a truth; of a form, its word."""
    given = said.get("positive_click")
    truth = given if isinstance(given, bool) else TRUTHS.get(str(given).lower())
    if truth is None:
        raise RequestFault(f"positive_click takes true or false, got {short(given)}.", status=422)
    return truth


def _status_and_sentence(fault: Exception) -> tuple[int, str]:
    """How a fault is told; 500 is a fault of ours."""
    if isinstance(fault, RequestFault):
        return fault.status, str(fault)
    if isinstance(fault, UserFault):
        return 200, str(fault)
    if isinstance(fault, HTTPException):
        return fault.code or 400, f"{fault.name}{_limits() if fault.code == 413 else ''}."
    sentence = system_sentence(fault)
    if sentence is not None:
        return 503, sentence
    return 500, f"{type(fault).__name__}: this is a fault of pgsam-monai; see the server's log."


def _limits() -> str:
    arrays, others = f"{limit_bytes() / 1e9:.2g} GB (--max_gb)", f"{JSON_BYTES // 1000} kB"
    return f"; what is sent as {' or '.join(WITH_ARRAYS)} may have {arrays}, anything else {others}"


def _told(status: int, sentence: str) -> Response:
    """In the words of both versions, the second of which has its users read what stands behind the status."""
    said = sendable(cut(sentence, LONGEST))
    phrase = "".join(sign if " " <= sign <= "~" else "?" for sign in said) if status != 200 else "OK"
    return _json({"status": "error", "message": said, "detail": said}, f"{status} {phrase}")


def _json(content: dict[str, Any], status: str = "200 OK") -> Response:
    return Response(json.dumps(content), status=status, mimetype="application/json")
