"""A real MONAI Label server that is asked wrongly: each fault is a sentence, nothing is left behind, it lives on."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dataset_builders import write_msd
from label_server import LabelServer, good, require_label_environment
from tiny_bundle import plan_tiny, run_bundle

MODEL = "samed_organ"
VIEWER = "https://viewer.example.org"


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    require_label_environment()
    return tmp_path_factory.mktemp("label_errors")


@pytest.fixture(scope="module")
def bundle(work) -> Path:
    dataset = write_msd(work / "Task09_Organ", cases=5)
    bundle = plan_tiny(dataset, work)
    run_bundle("training", bundle)
    assert bundle.name == MODEL
    return bundle


def write_studies(folder: Path) -> Path:
    """Two images, a broken one, and a folder that is no DICOM series."""
    folder.mkdir()
    voxels = np.random.default_rng(0).normal(100, 30, (32, 28, 6)).astype(np.int16)
    for name in ("case_a", "case_b"):
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), folder / f"{name}.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no image at all")
    (folder / "empty_folder").mkdir()
    return folder


@pytest.fixture(scope="module")
def temporary(work) -> Path:
    """The server's TMPDIR."""
    (work / "tmp").mkdir()
    return work / "tmp"


def left_in(folder: Path) -> list[Path]:
    """Files of requests; the server has a folder of its own there, and torch one in that."""
    return [path for path in folder.rglob("*") if path.is_file() and "torchinductor" not in str(path)]


@pytest.fixture(scope="module")
def server(work, bundle, temporary):
    variables = {"TMPDIR": str(temporary)}
    studies, also = write_studies(work / "studies"), work / "also"
    also.mkdir()
    shutil.copy(studies / "case_a.nii.gz", also)
    with LabelServer(
        bundle,
        studies=studies,
        work=work,
        variables=variables,
        max_upload_mb=3,
        allow_origin=VIEWER,
        also_read=also,
    ) as server:
        yield server


def form(**fields: object) -> dict:
    """Options of a request with a form and without a file, as 3D Slicer sends one."""
    return {"data": fields, "files": {"": ""}}


def upload(field: str, name: str, content: bytes = b"x", **fields: object) -> dict:
    return {"data": fields, "files": {field: (name, content)}}


def detached(kind: str) -> bytes:
    """A header whose voxels would be those of a file of the server."""
    if kind == "nrrd":
        text = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {}\n\n"
    else:
        text = (
            "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {}\n"
        )
    return text.format("/etc/hostname").encode()


def json_body(text: str) -> dict:
    return {"data": text, "headers": {"Content-Type": "application/json"}}


