"""A `pgsam label` server with eight clients, half of them hostile, while it trains: does it stay as it was?

    python benchmarks/server_soak.py BUNDLE IMAGES LABELS [MINUTES] [PORT]

BUNDLE is a trained one, IMAGES and LABELS are folders whose files have the same names. All are copied. Four clients do
what viewers do and check what they get; four send what `hostile_requests` draws, archives that unpack to gigabytes,
bodies that come a byte at a time, and hang up in the middle. Prints requests by status, faults, deaths, memory and
descriptors over the time, and what is left in TMPDIR. Ends with 1 if anything was answered wrongly or the server isn't
as it was.
"""

from __future__ import annotations

import collections
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests
from hostile_requests import Hostile, fault_of

RIGHT, HOSTILE = 4, 4
REQUEST_S, START_S = 120, 180
KEPT = {
    ("DELETE", "/datastore/"),
    ("DELETE", "/datastore/image"),
    ("DELETE", "/datastore/label"),
    ("POST", "/train/"),
}
"""What would take from the other clients what they check."""


class Unanswered(Exception):
    """A client that does right got another status than 200."""


class Soak:
    """The server's address and process, and what its clients have seen."""

    def __init__(self, work: Path, bundle: Path, images: Path, labels: Path, port: int) -> None:
        self.work, self.port, self.address = work, port, f"http://127.0.0.1:{port}"
        self.bundle = work / bundle.name
        shutil.copytree(bundle, self.bundle, symlinks=True, ignore=shutil.ignore_patterns("store", "eval"))
        shutil.copytree(images, work / "studies")
        (work / "tmp").mkdir()
        self.labels = {name: labels / name for name in os.listdir(work / "studies")}
        self.studies = {name.removesuffix(".nii.gz"): work / "studies" / name for name in self.labels}
        self.statuses: collections.Counter[tuple[str, int]] = collections.Counter()
        self.faults: list[str] = []
        self.over = threading.Event()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "pgsam_monai.commands.main", "label", self.bundle, "--studies",
            self.work / "studies",
            "--port", self.port, "--app_dir", self.work / "app",
        ]  # fmt: skip
        environment = {**os.environ, "TMPDIR": str(self.work / "tmp"), "OMP_NUM_THREADS": "1"}
        with (self.work / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return requests.get(f"{self.address}/health", timeout=5).raise_for_status()
            except requests.RequestException:
                time.sleep(0.5)
        raise SystemExit(f"The server doesn't start: {(self.work / 'server.log').read_text()[-2000:]}")

    def measured(self) -> str:
        """Memory and descriptors of the server itself; its reader and its training come and go."""
        process = psutil.Process(self.process.pid)
        files = [
            path for path in (self.work / "tmp").rglob("*") if path.is_file() and "inductor" not in str(path)
        ]
        return (
            f"RSS {process.memory_info().rss >> 20} MB, {process.num_fds()} descriptors, "
            f"{process.num_threads()} threads, {len(files)} files in TMPDIR"
        )

    def ask(self, who: str, method: str, path: str, **options: Any) -> requests.Response:
        """A request of a client that does right, and asks again where too many wait: anything but 200 is a fault."""
        deadline = time.monotonic() + REQUEST_S
        while True:
            reply = requests.request(method, self.address + path, timeout=REQUEST_S, **options)
            self.statuses[who, reply.status_code] += 1
            if reply.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(1)
        if reply.status_code not in (200, 429):  # a training runs already
            raise Unanswered(f"{who}: {method} {path}: {reply.status_code} {reply.text[:300]}")
        return reply

    def check(self, right: bool, said: str) -> None:
        if not right:
            self.faults.append(said)


def segments(soak: Soak, draw: random.Random) -> None:
    """By name, by upload and by session; the label map lies on the image's grid and has its classes only."""
    name, file = draw.choice(list(soak.studies.items()))
    how, session = draw.choice(["name", "file", "session"]), None
    if how == "session":
        made = soak.ask("right", "PUT", "/session/", files={"files": (file.name, file.read_bytes())})
        session = made.json().get("session_id")
    extra = {"name": {"image": name}, "session": {"session_id": session}, "file": {}}[how]
    files = {"file": (file.name, file.read_bytes())} if how == "file" else {"": ""}
    query = {"output": "image", **extra}
    reply = soak.ask(
        "right", "POST", f"/infer/{soak.bundle.name}", params=query, data={"params": "{}"}, files=files
    )
    if reply.status_code == 200:
        image, found = nib.load(file), nib.Nifti1Image.from_bytes(_inflated(reply.content))
        same = found.shape == image.shape[:3] and np.allclose(found.affine, image.affine, atol=1e-3)
        soak.check(same, f"{name} by {how}: the label map has another grid")
        soak.check(np.asarray(found.dataobj).max() < 64, f"{name} by {how}: no label map")
    if session:
        soak.ask("right", "DELETE", f"/session/{session}")


def labels(soak: Soak, draw: random.Random) -> None:
    """What was saved comes back as it was; each client has a tag of its own, which another's DELETE doesn't end."""
    name, file = draw.choice([(name, soak.labels[file.name]) for name, file in soak.studies.items()])
    content = file.read_bytes()
    tag = f"soak{threading.get_ident()}"
    soak.ask(
        "right", "PUT", f"/datastore/label?image={name}&tag={tag}", files={"label": (file.name, content)}
    )
    reply = soak.ask("right", "GET", f"/datastore/label?label={name}&tag={tag}")
    soak.check(reply.content == content, f"label of {name} came back otherwise")
    soak.ask("right", "DELETE", f"/datastore/label?id={name}&tag={tag}")


def looks(soak: Soak, draw: random.Random) -> None:
    """Lists, next samples, health; every study stays."""
    listed = soak.ask("right", "GET", "/datastore/?output=all").json()["objects"]
    soak.check(set(listed) >= set(soak.studies), f"studies are missing: {set(soak.studies) - set(listed)}")
    sample = soak.ask("right", "POST", "/activelearning/random", json={}).json()
    if sample and sample["id"] not in listed:  # a hostile client may have added it since
        listed = soak.ask("right", "GET", "/datastore/?output=all").json()["objects"]
        soak.check(sample["id"] in listed, f"next sample {sample}")
    began = time.monotonic()
    soak.ask("right", "GET", "/health")
    soak.check(time.monotonic() - began < 10, f"/health took {time.monotonic() - began:.0f} s")


def trains(soak: Soak, draw: random.Random) -> None:
    """Keeps a training under way."""
    if not soak.ask("right", "GET", "/health").json()["training"]:
        body = {"max_epochs": 1000, "iterations_per_epoch": 2, "val_split": 0}
        soak.ask("right", "POST", f"/train/{soak.bundle.name}", json=body)
    time.sleep(5)


def draws(soak: Soak, draw: random.Random, hostile: Hostile) -> None:
    asked = hostile.request()
    began = time.monotonic()
    try:
        reply = requests.request(timeout=REQUEST_S, **asked)
    except requests.exceptions.InvalidHeader:
        return
    except requests.RequestException as error:
        return soak.check(False, f"{asked['method']} {asked['url'][:200]}: {str(error)[:300]}")
    soak.statuses["hostile", reply.status_code] += 1
    fault = fault_of(reply, 0)  # others wait for the training here
    soak.check(not fault, f"{asked['method']} {asked['url']}: {reply.status_code} {fault} {reply.text[:300]}")
    soak.check(time.monotonic() - began < REQUEST_S, f"{asked['url']} took long")


def bombs(soak: Soak, draw: random.Random, hostile: Hostile) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("z.nii", "w") as file:
        for _ in range(30):
            file.write(bytes(10**7))
    reply = requests.put(
        f"{soak.address}/session/?uncompress=true",
        files={"files": ("b.zip", packed.getvalue())},
        timeout=REQUEST_S,
    )
    soak.statuses["hostile", reply.status_code] += 1
    soak.check(reply.status_code in (413, 503), f"a bomb: {reply.status_code} {reply.text[:200]}")


def replaces(soak: Soak, draw: random.Random, hostile: Hostile) -> None:
    for method in ("PUT", "DELETE"):
        files = {"file": ("model.pt", b"junk")} if method == "PUT" else None
        reply = requests.request(
            method, f"{soak.address}/model/{soak.bundle.name}", files=files, timeout=REQUEST_S
        )
        soak.statuses["hostile", reply.status_code] += 1
        soak.check(reply.status_code in (403, 503), f"{method} model: {reply.status_code}")


def hangs_up(soak: Soak, draw: random.Random, hostile: Hostile) -> None:
    """In the head, in the body, or before the answer."""
    name = draw.choice(list(soak.studies))
    head = f"POST /infer/{soak.bundle.name}?image={name}&output=image HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    body = draw.choice(
        [head[:40], head, head + "Content-Length: 100000\r\n\r\nabc", head + "Content-Length: 0\r\n\r\n"]
    )
    with socket.create_connection(("127.0.0.1", soak.port), timeout=30) as line:
        line.sendall(body.encode())
        time.sleep(draw.choice([0, 0.1, 1]))
    soak.statuses["hung up", 0] += 1


