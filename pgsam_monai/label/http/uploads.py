"""Sessions and archives, whose files MONAI Label would leave behind; only inside MONAI Label's environment."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from fastapi import UploadFile
from monailabel.interfaces.app import MONAILabelApp

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.fields import plain_name
from pgsam_monai.label.http.infer_endpoint import FileThenGone, sessions_of

# An archive's files stay below the folder that it is unpacked to, which Python before 3.14 doesn't see to by itself.
tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)


def new_session(app: MONAILabelApp, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an image, a DICOM series (several files) or an archive of one, for requests that name the session.

    Raises:
        RequestFault: no good archive or file name.
    """
    sessions = sessions_of(app)
    with tempfile.TemporaryDirectory() as work:
        source = _received(given["files"], Path(work) / "received")
        if given["uncompress"]:
            source = _unpacked(source, Path(work) / "unpacked")
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


def _unpacked(archive: Path, folder: Path) -> Path:
    """The only file of an archive, or the folder of several."""
    try:
        shutil.unpack_archive(archive, folder)
    except (shutil.ReadError, tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise RequestFault(
            f"'{archive.name}' can't be unpacked ({str(error) or type(error).__name__}); send a .zip or .tar.gz.",
            status=422,
        ) from error
    found = list(folder.iterdir()) if folder.is_dir() else []
    if not found:
        raise RequestFault(f"'{archive.name}' holds no file.", status=422)
    return found[0] if len(found) == 1 else folder


def dataset_archive(app: MONAILabelApp, given: Mapping[str, Any]) -> FileThenGone:
    """All labelled images with their labels, as a ZIP.

    Raises:
        RequestFault: there is none.
    """
    if not app.datastore().datalist():
        raise RequestFault("No image has a final label yet, so there is nothing to download.", status=404)
    path = app.datastore().get_dataset_archive(given["limit_cases"])
    return FileThenGone(path, media_type="application/zip", filename="dataset.zip")
