"""What is wrong with requests before MONAI Label sees them; only inside MONAI Label's environment.

It would answer them with a bare 500, start a process that fails, or write where a name leads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import torch
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.utils.async_tasks import utils as background

from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.label.fields import is_text, json_object, known_name, plain_data, plain_name, session_name
from pgsam_monai.label.http.infer_endpoint import kept_for_now
from pgsam_monai.label.reading.reader import read_image_safely, read_label_safely

Given = dict[str, Any]
"""arguments of an endpoint, by name"""
MODELS_PLACE = "the bundle's folder, as models/model.pt,"
MOST_LINES = 100_000
"""of the log, in one answer"""
LONGEST_NAME = 1000
"""characters of a file's name, a path before it included"""
LONGEST_PARAMS = 64_000
"""characters of JSON that a task of its own process is started with; systems take twice as many in an argument"""


def check_fields(given: Given) -> None:
    """What holds for every request.

    Raises:
        RequestFault: see `plain_data`; or a file without an end to its name, or with none that can be written.
    """
    for name, value in given.items():
        if isinstance(value, str | int | float | dict | list):
            plain_data(name, value)
        file_name = getattr(value, "filename", None)
        if file_name is not None and not (is_text(file_name) and len(file_name) <= LONGEST_NAME):
            raise RequestFault(f"A file can't be called {short(file_name)}; give it a plain name.")


def _training(app: MONAILabelApp, given: Given) -> None:
    _training_of_all(app, given)
    known_name("trainer", given["model"], app._trainers)
    _check_task(given["params"], model=given["model"])


def _training_of_all(app: MONAILabelApp, given: Given) -> None:
    if not app._trainers:
        raise RequestFault("This server doesn't train; it was started with --train False.", status=404)
    _check_tasks(app._trainers, given["params"])
    if any(task["status"] in ("SUBMITTED", "RUNNING") for task in background.tasks("train")):
        raise RequestFault(
            "A training is under way; ask GET /train/ how far it is, or end it with DELETE /train/.",
            status=429,
        )


def _scoring(app: MONAILabelApp, given: Given) -> None:
    known_name("scoring method", given["method"], app._scoring_methods)
    _check_task(given["params"], method=given["method"])


def _scoring_of_all(app: MONAILabelApp, given: Given) -> None:
    _check_tasks(app._scoring_methods, given["params"])


def _check_tasks(names: Mapping[str, Any], params: Mapping[str, Any] | None) -> None:
    _check_task(params)
    for name in names:
        settings_of_one = (params or {}).get(name, {})
        if not isinstance(settings_of_one, dict):
            raise RequestFault(
                f"'{name}' must hold a JSON object with its settings, got {short(settings_of_one)}."
            )
        _check_task(settings_of_one)


def _check_task(params: Mapping[str, Any] | None, **path: str) -> None:
    """What a process of its own is started with; of a bundle_path it would run the Python that lies there."""
    params = params or {}
    if len(json.dumps(params)) > LONGEST_PARAMS:
        raise RequestFault(f"Settings take at most {LONGEST_PARAMS} characters.", status=413)
    if "bundle_path" in params:
        raise RequestFault("bundle_path is the server's own to say; leave it out.")
    for name, value in path.items():
        if params.get(name, value) != value:
            raise RequestFault(
                f"The address says {value} and the body says {short(params[name])}; leave one out."
            )
    if not isinstance(params.get("gpus") or "", str):
        raise RequestFault(f'gpus takes "all" or numbers as in "0,1", got {short(params["gpus"])}.')


def _batch(app: MONAILabelApp, given: Given) -> None:
    known_name("model", given["model"], app._infers)
    params = dict(given["params"] or {})
    _check_task(params, model=given["model"])
    if "label_tag" in params:
        plain_name("label_tag", getattr(params["label_tag"], "value", params["label_tag"]))
    images = params.get("images")
    if isinstance(images, list):
        known = app.datastore().list_images()
        for image in images:
            known_name("image", image, known)
    elif images not in (None, "all", "labeled", "unlabeled"):
        raise RequestFault(
            f"images takes all, labeled, unlabeled or a list of names, got {short(images)}.", status=422
        )
    if not torch.cuda.device_count():  # several GPUs are MONAI Label's default, of which none is no good
        params["multi_gpu"] = False
    given["params"] = params


def _sample(app: MONAILabelApp, given: Given) -> None:
    known_name("strategy", given["strategy"], app._strategies)