def dawdles(soak: Soak, draw: random.Random, hostile: Hostile) -> None:
    """A few dozen lines at once, each a byte at a time, for a while."""
    lines = []
    for _ in range(40):
        line = socket.create_connection(("127.0.0.1", soak.port), timeout=30)
        line.sendall(
            draw.choice(
                [b"GET /hea", b"POST /infer/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n"]
            )
        )
        lines.append(line)
    for _ in range(draw.randrange(2, 20)):
        for line in lines:
            try:
                line.sendall(b"x")
            except OSError:
                soak.statuses["cut off", 0] += 1
        time.sleep(0.5)
    for line in lines:
        line.close()


def _inflated(content: bytes) -> bytes:
    import gzip

    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def client(soak: Soak, seed: int, tasks: list[Callable], *given: Any) -> None:
    draw = random.Random(seed)
    while not soak.over.is_set():
        task = draw.choice(tasks)
        try:
            task(soak, draw, *given)
        except (Unanswered, requests.RequestException, OSError, ValueError, KeyError) as error:
            soak.faults.append(f"{task.__name__}: {type(error).__name__} {str(error)[:300]}")
            time.sleep(1)


def main(bundle: str, images: str, label_folder: str, minutes: float = 2, port: int = 8790) -> int:
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), Path(bundle).absolute(), Path(images), Path(label_folder), int(port))
        soak.start()
        for name, file in soak.studies.items():
            content = soak.labels[file.name].read_bytes()
            soak.ask("right", "PUT", f"/datastore/label?image={name}", files={"label": (file.name, content)})
        right = [[segments], [segments, labels], [labels, looks], [trains]]
        threads = [threading.Thread(target=client, args=(soak, n, right[n])) for n in range(RIGHT)]
        for number in range(HOSTILE):
            hostile = Hostile(soak.address, number)
            hostile.routes = [
                route for route in hostile.routes if route[:2] not in KEPT and "/train/" not in route[1]
            ]
            wrong = [draws] * 30 + [hangs_up] * 6 + [replaces, replaces, bombs, dawdles]
            threads.append(threading.Thread(target=client, args=(soak, 100 + number, wrong, hostile)))
        weights = soak.bundle / "models/model.pt"
        for thread in threads:
            thread.start()
        for share in range(5):
            time.sleep(0.0 if share == 0 else float(minutes) * 60 / 4)
            alive = soak.process.poll() is None
            print(
                f"{share * float(minutes) / 4:5.1f} min: {soak.measured() if alive else 'the server is dead'}",
                flush=True,
            )
            if not alive:
                break
        soak.over.set()
        for thread in threads:
            thread.join()
        return report(soak, weights)


def report(soak: Soak, weights: Path) -> int:
    alive = soak.process.poll() is None
    if alive:
        requests.delete(f"{soak.address}/train/", timeout=REQUEST_S)
        time.sleep(5)
        print(f"at rest: {soak.measured()}")
        soak.process.send_signal(signal.SIGTERM)
        soak.process.wait(60)
    left = [str(path) for path in (soak.work / "tmp").rglob("*") if path.is_file()]
    log = (soak.work / "app/logs/app.log").read_text(errors="replace")
    print(
        f"by status: {json.dumps({f'{who} {status}': n for (who, status), n in sorted(soak.statuses.items())})}"
    )
    print(
        f"left in TMPDIR after the end: {left}; tracebacks in the log: {log.count('Traceback (most recent')}"
    )
    for part in log.split("Traceback (most recent")[1:11]:
        print("TRACEBACK", part[:3000])
    for fault in soak.faults[:40]:
        print("WRONG", fault)
    print(
        f"{len(soak.faults)} wrong answers; the server {'lived' if alive else 'DIED'}; model.pt {weights.is_file()}"
    )
    return 0 if alive and not soak.faults and not left else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], *map(float, sys.argv[4:])))
