"""POST /infer/{model}: what it takes, checked, and what it sends; only inside MONAI Label's environment."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import UploadFile
from fastapi.responses import Response, StreamingResponse
from monailabel.endpoints.infer import send_response
from monailabel.interfaces.app import MONAILabelApp
from monailabel.utils.others.generic import get_mime_type, remove_file
from monailabel.utils.sessions import Sessions
from starlette.background import BackgroundTasks

from pgsam_monai.base.cases import suffix_among
from pgsam_monai.base.volume import ReadError
from pgsam_monai.base.volume.foreign import require_own_data
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.fields import (
    image_in_folders,
    is_dicomweb,
    json_object,
    known_name,
    plain_name,
    session_name,
)
from pgsam_monai.predicting.segmentations import segmentation_of

logger = logging.getLogger(__name__)

PIECE = 1 << 20
SAID_ELSEWHERE = ("model", "image", "session", "file")
"""of a request, by its address or its files; in `params` they would win over those"""


def file_then_gone(path: str | Path, *, media_type: str, name: str) -> StreamingResponse:
    """Sends a file that is gone already: whatever becomes of the client, nothing stays on the disk."""
    sent = file_as_it_is(
        path, media_type=media_type, disposition=f"attachment; filename*=utf-8''{quote(name)}"
    )
    remove_file(str(path))
    return sent


def file_as_it_is(path: str | Path, *, media_type: str | None, disposition: str | None) -> StreamingResponse:
    """Sends what a file holds now, though it may grow meanwhile, as a log does, or be replaced.

    `disposition`: the header that says how browsers call it.
    """
    file = open(path, "rb")  # noqa: SIM115  closed when it has been sent, or with what holds it
    size = os.fstat(file.fileno()).st_size
    headers = {"content-length": str(size)} | ({"content-disposition": disposition} if disposition else {})
    return StreamingResponse(_pieces(file, size), media_type=media_type, headers=headers)


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while size > 0 and (piece := file.read(min(PIECE, size))):
            size -= len(piece)
            yield piece


def infer(app: MONAILabelApp, given: Mapping[str, Any]) -> Response | dict:
    """Answer a request; every file that it made is gone afterwards.

    Args:
        app: the app.
        given: arguments of MONAI Label's endpoint, by name.

    Raises:
        RequestFault: it asks for what isn't there, or for nothing.
    """
    known_name("model", given["model"], app._infers)
    params = json_object("params", given["params"])
    _check_params(params)
    output = getattr(given["output"], "value", given["output"])
    with _image_of(app, given) as image:
        request = {"model": given["model"], "image": image, **params}
        logger.info("Infer Request: %s", request)
        if output == "dicom_seg":
            return _dicom_seg(app, request)
        return _reply(app, app.infer(request), output)


def _check_params(params: Mapping[str, Any]) -> None:
    for name in SAID_ELSEWHERE:
        if name in params:
            raise RequestFault(
                f"params can't hold '{name}'; say it as POST /infer/MODEL?image=NAME, or upload a file."
            )
    if "label_tag" in params:
        plain_name("label_tag", params["label_tag"])


@contextmanager
def _image_of(app: MONAILabelApp, given: Mapping[str, Any]) -> Iterator[str]:
    """The image's name or path; one that was sent along is gone afterwards."""
    file, session = given["file"], given["session_id"]
    if given["label"]:
        raise RequestFault(
            "No model here starts from a label or scribbles; send clicks or boxes in params instead."
        )
    if session:
        yield _image_of_session(app, session)
    elif file:
        with kept_for_now(file) as sent:
            yield sent
    elif not given["image"]:
        raise RequestFault(
            "No image was named: say ?image=NAME of one in the studies folder, upload a file, or name a session."
        )
    elif is_dicomweb(app.studies):
        yield plain_name("image", given["image"])
    else:
        folders = [app.studies, *filter(None, app.conf.get("also_read", "").split(os.pathsep))]
        yield image_in_folders(folders, given["image"], app.datastore().list_images())


@contextmanager
def kept_for_now(file: UploadFile) -> Iterator[str]:
    """A path to what was uploaded, with the ending that says what it is; gone afterwards.

    Raises:
        RequestFault: its voxels lie in another file, which would be one of the server's; or, within, it can't be read.
    """
    suffix = suffix_among(file.filename) if file.filename else ".nii.gz"
    with tempfile.NamedTemporaryFile(suffix=suffix.lower()) as sent:
        file.file.seek(0)
        shutil.copyfileobj(file.file, sent)
        file.file.seek(0)
        sent.flush()
        try:
            require_own_data([Path(sent.name)])
            yield sent.name
        except ReadError as fault:
            raise RequestFault(f"{file.filename or 'The file'}: {fault.reason}", status=422) from fault


def _image_of_session(app: MONAILabelApp, name: str) -> str:
    session = sessions_of(app).get_session(session_name(name))
    if session is None:
        raise RequestFault(f"Session '{name}' has ended; make a new one by PUT /session/.", status=404)
    return session.image


def sessions_of(app: MONAILabelApp) -> Sessions:
    """Images that clients sent for some requests.

    Raises:
        RequestFault: the server keeps none.
    """
    if app.sessions() is None:
        raise RequestFault("This server keeps no sessions (MONAI_LABEL_SESSIONS); upload the image as file.")
    return app.sessions()


def _reply(app: MONAILabelApp, answer: Mapping[str, Any], output: str | None) -> Response | dict:
    """The label map, the JSON beside it, or both in one message."""
    file = answer["file"]
    if output == "image":
        return file_then_gone(file, media_type=get_mime_type(file), name=Path(file).name)
    try:
        return send_response(app.datastore(), answer, output, BackgroundTasks())
    finally:
        remove_file(file)


def _dicom_seg(app: MONAILabelApp, request: Mapping[str, Any]) -> Response:
    """The result as a DICOM-SEG object of the series that was asked about."""
    source = request["image"]
    if not Path(source).is_dir():
        raise RequestFault(
            "output=dicom_seg is for DICOM series: name the folder of one in the studies folder, or a session with one."
        )
    answer = app.infer({**request, "result_extension": ".nii.gz", "result_dtype": None})
    bundle, said = app._infers[request["model"]].served.folder, answer["params"]
    try:
        file = segmentation_of(
            source, answer["file"], said["label_names"], bundle=bundle, guided=bool(said.get("clicks_used"))
        )
    finally:
        remove_file(answer["file"])
    return file_then_gone(file, media_type="application/dicom", name=file.name)
