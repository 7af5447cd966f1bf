"""POST /infer/{model}: what it takes, checked, and what it sends; only inside MONAI Label's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import FileResponse, Response
from monailabel.endpoints.infer import run_inference
from monailabel.interfaces.app import MONAILabelApp
from monailabel.utils.others.generic import remove_file
from monailabel.utils.sessions import Sessions
from starlette.background import BackgroundTasks

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.launch.checks import is_dicomweb
from pgsam_monai.label.names import image_in_folders, json_object, known_name, plain_name, session_name
from pgsam_monai.predicting.segmentations import segmentation_of

SAID_ELSEWHERE = ("model", "image", "session", "file")
"""of a request, by its address or its files; in `params` they would win over those"""


class FileThenGone(FileResponse):
    """Sends a file and removes it, even when the client hangs up in between."""

    async def __call__(self, *arguments: Any) -> None:
        try:
            await super().__call__(*arguments)
        finally:
            remove_file(str(self.path))


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
    image = _image_of(app, given)
    output = getattr(given["output"], "value", given["output"])
    if output == "dicom_seg":
        return _dicom_seg(app, given, params, image)
    tasks, response = BackgroundTasks(), None
    try:
        response = run_inference(
            tasks, given["model"], image, given["session_id"], given["params"], given["file"], None, output
        )
    finally:
        sent = str(response.path) if isinstance(response, FileResponse) else None
        for task in tasks.tasks:
            if task.args != (sent,):
                task.func(*task.args)
    if sent is None:
        return response
    return FileThenGone(sent, media_type=response.media_type, filename=response.filename)


def _check_params(params: Mapping[str, Any]) -> None:
    for name in SAID_ELSEWHERE:
        if name in params:
            raise RequestFault(
                f"params can't hold '{name}'; say it as POST /infer/MODEL?image=NAME, or upload a file."
            )
    if "label_tag" in params:
        plain_name("label_tag", params["label_tag"])


def _image_of(app: MONAILabelApp, given: Mapping[str, Any]) -> str:
    """The image's name or path; "" where a file or a session says it."""
    file, label, session = given["file"], given["label"], given["session_id"]
    if label:
        raise RequestFault(
            "No model here starts from a label or scribbles; send clicks or boxes in params instead."
        )
    if session:
        if sessions_of(app).get_session(session_name(session)) is None:
            raise RequestFault(f"Session '{session}' has ended; make a new one by PUT /session/.", status=404)
        return ""
    if file:
        return ""
    if not given["image"]:
        raise RequestFault(
            "No image was named: say ?image=NAME of one in the studies folder, upload a file, or name a session."
        )
    if is_dicomweb(app.studies):
        return plain_name("image", given["image"])
    folders = [app.studies, *filter(None, app.conf.get("also_read", "").split(os.pathsep))]
    return image_in_folders(folders, given["image"], app.datastore().list_images())


def sessions_of(app: MONAILabelApp) -> Sessions:
    """Images that clients sent for some requests.

    Raises:
        RequestFault: the server keeps none.
    """
    if app.sessions() is None:
        raise RequestFault("This server keeps no sessions (MONAI_LABEL_SESSIONS); upload the image as file.")
    return app.sessions()


def _dicom_seg(
    app: MONAILabelApp, given: Mapping[str, Any], params: Mapping[str, Any], image: str
) -> Response:
    """The result as a DICOM-SEG object of the series that was asked about."""
    session = given["session_id"]
    source = app.sessions().get_session(session).image if session else image
    if not source or not Path(source).is_dir():
        raise RequestFault(
            "output=dicom_seg is for DICOM series: name the folder of one in the studies folder, or a session with one."
        )
    kinds = {"result_extension": ".nii.gz", "result_dtype": None}
    result = app.infer({**params, **kinds, "model": given["model"], "image": source})
    task = app._infers[given["model"]]
    try:
        file = segmentation_of(
            source, result["file"], result["params"]["label_names"], bundle=task.served.root,
            guided=bool(result["params"].get("clicks_used")),
        )  # fmt: skip
    finally:
        remove_file(result["file"])
    return FileThenGone(file, media_type="application/dicom", filename=file.name)
