"""Sessions and archives, whose files MONAI Label would leave behind; only inside MONAI Label's environment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from fastapi import UploadFile
from fastapi.responses import Response
from monailabel.interfaces.app import MONAILabelApp

from pgsam_monai.base.volume.foreign import require_own_data
from pgsam_monai.label.archives import unpack
from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.fields import max_bytes, plain_name
from pgsam_monai.label.http.infer_endpoint import file_then_gone, sessions_of


def new_session(app: MONAILabelApp, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an image, a DICOM series (several files) or an archive of one, for requests that name the session.

    Raises:
        RequestFault: no good archive or file name.
        ReadError: voxels that lie in a file that wasn't sent along.
    """
    sessions = sessions_of(app)
    with tempfile.TemporaryDirectory() as work:
        source = _received(given["files"], Path(work) / "received")
        if given["uncompress"]:
            source = _unpacked(source, Path(work) / "unpacked", max_bytes(app.conf))
        require_own_data(
            [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        )
        name, session = sessions.add_session(str(source), max(0, given["expiry"]))
    return {"session_id": name, "session_info": session.to_json()}


def _received(files: Sequence[UploadFile], folder: Path) -> Path:
    """The only file, or the folder of several."""
    folder.mkdir()
    for number, file in enumerate(files):
        name = PurePath((file.filename or "").replace("\\", "/")).name or f"{number}.nii.gz"
        path = folder / plain_name("files", name)
        if path.exists():
            raise RequestFault(f"Two files are called '{name}'; each needs a name of its own.")
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
    return path if len(files) == 1 else folder


def _unpacked(archive: Path, folder: Path, most_bytes: int) -> Path:
    """The only file of an archive, or the folder of several."""
    if archive.is_dir():
        raise RequestFault("Send one archive in a request.")
    found = unpack(archive, folder, most_bytes=most_bytes)
    if not found:
        raise RequestFault(f"'{archive.name}' holds no file.", status=422)
    return found[0] if len(found) == 1 else folder


def dataset_archive(app: MONAILabelApp, given: Mapping[str, Any]) -> Response:
    """All labelled images with their labels, as a ZIP.

    Raises:
        RequestFault: there is none.
    """
    if not app.datastore().datalist():
        raise RequestFault("No image has a final label yet, so there is nothing to download.", status=404)
    path = app.datastore().get_dataset_archive(given["limit_cases"])
    return file_then_gone(path, media_type="application/zip", name="dataset.zip")
