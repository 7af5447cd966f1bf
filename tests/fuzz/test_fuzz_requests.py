"""Any request to the label server: an answer or a 4xx with a sentence; the server lives on and nothing stays behind.

Needs MONAI Label's environment. The application is asked in this process, without a socket.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from dataset_builders import write_nnunet
from fuzz.damage import damaged
from fuzz.json_damage import CANARY, CODE, COMPONENT
from fuzz.tally import Tally, examples
from fuzz.workers import Worker, Wrong
from hypothesis import given
from hypothesis import strategies as st
from untrained import plan_untrained

from pgsam_monai.base.errors import UserFault

pytest.importorskip("monailabel")

MODELS = ("unet", "medsa")
WORDS = [
    "", "unet", "medsa", "medsa_deepedit", "case_1_0000", "case_2_0000", "labels", "original", "final", "first",
    "random",
    "epistemic", "image", "json", "all", "dicom_seg", "true", "none", "..", "../..", "../../../etc/passwd",
    "/etc/passwd",
    "a\0b", "\ud800", "x" * 4000, "%2e%2e", "9" * 40, "-1", "1e400", "NaN",
    "c0ffee00-1234-11ef-9abc-0242ac120002", *CODE,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 7, 1.5, 10**30, 2**70, float("nan"), float("inf"), "", "x", "../x", "cuda:99", "cpu", [],
    [[]], {},
    [[3, 4, 4]], [[-1, 0, 0]], [[1e300, 0, 0]], [["a", 1, 2]], [[1, 2]], {"a": {"b": []}}, ".nrrd", ".nii.gz",
    ".exe",
    "uint8", "float99", "a\0b", "\ud800", "x" * 3000, COMPONENT, *CODE,
]  # fmt: skip
FIELDS = [
    "device", "label", "labels", "organ1", "background", "foreground", "roi", "result_extension", "result_dtype",
    "image",
    "model", "session", "file", "label_values", "label_tag", "text", "clicks", "largest_cc", "max_epochs", "x",
    "_target_",
    "spacing", "slice", "brush", "propagate", "background_shows", "user", "params",
]  # fmt: skip
TYPES = [
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
    "x" * 200,
]
TEXTS = [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 20_000, b'{"a":' * 10_000, b'{"a": NaN}',
         b'{"a": ' + b"9" * 5000 + b"}", b"--x\r\n\r\n", b"x" * 100_000]  # fmt: skip


def route_list(app) -> list[tuple[str, str, list[str]]]:
    """Method, path and names of query parameters of what the application offers."""
    found = []
    for path, methods in app.openapi()["paths"].items():
        for method, about in methods.items():
            names = [each["name"] for each in about.get("parameters", []) if each["in"] == "query"]
            found.append((method.upper(), path, names))
    return sorted(found)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("requests")
    data = write_nnunet(root / "data" / "Small", cases=4)
    for network in MODELS:
        plan_untrained(data, root, network)
    (root / "app/model").mkdir(parents=True)
    (root / "app/main.py").write_text("from pgsam_monai.label.app import PgsamApp  # noqa: F401\n")
    for network in MODELS:
        (root / "app/model" / network).symlink_to(root / f"bundles/{network}_small")
    (root / "studies").mkdir()
    for image in sorted((data / "imagesTr").iterdir())[:2]:
        shutil.copy(image, root / "studies")
    (root / "tmp").mkdir()
    return root


@pytest.fixture(scope="module")
def served(root):
    """The application as uvicorn gets it; a server without training."""
    from monailabel.config import settings

    settings.MONAI_LABEL_APP_DIR, settings.MONAI_LABEL_STUDIES = str(root / "app"), str(root / "studies")
    settings.MONAI_LABEL_SESSION_PATH = str(root / "sessions")
    settings.MONAI_LABEL_APP_CONF = {
        "models": ",".join(MODELS), "zoo_source": "local", "sam2": "false", "train": "false", "max_upload_mb": "2",
        "host": "127.0.0.1",
    }  # fmt: skip
    tempfile.tempdir = str(root / "tmp")
    from pgsam_monai.label.http import server

    yield server
    tempfile.tempdir = None


def values(name: str) -> st.SearchStrategy[str]:
    """Of a part of the path, or of the query; right ones as often as others."""
    right = {"model": [*MODELS, "medsa_deepedit"], "image": ["case_1_0000"], "output": ["all", "json", "image"],
             "strategy": ["first", "random"], "method": ["unet"], "tag": ["final"]}  # fmt: skip
    other = st.sampled_from(WORDS) | st.text(max_size=12)
    return st.sampled_from(right[name]) | other if name in right else other


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """What `requests` would send: JSON, a form with files, or anything."""
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES), max_size=3))
    kind = draw(st.sampled_from(["none", "json", "form", "upload", "any"]))
    if kind == "json":
        return {"content": json.dumps(fields).encode(), "headers": {"content-type": "application/json"}}
    if kind == "any":
        content = draw(st.sampled_from(TEXTS) | st.binary(max_size=60))
        return {"content": content, "headers": {"content-type": draw(st.sampled_from(TYPES))}}
    if kind == "form":
        text = draw(
            st.just(json.dumps(fields)) | st.sampled_from(TEXTS).map(lambda raw: raw.decode("latin-1"))
        )
        return {"data": {draw(st.sampled_from(["params", "info", "x"])): text}, "files": {"": b""}}
    if kind == "upload":
        name, content = draw(uploads())
        return {"files": {draw(st.sampled_from(["file", "label", "files"])): (name, content)},
                "data": {"params": json.dumps(fields)}}  # fmt: skip
    return {}


@st.composite
def uploads(draw: st.DrawFn) -> tuple[str, bytes]:
    example = draw(
        damaged(["nii.gz", "nrrd", "mha", "packed mha", "nhdr", "dicom", "npz", "h5", "png", "hdr"])
    )
    own, content = next(iter(example.files.items()))
    return draw(
        st.sampled_from([own, own, own, "../x.nii.gz", "x", "", "a/b.nii.gz", ".hidden.nii.gz"])
    ), content


@st.composite
def requests(draw: st.DrawFn, routes: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    method, path, names = draw(st.sampled_from(routes))
    for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        path = path.replace(f"{{{name}}}", _quoted(draw(values(name))))
    query = {name: draw(values(name)) for name in names if draw(st.booleans())}
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]))
    return {"method": method, "url": path, "params": query, **draw(bodies())}


def _quoted(word: str) -> str:
    from urllib.parse import quote

    return quote(word.encode("utf-8", "surrogatepass"))


class Asking:
    """Sends requests to the application, which starts with the first."""

    def __init__(self, root: Path) -> None:
        self.root, self.client = root, None

    def prepare(self) -> None:
        from starlette.testclient import TestClient

        from pgsam_monai.label.http import server

        os.chdir(self.root)
        self.client = TestClient(server.app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        self.client.__enter__()  # starts the app, as uvicorn does

    def __call__(self, request: dict[str, Any]) -> str:
        reply = self.client.request(**_sendable(request))
        self._check_left()
        if reply.status_code >= 500 and reply.status_code not in (501, 503):
            raise Wrong(f"{reply.status_code}: {reply.text[:2000]}")
        if reply.status_code >= 400:
            raise UserFault(_sentence(reply))
        return ""

    def _check_left(self) -> None:
        if (self.root / CANARY).exists():
            (self.root / CANARY).unlink()
            raise Wrong("a string was run as code")
        left = [
            file
            for file in (self.root / "tmp").rglob("*")
            if file.is_file() and "torchinductor" not in str(file)
        ]
        for file in left:
            file.unlink()
        if left:
            raise Wrong(
                f"stays in the temporary folder: {[str(file.relative_to(self.root)) for file in left][:4]}"
            )


def _sendable(request: dict[str, Any]) -> dict[str, Any]:
    query = {name: value.encode("utf-8", "replace").decode() for name, value in request["params"].items()}
    return {**request, "params": query}


def _sentence(reply: Any) -> str:
    if reply.request.method == "HEAD":
        return "HEAD has no body."
    try:
        detail = reply.json()["detail"]
    except (ValueError, KeyError, TypeError) as fault:
        raise Wrong(f"{reply.status_code} without a sentence: {reply.text[:500]!r}") from fault
    if not isinstance(detail, str):
        raise Wrong(f"{reply.status_code} without a sentence: {detail!r}")
    return detail


def test_a_request_is_answered_or_told(root, served):
    routes, tally = route_list(served.app.inside), Tally("requests")
    assert len(routes) > 20
    with Worker(Asking(root)) as worker:
        assert worker({"method": "GET", "url": "/health", "params": {}}).kind == "read"

        @examples(40)
        @given(requests(routes))
        def attempt(request):
            tally.count(worker(request), request)

        attempt()
    tally.finish()