INFER = f"/infer/{MODEL}?image=case_a"
NO_SESSION = "00000000-0000-0000-0000-000000000000"
WRONG = [
    # what is asked for isn't there
    ("POST", "/infer/nothing?image=case_a", form(), 404, "There is no model 'nothing' here; there are samed_organ"),
    ("POST", f"/infer/{MODEL}?image=nobody", form(), 404, "There is no image 'nobody' in the studies folder"),
    ("POST", f"/infer/{MODEL}?image=/etc/hostname", form(), 404, "There is no image '/etc/hostname'"),
    ("POST", f"/infer/{MODEL}?image=../served/x.nii.gz", form(), 404, "There is no image"),
    ("POST", f"/infer/{MODEL}?session_id={NO_SESSION}", form(), 404, "has ended; make a new one"),
    ("POST", f"/infer/{MODEL}?session_id=../../etc", form(), 404, "There is no session '../../etc'"),
    ("POST", "/infer/wsi_v2/samed_organ?image=case_a", form(), 404, "Not Found"),
    ("POST", "/train/nothing", {"json": {}}, 404, "There is no trainer 'nothing'"),
    ("POST", "/scoring/nothing", {"json": {}}, 404, "There is no scoring method 'nothing'"),
    ("POST", "/batch/infer/nothing", {"json": {}}, 404, "There is no model 'nothing'"),
    ("POST", "/activelearning/nothing", {"json": {}}, 404, "There is no strategy 'nothing'"),
    ("GET", "/model/nothing", {}, 404, "There is no model 'nothing'"),
    ("GET", "/model/info/nothing", {}, 404, "There is no model 'nothing'"),
    ("PUT", "/model/nothing", upload("file", "model.pt"), 404, "There is no model 'nothing'"),
    ("DELETE", "/model/nothing", {}, 404, "There is no model 'nothing'"),
    ("GET", f"/session/{NO_SESSION}", {}, 404, "Not Found"),
    ("GET", "/session/x", {}, 404, "There is no session 'x'"),
    ("DELETE", "/session/x", {}, 404, "There is no session 'x'"),
    ("GET", "/datastore/image?image=nobody", {}, 404, "NOT Found"),
    ("GET", "/datastore/image/info?image=nobody", {}, 404, "There is no image 'nobody'"),
    ("PUT", "/datastore/image/info?image=nobody", form(info="{}"), 404, "There is no image 'nobody'"),
    ("DELETE", "/datastore/image?id=nobody", {}, 404, "There is no image 'nobody'"),
    ("PUT", "/datastore/label?image=nobody", upload("label", "l.nii.gz"), 404, "There is no image 'nobody'"),
    ("GET", "/datastore/label?label=case_a&tag=final", {}, 404, "NOT Found"),
    ("GET", "/datastore/label/info?label=case_a&tag=final", {}, 404, "There is no label of 'case_a'"),
    ("PUT", "/datastore/label/info?label=case_a&tag=final", form(info="{}"), 404, "There is no label of 'case_a'"),
    ("DELETE", "/datastore/label?id=case_a&tag=final", {}, 404, "There is no label of 'case_a'"),
    ("GET", "/datastore/dataset", {}, 404, "No image has a final label yet"),
    ("GET", "/train/", {}, 404, "No Train Tasks Found"),
    ("GET", "/logs/gpu", {}, 404, "no GPU"),
    ("POST", "/reload", {}, 404, "Not Found"),
    ("GET", "/proxy/dicom/wado/x", {}, 404, "Not Found"),
    ("GET", "/nothing", {}, 404, "Not Found"),
    ("PUT", f"/model/{MODEL}", upload("file", "model.pt"), 403, "neither replaced nor removed over the network"),
    ("DELETE", f"/model/{MODEL}", {}, 403, "neither replaced nor removed over the network"),
    # malformed
    ("POST", INFER, form(params="[" * 50_000), 400, "params must be JSON, and it isn't"),
    ("POST", INFER, form(params='{"a": ' * 100 + "1" + "}" * 100), 400, "is nested too deeply"),
    ("POST", INFER, form(params='{"propagate": 1e400}'), 422, "numbers must be finite"),
    ("POST", INFER, form(params='{"label_tag": "\\ud800"}'), 400, "signs that are no text"),
    ("POST", f"/train/{MODEL}", json_body('{"val_split": Infinity}'), 422, "numbers must be finite"),
    ("POST", f"/train/{MODEL}", json_body('{"max_epochs": NaN}'), 422, "numbers must be finite"),
    ("POST", f"/train/{MODEL}", json_body('{"max_epochs": 1' + "0" * 300 + "}"), 422, "numbers must be finite"),
    ("POST", f"/train/{MODEL}", json_body('{"gpus": "\\u0000"}'), 400, "signs that are no text"),
    ("POST", f"/train/{MODEL}", json_body("[" * 100_000), 400, "error parsing the body"),
    ("POST", f"/train/{MODEL}", {"json": {"x": "y" * 70_000}}, 413, "at most 64000 characters"),
    ("POST", f"/train/{MODEL}", json_body('"' + "x" * (3 << 20) + '"'), 413, "At most 2 MB are taken without a file"),
    *(
        ("POST", path, {"json": body}, 400, "bundle_path is the server's own to say")
        for path in (f"/train/{MODEL}", f"/scoring/{MODEL}", f"/batch/infer/{MODEL}", "/train/", "/scoring/")
        for body in ({"bundle_path": "/tmp"}, {MODEL: {"bundle_path": "/tmp"}})
        if path.endswith("/") or MODEL not in body
    ),
    ("POST", f"/batch/infer/{MODEL}", {"json": {"images": [["case_a"]]}}, 404, "There is no image ['case_a']"),
    ("POST", f"{INFER}&session_id=%00", form(), 400, "signs that are no text"),
    ("POST", f"/infer/{MODEL}", upload("file", "x" * 2000), 400, "give it a plain name"),
    ("GET", "/logs/?lines=99999999999999999999", {}, 422, "numbers must be finite, and at most"),
    ("POST", INFER, {"data": b"{}", "headers": {"Content-Encoding": "gzip"}}, 415, "without Content-Encoding"),
    ("POST", INFER, {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
    ("PATCH", INFER, form(), 405, "Method Not Allowed"),
    ("PUT", "/datastore/image", upload("file", "._case_c.nii.gz"), 400, "image takes a name"),
    ("PUT", "/datastore/image", upload("file", "CASE_A.nii.gz"), 409, "which an upload doesn't replace"),
    ("PUT", "/datastore/image", upload("file", "x.nii.gz", b"junk"), 422, "the file ends too early"),
    ("PUT", "/datastore/label?image=case_a", upload("label", "l.nii.gz", b"junk"), 422, "the file ends too early"),
    ("POST", f"/infer/{MODEL}", form(), 400, "No image was named"),
    ("POST", INFER, form(params="{no json"), 400, "params must be JSON, and it isn't"),
    ("POST", INFER, form(params="[1, 2]"), 400, "params must be a JSON object"),
    ("POST", INFER, form(params='{"image": "/etc/passwd"}'), 400, "params can't hold 'image'"),
    ("POST", INFER, form(params='{"label_tag": "../../x"}'), 400, "label_tag takes a name"),
    ("POST", INFER, form(params=json.dumps({"text": "x" * (2 << 20)})), 400, "exceeded maximum size"),
    ("POST", INFER, upload("label", "scribbles.nii.gz"), 400, "send clicks or boxes"),
    ("POST", f"{INFER}&output=hologram", form(), 422, "output: Input should be 'image', 'json'"),
    ("POST", f"{INFER}&output=dicom_seg", form(), 400, "DICOM series"),
    ("POST", f"/train/{MODEL}", {"data": "{no json", "headers": {"Content-Type": "application/json"}}, 422, "JSON"),
    ("POST", f"/train/{MODEL}", {"json": {"gpus": 3}}, 400, 'gpus takes "all" or numbers'),
    ("POST", f"/train/{MODEL}", {"json": {"model": "other"}}, 400, "The address says samed_organ"),
    ("POST", "/train/", {"json": {MODEL: 3}}, 400, "must hold a JSON object"),
    ("POST", f"/batch/infer/{MODEL}", {"json": {"images": ["case_a", "nobody"]}}, 404, "There is no image 'nobody'"),
    ("POST", f"/batch/infer/{MODEL}", {"json": {"images": "some"}}, 422, "images takes all, labeled"),
    ("POST", f"/batch/infer/{MODEL}?images=some", {"json": {}}, 422, "images: Input should be 'all'"),
    ("POST", f"/batch/infer/{MODEL}", {"json": {"label_tag": "../x"}}, 400, "label_tag takes a name"),
    ("PUT", "/datastore/image?image=../../out", upload("file", "x.nii.gz"), 400, "image takes a name"),
    ("PUT", "/datastore/image", upload("file", "..nii.gz"), 400, "image takes a name"),
    ("PUT", "/datastore/image?image=x", upload("file", "x.sh"), 422, "Files end in .nii.gz"),
    ("PUT", "/datastore/image?image=x", form(), 422, "file: Field required"),
    ("PUT", "/datastore/image?image=x", upload("file", "x.nii.gz", params="7"), 400, "params must be a JSON object"),
    ("PUT", "/datastore/label?image=case_a&tag=../..", upload("label", "l.nii.gz"), 400, "tag takes a name"),
    ("PUT", "/datastore/label?image=case_a", upload("label", "l.exe"), 422, "Files end in"),
    ("PUT", "/datastore/label?image=case_a", upload("label", "l.nii.gz", params="{"), 400, "params must be JSON"),
    ("PUT", "/datastore/image/info?image=case_a", form(info="[]"), 400, "info must be a JSON object"),
    ("PUT", "/session/", form(), 422, "files: Field required"),
    ("PUT", "/session/?uncompress=true", upload("files", "x.zip", b"no archive"), 422, "can't be unpacked"),
    ("PUT", "/session/?uncompress=true", upload("files", "x.odd", b"no archive"), 422, "can't be unpacked"),
    # unreadable images, and images whose voxels lie elsewhere
    ("POST", f"/infer/{MODEL}", upload("file", "x.nrrd", detached("nrrd")), 422, "x.nrrd: "),
    ("POST", f"/infer/{MODEL}", upload("file", "x.mha", detached("mha")), 422, "x.mha: "),
    ("PUT", "/datastore/image", upload("file", "x.nrrd", detached("nrrd")), 422, "x.nrrd: "),
    ("PUT", "/datastore/label?image=case_a", upload("label", "x.nrrd", detached("nrrd")), 422, "x.nrrd: "),
    ("PUT", "/session/", upload("files", "x.nhdr", detached("nrrd")), 422, "x.nhdr: "),
    ("PUT", "/session/", upload("files", "x.mhd", detached("mha")), 422, "x.mhd: "),
    ("POST", f"/infer/{MODEL}?image=broken", form(), 422, "broken.nii.gz"),
    ("POST", f"/infer/{MODEL}", upload("file", "x.nii.gz", b"no image"), 422, "the file ends too early"),
    ("POST", f"/infer/{MODEL}?image=empty_folder", form(), 404, "empty_folder"),
    # too much
    ("POST", f"/infer/{MODEL}", upload("file", "x.nii.gz", bytes(4 << 20)), 413, "At most 3 MB are taken"),
    ("PUT", "/datastore/image?image=x", upload("file", "x.nii.gz", bytes(4 << 20)), 413, "At most 3 MB"),
]  # fmt: skip


@pytest.mark.parametrize("method, path, options, status, said", WRONG)
def test_each_fault_is_a_sentence(server, temporary, method, path, options, status, said):
    reply = server.request(method, path, **options)
    detail = reply.json()["detail"]
    assert reply.status_code == status, detail
    assert isinstance(detail, str) and said in detail
    assert not left_in(temporary)
    assert server.get("/health").json()["status"] == "ok"


def test_images_are_asked_for_by_name_and_by_path(server, work):
    """Paths in the studies folder and in that of --also_read; a study may be called as a folder of the app is."""
    shutil.copy(work / "studies/case_a.nii.gz", work / "studies/model.nii.gz")
    deadline = time.monotonic() + 10
    while "model" not in good(server.get("/datastore/?output=all")).json()["objects"]:
        assert time.monotonic() < deadline, "a new file in the studies folder wasn't noticed"
        time.sleep(0.2)
    replies = [
        server.infer(MODEL, image).content
        for image in (
            "case_a",
            "model",
            str(work / "studies/case_a.nii.gz"),
            str(work / "also/case_a.nii.gz"),
        )
    ]
    assert all(replies) and len({len(content) for content in replies}) == 1


def test_an_unknown_checksum(server):
    reply = server.request("HEAD", "/datastore/image?image=case_a&check_sum=CRC:1")
    assert reply.status_code == 404


def archives(name: str) -> dict[str, bytes]:
    """A .tar.gz and a .zip whose only file is called so."""
    tarred, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(name, b"")
    return {"x.tar.gz": tarred.getvalue(), "x.zip": zipped.getvalue()}


@pytest.mark.parametrize("leading", ["../../..", "absolute"])
def test_archives_stay_in_their_folder(server, work, temporary, leading):
    name = str(work / "escaped.nii.gz") if leading == "absolute" else f"{leading}/escaped.nii.gz"
    for archive, content in archives(name).items():
        reply = server.put("/session/?uncompress=true", **upload("files", archive, content))
        assert reply.status_code in (200, 422), reply.text
        if reply.status_code == 200:
            good(server.delete(f"/session/{reply.json()['session_id']}"))
    assert not list(work.parent.rglob("escaped.nii.gz"))
    assert not left_in(temporary)


def test_sessions_and_uploads_answer_and_leave_nothing(server, temporary, work):
    image = work / "studies/case_a.nii.gz"
    session = good(server.put("/session/", **upload("files", image.name, image.read_bytes()))).json()
    name = session["session_id"]
    by_session = server.infer(MODEL, session=name)
    assert server.infer(MODEL, file=image).content and by_session.params["label_names"]
    for output in ("image", "json", "all"):
        good(server.post(f"{INFER}&output={output}", **form(params="{}")))
    good(server.get(f"/session/{name}"))
    good(server.delete(f"/session/{name}"))
    deadline = time.monotonic() + 5
    while left_in(temporary) and time.monotonic() < deadline:
        time.sleep(0.05)  # a file goes after it was sent
    assert not left_in(temporary)
    assert not list((server.app_dir / "sessions").iterdir())


def test_the_server_answers_others_during_an_inference(server, work):
    long = work / "long.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((24, 24, 400), np.int16), np.eye(4)), long)
    done: list[float] = []

    def ask():
        server.infer(MODEL, file=long)
        done.append(time.monotonic())

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    time.sleep(0.3)
    for path in ("/health", "/info/", "/datastore/?output=all"):
        good(server.get(path))
    answered = time.monotonic()
    for asker in askers:
        asker.join()
    assert len(done) == 2 and answered < max(done)


def test_pages_of_strangers_may_not_ask(server):
    assert server.get("/info/", headers={"Origin": "https://evil.example"}).status_code == 403
    assert server.post("/train/", headers={"Origin": "null"}).status_code == 403
    assert server.get("/health", headers={"Host": "evil.example"}).status_code == 403
    for origin in ("http://localhost:3000", VIEWER):
        reply = good(server.get("/info/", headers={"Origin": origin}))
        assert reply.headers["access-control-allow-origin"] == origin
        asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        reply = good(server.request("OPTIONS", "/datastore/label", headers=asked))
        assert reply.headers["access-control-allow-origin"] == origin
        wrong = server.post("/infer/nothing", headers={"Origin": origin})  # a page can read the sentence too
        assert wrong.status_code == 404 and wrong.headers["access-control-allow-origin"] == origin


def test_the_pages_need_nothing_from_the_internet(server):
    page = good(server.get("/")).text
    assert MODEL in page and "/infer/{model}" in page and server.address in page
    assert "http" not in page.replace(server.address, "")
    assert good(server.get("/logs/")).headers["Content-Type"].startswith("text/plain")
    assert "/infer/{model}" in good(server.get("/openapi.json")).json()["paths"]


def test_a_batch_with_the_stock_settings(server):
    """Which are for several GPUs."""
    body = {"images": ["case_a", "case_b"], "multi_gpu": True, "label_tag": "original"}
    good(server.post(f"/batch/infer/{MODEL}", json=body))
    server.wait_until_running("batch/infer")
    assert server.post(f"/batch/infer/{MODEL}", json=body).status_code == 429
    assert server.wait_for("batch/infer")["status"] == "DONE"
    assert good(server.get("/datastore/")).json()["label_tags"] == {"original": 2}


def test_upload_in_pieces_that_say_no_length(server):
    head = b'--y\r\nContent-Disposition: form-data; name="file"; filename="x.nii.gz"\r\n\r\n'
    pieces = (piece for piece in [head, *[bytes(1 << 20)] * 5, b"\r\n--y--\r\n"])
    kind = {"Content-Type": "multipart/form-data; boundary=y"}
    reply = server.put("/datastore/image?image=x", data=pieces, headers=kind)
    assert reply.status_code == 413 and "At most 3 MB" in reply.json()["detail"]


def test_clients_that_leave_or_say_nothing_keep_nobody_out(server, temporary):
    """Lines without a request, of which the oldest are closed; and clients that don't wait for their answer."""
    lines = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(300)]
    for line in lines:
        line.sendall(b"GET /hea")
    began = time.monotonic()
    good(server.get("/health"))
    assert time.monotonic() - began < 5
    assert b"408" in lines[0].recv(1000) and not lines[1].recv(0)
    head = f"POST {INFER}&output=image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode())
    server.infer(MODEL, "case_a")  # after the one that nobody waits for
    for line in lines:
        line.close()
    assert not left_in(temporary)


def test_hidden_files_and_pipes_are_no_studies(server, work):
    studies = work / "studies"
    shutil.copy(studies / "case_a.nii.gz", studies / "._case_a.nii.gz")
    (studies / ".nii.gz").touch()
    os.mkfifo(studies / "pipe.nii.gz")
    shutil.copy(studies / "case_a.nii.gz", studies / "last.nii.gz")
    deadline = time.monotonic() + 10
    while "last" not in (listed := good(server.get("/datastore/?output=all")).json()["objects"]):
        assert time.monotonic() < deadline, "a new file in the studies folder wasn't noticed"
        time.sleep(0.2)
    assert not {"._case_a", "", "pipe"} & set(listed)
    assert server.next_sample("first")["id"] in listed
    assert server.post("/infer/samed_organ?image=._case_a.nii.gz", **form()).status_code == 404
    for name in ("._case_a.nii.gz", ".nii.gz", "pipe.nii.gz", "last.nii.gz"):
        (studies / name).unlink()


def test_nothing_was_written_elsewhere(server, work, temporary):
    """After all of the above: no traceback for what clients did wrong, and only images in the studies folder."""
    log = (server.app_dir / "logs/app.log").read_text()
    assert "Serving samed_organ" in log and "Traceback" not in log
    names = {path.name for path in (work / "studies").iterdir()}
    assert names == {
        "case_a.nii.gz",
        "case_b.nii.gz",
        "model.nii.gz",
        "broken.nii.gz",
        "empty_folder",
        "labels",
        "datastore_v2.json",
        ".lock",
    }
    assert not (server.app_dir / "mlruns").exists()


def test_a_second_server_on_the_same_studies_is_refused(server):
    done = subprocess.run(
        [*server.command, "--port", str(server.port + 1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert (
        f"served already, by process {server.process.pid}" in done.stderr and "Traceback" not in done.stderr
    )
