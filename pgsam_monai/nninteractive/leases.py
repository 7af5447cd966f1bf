"""The requests of nnInteractive's client since its version 2, which the extension of today sends.

    claim                       {"lease_token": …}, which every later request has in the header X-Lease-Token
    capabilities                what can be asked; healthz, heartbeat, lease_status, release as they say
    set_image                   array (1, z, y, x); X-Meta: {"image_properties": {"spacing": [z, y, x]}}
    set_target_buffer, reset_interactions, set_do_autozoom, undo, predict       JSON
    add_initial_seg_interaction array; what is shown from then on
    add_point_interaction       JSON: coordinates, include_interaction
    add_bbox_interaction        JSON: bbox_coords, a half-open interval for each axis, include_interaction
    add_scribble_interaction, add_lasso_interaction     array; X-Meta: include_interaction, interaction_bbox if cropped

Arrays are packed as in `blosc`. The client keeps the mask itself, and is answered what changed in it: the voxels of a
region, and in X-Meta which. It shows its user no body of a refusal, but the phrase behind the status: sentences are
told there, too.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from werkzeug.wrappers import Request, Response

from pgsam_monai.base.errors import UserFault
from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.arrays import DRAWN, extent, require_finite
from pgsam_monai.nninteractive.blosc import pack, unpack
from pgsam_monai.nninteractive.fields import json_object, voxel_of
from pgsam_monai.nninteractive.session import PointingSession
from pgsam_monai.nninteractive.sessions import Client, Held, Sessions

META, LEASE = "X-Meta", "X-Lease-Token"
WITHOUT_LEASE = ("healthz", "capabilities", "claim", "release")
STEPS = (
    "set_image", "set_target_buffer", "reset_interactions", "set_do_autozoom", "undo", "predict", "heartbeat",
    "lease_status", "add_initial_seg_interaction",
)  # fmt: skip
"""The requests whose names tell the version, beside `WITHOUT_LEASE`."""
ALIVE_S, IDLE_S = 60, 86_400
"""Clients tell twice in the first time that they live. None is closed for its age, but for others, see `Sessions`."""
GONE = "This session is gone: the server was started again, or others needed its room. Initialize again."


def is_leased(request: Request, endpoint: str) -> bool:
    """Whether this version of the protocol is meant; both have requests of the same names."""
    return LEASE in request.headers or endpoint in WITHOUT_LEASE or endpoint in STEPS


class Leases:
    """Answers these requests; the sessions are those of all clients."""

    def __init__(self, answering: Answering, sessions: Sessions) -> None:
        self._answering, self._sessions = answering, sessions
        self._prompts: dict[str, Callable[[PointingSession, Request], np.ndarray]] = {
            "add_point_interaction": _point,
            "add_bbox_interaction": _box,
            "add_scribble_interaction": lambda s, r: s.add_scribble(*_drawn(s, r)),
            "add_lasso_interaction": lambda s, r: s.add_lasso(*_drawn(s, r)),
        }

    def answer(self, request: Request, endpoint: str) -> Response:
        """
        Raises:
            RequestFault: the request is malformed, or its lease unknown (410).
            UserFault: what is asked can't be.
        """
        client = Client("lease", request.headers.get(LEASE, ""))
        if endpoint in WITHOUT_LEASE:
            return self._without_lease(endpoint, client)
        held = self._sessions.known(client)
        if held is None:
            raise RequestFault(GONE, status=410)
        if endpoint in ("heartbeat", "lease_status"):
            return _json({"remaining_seconds": IDLE_S, "idle_timeout_seconds": IDLE_S})
        with held.lock:
            return self._under_lease(endpoint, request, held)

    def _without_lease(self, endpoint: str, client: Client) -> Response:
        if endpoint == "claim":
            token = uuid.uuid4().hex
            self._sessions.opened(Client("lease", token))
            return _json(
                {"lease_token": token, "idle_timeout_seconds": IDLE_S, "liveness_timeout_seconds": ALIVE_S}
            )
        if endpoint == "release":
            self._sessions.close(client)
            return _json({"released": True})
        return _json(CAPABILITIES if endpoint == "capabilities" else {"ok": True})

    def _under_lease(self, endpoint: str, request: Request, held: Held) -> Response:
        if endpoint == "set_image":
            held.session = held.sent = None
            image, spacing = _image(request)
            held.session, held.sent = (
                PointingSession(self._answering, image, spacing),
                np.zeros(image.shape, bool),
            )
            return _json({"original_image_shape": [1, *image.shape]})
        if endpoint == "set_do_autozoom":  # the network sees whole slices
            return _json({})
        session = held.session
        if session is None:
            raise RequestFault("There is no image yet; send set_image first.", status=409)
        if endpoint in ("set_target_buffer", "reset_interactions", "add_initial_seg_interaction"):
            seed = endpoint == "add_initial_seg_interaction"
            held.sent = _whole(session, request) if seed else np.zeros(session.shape, bool)
            session.show(held.sent)
            return _changes(None, held) if seed else _json({})
        if endpoint == "undo":
            return _changes(session.undo(), held)
        if endpoint == "predict":
            return _changes(session.shown(), held)
        if endpoint not in self._prompts:
            raise RequestFault(f"There is no {short(request.path)} here.", status=404)
        mask = self._prompts[endpoint](session, request)
        return _changes(mask if _said(request).get("run_prediction", True) else None, held)


CAPABILITIES = {
    "supported_interactions": {"points": True, "bbox2d": True, "bbox3d": True, "scribble": True, "lasso": True},
    "channel_mapping": {}, "num_interaction_channels": 0, "supports_initial_label": True,
    "supports_zero_shot_label_refinement": False, "preferred_scribble_thickness": [3, 3, 3], "interaction_decay": 1.0,
    "do_autozoom": False, "inference_session_version": 2, "supports_undo": True,
}  # fmt: skip


def _image(request: Request) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """(z, y, x), and mm along z, y and x where they are said."""
    image = unpack(request.get_data())
    if image.ndim != 4 or image.shape[0] != 1:
        raise UserFault(
            f"An image has one channel (1, z, y, x), this one shape {image.shape}; colours aren't taken."
        )
    require_finite(image)
    properties = _said(request).get("image_properties")
    spacing = properties.get("spacing") if isinstance(properties, dict) else None
    if spacing is None:
        return image[0], None
    is_right = (
        isinstance(spacing, list) and len(spacing) == 3 and all(isinstance(mm, int | float) for mm in spacing)
    )
    if not is_right or not all(0 < mm < np.inf for mm in spacing):
        raise RequestFault(f"spacing takes three numbers above 0, got {short(spacing)}.", status=422)
    return image[0], tuple(map(float, spacing))


def _said(request: Request) -> dict[str, Any]:
    """What a request says beside its array, if it has one."""
    text = request.headers.get(META)
    return json_object(request.get_data() if text is None else text)


def _point(session: PointingSession, request: Request) -> np.ndarray:
    said = _said(request)
    return session.add_point(voxel_of(said.get("coordinates"), "coordinates"), _is_included(said))


def _box(session: PointingSession, request: Request) -> np.ndarray:
    said = _said(request)
    first, end = _corners(said.get("bbox_coords"), "bbox_coords")
    return session.add_box(
        first, [max(low, high - 1) for low, high in zip(first, end, strict=True)], _is_included(said)
    )


def _drawn(session: PointingSession, request: Request) -> tuple[np.ndarray, bool]:
    """(z, y, x) of bool of what was drawn, and whether the structure is there."""
    said = _said(request)
    if said.get("interaction_bbox") is None:
        return _whole(session, request), _is_included(said)
    first, end = _corners(said["interaction_bbox"], "interaction_bbox")
    part, mask = unpack(request.get_data()), np.zeros(session.shape, bool)
    place = tuple(slice(low, high) for low, high in zip(first, end, strict=True))
    if min(first) < 0 or mask[place].shape != part.shape:
        raise RequestFault(
            f"An array of shape {part.shape} doesn't fit {short(said['interaction_bbox'])}.", status=422
        )
    mask[place] = part == DRAWN
    return mask, _is_included(said)


def _whole(session: PointingSession, request: Request) -> np.ndarray:
    """A mask (z, y, x) of bool, of the image's shape."""
    mask = unpack(request.get_data())
    if mask.shape != session.shape:
        raise UserFault(f"The mask has shape {mask.shape}, the image {session.shape}; send the image again.")
    return mask == DRAWN


