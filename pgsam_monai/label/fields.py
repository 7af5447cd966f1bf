"""What clients send, field by field: read, or refused in one sentence.

Clients send all settings that a model or trainer has, so an empty text means that nothing was said.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai.base.files import is_hidden
from pgsam_monai.label.faults import RequestFault, cut, short

PLAIN = re.compile(r"[^\W_][\w .+@=,()-]*")
LONGEST, LISTED = 200, 1000
DEEPEST, HUGE = 16, 1e15
"""lists and objects in one another, and numbers, that a request may hold; larger whole numbers are no longer exact"""
SURROGATES = re.compile("[\ud800-\udfff]")
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def chosen(request: Mapping[str, Any], key: str) -> Any:
    """What was said, None for nothing; of a list of choices, as the server's description has them, the first."""
    value = request.get(key)
    value = value[0] if isinstance(value, list) and value else value
    return None if value == "" else value


def text_of(request: Mapping[str, Any], key: str) -> str | None:
    """A text; None where nothing was said.

    Raises:
        RequestFault: something else.
    """
    value = chosen(request, key)
    if value is None or isinstance(value, str):
        return value
    raise RequestFault(f"{key} must be text, got {short(value)}.")


def choice_of(request: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
    """One of the known words; the first where nothing was said.

    Raises:
        RequestFault: something else.
    """
    value = text_of(request, key) or known[0]
    if value not in known:
        raise RequestFault(f"{key} must be one of {', '.join(known)}, got {short(value)}.")
    return value


def flag_of(request: Mapping[str, Any], key: str, default: bool) -> bool:
    """True or false, or a text that says so; `default` where nothing was said.

    Raises:
        RequestFault: something else.
    """
    value = request.get(key)
    if value is None or value == "":
        return default
    told = {"true": True, "false": False}.get(str(value).lower())
    if told is None:
        raise RequestFault(f"{key} must be true or false, got {short(value)}.")
    return told


def number_of(request: Mapping[str, Any], key: str, default: float) -> float:
    """A finite number, or a text that is one; `default` where nothing was said.

    Raises:
        RequestFault: something else.
    """
    value = request.get(key)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RequestFault(f"{key} must be a number, got {short(value)}.")
    return number


def count_of(request: Mapping[str, Any], key: str, default: int, *, least: int = 1) -> int:
    """A whole number from `least`, or a text that is one; `default` where nothing was said.

    Raises:
        RequestFault: something else.
    """
    number = number_of(request, key, default)
    if number < least or number != int(number):
        raise RequestFault(
            f"{key} must be a whole number from {least}, got {short(request[key])}.", status=422
        )
    return int(number)


def device_there(name: str) -> str:
    """`name`, if torch has such a device here.

    Raises:
        RequestFault: it hasn't.
    """
    import torch

    known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name in known or (name == "cuda" and len(known) > 1):
        return name
    raise RequestFault(f"device must be one of {', '.join(known)}, got {short(name)}.", status=422)


def json_object(what: str, text: str | None) -> dict[str, Any]:
    """The JSON object that a form's field holds; {} for none.

    Raises:
        RequestFault: it holds something else.
    """
    if not text or not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestFault(
            f"{what} must be JSON, and it isn't ({error}); as in {what}={{}}, got {short(text)}."
        ) from error
    if not isinstance(found, dict):
        raise RequestFault(f'{what} must be a JSON object, as in {{"device": "cpu"}}; got {short(text)}.')
    return plain_data(what, found)


def plain_data(what: str, value: Any, *, depth: int = DEEPEST) -> Any:
    """`value`, if it can be written as JSON again, kept in a file's name or a process's arguments, and reckoned with.

    Raises:
        RequestFault: it holds NaN, an infinite or huge number, signs that are no text, or lists in lists without end.
    """
    if isinstance(value, str) and not is_text(value):
        raise RequestFault(f"{what} holds signs that are no text, {short(value)}; leave them out.")
    if isinstance(value, int | float) and not abs(value) <= HUGE:  # NaN isn't either
        raise RequestFault(
            f"{what} holds {short(value)}; numbers must be finite, and at most {HUGE:g}.", status=422
        )
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            raise RequestFault(
                f"{what} is nested too deeply; {DEEPEST} lists or objects in one another are taken."
            )
        parts = value.items() if isinstance(value, dict) else ((None, part) for part in value)
        for key, part in parts:
            place = what if key is None else cut(f"{what}, {short(plain_data(what, key))}", LONGEST)
            plain_data(place, part, depth=depth - 1)
    return value


def is_text(value: str) -> bool:
    """Whether it can be written to a file and be a part of a path: no zero bytes, no halves of signs."""
    return "\0" not in value and not SURROGATES.search(value)


def plain_name(what: str, name: object) -> str:
    """`name`, if it is a file's name and nothing else.

    Raises:
        RequestFault: it isn't, so that what is written with it could land anywhere.
    """
    if not isinstance(name, str) or len(name) > LONGEST or not PLAIN.fullmatch(name) or ".." in name:
        raise RequestFault(
            f"{what} takes a name of at most {LONGEST} letters, digits and signs such as '-', '_' and '.', "
            f"got {short(name)}."
        )
    return name


def known_name(what: str, name: object, known: Collection[str]) -> str:
    """`name`, if it is one of the known ones.

    Raises:
        RequestFault: it isn't.
    """
    if not isinstance(name, str) or name not in known:
        have = f"there are {cut(', '.join(map(str, known)), LISTED)}" if known else "there is none"
        raise RequestFault(f"There is no {what} {short(name)} here; {have}.", status=404)
    return name


def session_name(name: str) -> str:
    """A session's name, which is a folder's too.

    Raises:
        RequestFault: it has none of the forms that the server gives.
    """
    if not SESSION.fullmatch(name):
        raise RequestFault(
            f"There is no session {short(name)} here; PUT /session/ makes one and says its name.", status=404
        )
    return name


def max_bytes(conf: Mapping[str, str]) -> int:
    """What a client may send in a request, and what that may unpack to, by the settings of `pgsam label`."""
    return int(conf.get("max_upload_mb", "2000")) * 10**6


def is_dicomweb(studies: Path | str) -> bool:
    """True for studies that lie at the address of a server, as MONAI Label tells it from a folder."""
    return isinstance(studies, str) and studies.startswith(("http://", "https://"))


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
    for folder in folders if is_text(image) else ():
        root = os.path.abspath(folder)
        path = os.path.normpath(os.path.join(root, image))
        starts = [os.path.join(place, "") for place in (root, os.path.realpath(root))]
        inside = next((path[len(start) :] for start in starts if path.startswith(start)), "")
        if inside and not any(map(is_hidden, Path(inside).parts)) and os.path.exists(path):
            return path
    raise RequestFault(
        f"There is no image {short(image)} in the studies folder; GET /datastore/?output=all lists the images, a "
        "DICOM series is asked for by its folder's name, and --also_read FOLDER lets the server read elsewhere, too.",
        status=404,
    )