def _new_image(app: MONAILabelApp, given: Given) -> None:
    ending = _check_ending(given["file"].filename)
    name = given["image"] or PurePath(given["file"].filename or "").name.removesuffix(ending)
    plain_name("image", name)
    json_object("params", given["params"])
    if name.casefold() in map(str.casefold, app.datastore().list_images()):
        raise RequestFault(
            f"There is an image '{name}' already, which an upload doesn't replace; send it under another name, or "
            "remove that one first.",
            status=409,
        )
    with kept_for_now(given["file"]) as sent:
        read_image_safely(sent)


def _new_label(app: MONAILabelApp, given: Given) -> None:
    known_name("image", given["image"], app.datastore().list_images())
    plain_name("tag", given["tag"])
    _check_ending(given["label"].filename)
    json_object("params", given["params"])
    with kept_for_now(given["label"]) as sent:
        read_label_safely(sent)


def _check_ending(name: str | None) -> str:
    """The ending of an uploaded file; MONAI Label takes one without a name for .nii.gz."""
    endings = [pattern.removeprefix("*") for pattern in settings.MONAI_LABEL_DATASTORE_FILE_EXT]
    for ending in endings:
        if (name or ".nii.gz").endswith(ending):
            return ending
    raise RequestFault(f"Files end in {', '.join(endings)}; '{name}' doesn't.", status=422)


def _known_image(app: MONAILabelApp, given: Given) -> None:
    known_name("image", given.get("image") or given.get("id"), app.datastore().list_images())


def _known_label(app: MONAILabelApp, given: Given) -> None:
    name, tag = given.get("label") or given.get("id"), given["tag"]
    if not app.datastore().get_label_uri(name, tag):
        raise RequestFault(
            f"There is no label of '{name}' with the tag '{tag}' here; GET /datastore/?output=all lists them.",
            status=404,
        )


def _check_sum(app: MONAILabelApp, given: Given) -> None:
    kind = (given["check_sum"] or "").rpartition(":")[0] or "SHA256"
    known_name("kind of checksum", kind, ("SHA256", "SHA512", "MD5"))


def _known_model(app: MONAILabelApp, given: Given) -> None:
    known_name("model", given["model"], app._infers)


def _no_model(app: MONAILabelApp, given: Given) -> None:
    """A model comes from a training, here or elsewhere, never from a client: it would answer everybody."""
    known_name("model", given["model"], app._infers)
    raise RequestFault(
        f"Models are neither replaced nor removed over the network; put the file into {MODELS_PLACE} on the server, "
        "which is used at once.",
        status=403,
    )


def _session(app: MONAILabelApp, given: Given) -> None:
    session_name(given["session_id"])


def _graphics(app: MONAILabelApp, given: Given) -> None:
    if shutil.which("nvidia-smi") is None:
        raise RequestFault("This server has no GPU that nvidia-smi could tell about.", status=404)


def _plain_log(app: MONAILabelApp, given: Given) -> None:
    given["lines"] = min(given["lines"] or 0, MOST_LINES)
    given["html"] = False  # MONAI Label's page around it loads scripts from the internet


CHECKS: dict[tuple[str, str], Callable[[MONAILabelApp, Given], None]] = {
    ("POST", "/train/"): _training_of_all,
    ("POST", "/train/{model}"): _training,
    ("POST", "/scoring/"): _scoring_of_all,
    ("POST", "/scoring/{method}"): _scoring,
    ("POST", "/batch/infer/{model}"): _batch,
    ("POST", "/activelearning/{strategy}"): _sample,
    ("PUT", "/datastore/"): _new_image,
    ("PUT", "/datastore/image"): _new_image,
    ("DELETE", "/datastore/"): _known_image,
    ("DELETE", "/datastore/image"): _known_image,
    ("HEAD", "/datastore/image"): _check_sum,
    ("GET", "/datastore/image/info"): _known_image,
    ("PUT", "/datastore/image/info"): _known_image,
    ("PUT", "/datastore/label"): _new_label,
    ("DELETE", "/datastore/label"): _known_label,
    ("GET", "/datastore/label/info"): _known_label,
    ("PUT", "/datastore/label/info"): _known_label,
    ("PUT", "/datastore/updatelabelinfo"): _known_label,
    ("GET", "/model/{model}"): _known_model,
    ("GET", "/model/info/{model}"): _known_model,
    ("PUT", "/model/{model}"): _no_model,
    ("DELETE", "/model/{model}"): _no_model,
    ("GET", "/session/{session_id}"): _session,
    ("DELETE", "/session/{session_id}"): _session,
    ("GET", "/logs/"): _plain_log,
    ("GET", "/logs/gpu"): _graphics,
}
"""by method and path"""
