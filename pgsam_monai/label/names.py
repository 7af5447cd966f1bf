"""What clients call things, checked before it becomes a path or a setting."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.label.faults import RequestFault

PLAIN = re.compile(r"[^\W_][\w .+@=,()-]*")
LONGEST = 200
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def plain_name(what: str, name: object) -> str:
    """`name`, if it is a file's name and nothing else.

    Raises:
        RequestFault: it isn't, so that what is written with it could land anywhere.
    """
    if not isinstance(name, str) or len(name) > LONGEST or not PLAIN.fullmatch(name) or ".." in name:
        raise RequestFault(
            f"{what} takes a name of at most {LONGEST} letters, digits and signs such as '-', '_' and '.', "
            f"got {_shown(name)}."
        )
    return name


def json_object(what: str, text: str | None) -> dict[str, Any]:
    """The JSON object that a form's field holds; {} for none.

    Raises:
        RequestFault: it holds something else.
    """
    if not text or not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RequestFault(
            f"{what} must be JSON, and it isn't ({error}); as in {what}={{}}, got {_shown(text)}."
        ) from error
    if not isinstance(found, dict):
        raise RequestFault(f'{what} must be a JSON object, as in {{"device": "cpu"}}; got {_shown(text)}.')
    return found


def known_name(what: str, name: object, known: Collection[str]) -> str:
    """`name`, if it is one of the known ones.

    Raises:
        RequestFault: it isn't.
    """
    if name not in known:
        have = f"there are {', '.join(map(str, known))}" if known else "there is none"
        raise RequestFault(f"There is no {what} {_shown(name)} here; {have}.", status=404)
    return name


def session_name(name: str) -> str:
    """A session's name, which is a folder's too.

    Raises:
        RequestFault: it has none of the forms that the server gives.
    """
    if not SESSION.fullmatch(name):
        raise RequestFault(
            f"There is no session {_shown(name)} here; PUT /session/ makes one and says its name.", status=404
        )
    return name


def image_in_folders(folders: Sequence[str | Path], image: str, known: Collection[str]) -> str:
    """What a client calls an image, as MONAI Label takes it: the name of a study, or a path.

    Args:
        folders: the studies folder, and others that may be read.
        image: a study's name; or a file or DICOM folder in one of the folders, absolute or from there.
        known: names of studies.

    Raises:
        RequestFault: nothing there, or a path that leads out of the folders.
    """
    if image in known:
        return image
    for folder in folders if "\0" not in image else ():
        root = os.path.abspath(folder)
        path = os.path.normpath(os.path.join(root, image))
        inside = any(path.startswith(os.path.join(place, "")) for place in (root, os.path.realpath(root)))
        if inside and os.path.exists(path):
            return path
    raise RequestFault(
        f"There is no image {_shown(image)} in the studies folder; GET /datastore/?output=all lists the images, a "
        "DICOM series is asked for by its folder's name, and --also_read FOLDER lets the server read elsewhere, too.",
        status=404,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