def _corners(given: Any, name: str) -> tuple[Sequence[int], Sequence[int]]:
    """First voxels and ends of three intervals."""
    if (
        not isinstance(given, list)
        or len(given) != 3
        or any(not isinstance(e, list) or len(e) != 2 for e in given)
    ):
        raise RequestFault(f"{name} takes three pairs of whole numbers, got {short(given)}.", status=422)
    return tuple(voxel_of([min(ends) if side == 0 else max(ends) for ends in given], name) for side in (0, 1))


def _is_included(said: dict[str, Any]) -> bool:
    given = said.get("include_interaction")
    if not isinstance(given, bool):
        raise RequestFault(f"include_interaction takes true or false, got {short(given)}.", status=422)
    return given


def _changes(mask: np.ndarray | None, held: Held) -> Response:
    """What a mask (z, y, x) has otherwise than the client's; None: it isn't told."""
    body, meta = b"", {"ran_prediction": mask is not None, "bbox": None}
    if mask is not None and (changed := mask != held.sent).any():
        ends = extent(changed)
        part = mask[tuple(slice(first, last + 1) for first, last in ends)].astype(np.uint8)
        body, held.sent = pack(part), mask
        meta |= {
            "bbox": [[first, last + 1] for first, last in ends],
            "dtype": "uint8",
            "shape": list(part.shape),
        }
    return Response(body, mimetype="application/octet-stream", headers={META: json.dumps(meta)})


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")
