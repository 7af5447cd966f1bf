"""Many clients at once while a training runs: latency by model, errors, memory, and files that stay behind.

    python benchmarks/label_load.py bundles/medsa_x bundles/samed_x bundles/refsam3d_x --data /data/Task04_Hippocampus
    python benchmarks/label_load.py bundles/samed_x --data … --clients 4 --requests 10

Starts `pgsam label` on a free port of this machine, with a studies folder of its own: copies of the first images,
labels of the first two. Every client sends its requests one after the other; models, images, clicks and texts are drawn
by seed. Meanwhile the first bundle is trained; when one training ends, the next begins. The server is stopped by its
process id. Prints tables in Markdown. Resident memory is the server process's own; trainings are processes beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import psutil
import requests

TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request."""

    model: str
    kind: str
    time_s: float
    rss_mb: float
    error: str | None


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        studies, shapes = copy_studies(arguments.data, work / "studies", arguments.images)
        (work / "tmp").mkdir()
        address, server = start_server(arguments, studies, work)
        try:
            answers, trained = load(address, server.pid, shapes, arguments)
            time.sleep(1)
            left = sorted(str(path.relative_to(work)) for path in (work / "tmp").rglob("*") if path.is_file())
            rest_mb = rss_mb(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        print_tables(answers, trained, left, rest_mb, arguments)
        if any(answer.error for answer in answers):
            sys.exit(1)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="+", type=Path, help="trained bundles")
    parser.add_argument("--data", type=Path, required=True, help="a folder with imagesTr and labelsTr")
    parser.add_argument("--images", type=int, default=6, help="so many of its images are studies")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=25, help="of each client")
    parser.add_argument("--warm_up", type=int, default=60, help="requests before memory is first read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", nargs="*", default=[], help="further arguments of `pgsam label`")
    return parser.parse_args()


def copy_studies(data: Path, folder: Path, count: int) -> tuple[Path, dict[str, tuple[int, ...]]]:
    """The first images, labels of two of them; returns the folder and the images' shapes by name."""
    images = sorted((data / "imagesTr").glob("[!.]*.nii.gz"))[:count]
    final = folder / "labels" / "final"
    final.mkdir(parents=True)
    for number, image in enumerate(images):
        shutil.copy(image, folder / image.name)
        if number < 2:
            shutil.copy(data / "labelsTr" / image.name, final / image.name)
    return folder, {image.name.removesuffix(".nii.gz"): nib.load(image).shape[:3] for image in images}


def start_server(arguments: argparse.Namespace, studies: Path, work: Path) -> tuple[str, subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pgsam_monai.commands.main", "label", *map(str, arguments.bundles)]
    command += ["--studies", str(studies), "--port", str(port), "--app_dir", str(work / "app")]
    log = (work / "server.log").open("w")
    server = subprocess.Popen(
        [*command, *arguments.label], stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(work / "tmp")}
    )
    address = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    while time.monotonic() - started < 180:
        try:
            if requests.get(f"{address}/health", timeout=2).ok:
                print(f"The server answers after {time.monotonic() - started:.1f} s.")
                return address, server
        except requests.ConnectionError:
            pass
        if server.poll() is not None:
            break
        time.sleep(0.2)
    server.kill()
    sys.exit(f"The server didn't start:\n{(work / 'server.log').read_text()[-3000:]}")


def load(
    address: str, pid: int, shapes: dict[str, tuple[int, ...]], arguments: argparse.Namespace
) -> tuple[list[Answer], int]:
    """All clients' answers in the order in which they came, and how many trainings were begun."""
    models = requests.get(f"{address}/info/", timeout=60).json()["models"]
    answers: list[Answer] = []
    done = threading.Event()
    begun: list[str] = []
    trainer = threading.Thread(target=keep_training, args=(address, arguments.bundles[0].name, done, begun))
    trainer.start()

    def client(number: int) -> None:
        draw = random.Random(f"{arguments.seed} {number}")
        for _ in range(arguments.requests):
            answers.append(ask(address, pid, models, shapes, draw))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(arguments.clients)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    done.set()
    trainer.join()
    requests.delete(f"{address}/train/", timeout=60)
    return answers, len(begun)


def keep_training(address: str, bundle: str, done: threading.Event, begun: list[str]) -> None:
    """Trainings of one epoch after another until `done`."""
    while not done.is_set():
        running = requests.get(f"{address}/train/", params={"check_if_running": True}, timeout=60)
        if running.status_code == 404:
            sent = requests.post(f"{address}/train/{bundle}", json={"max_epochs": 1}, timeout=60)
            begun.append(sent.json()["id"])
        done.wait(1)


def ask(
    address: str, pid: int, models: dict, shapes: dict[str, tuple[int, ...]], draw: random.Random
) -> Answer:
    name = draw.choice(sorted(models))
    image = draw.choice(sorted(shapes))
    params, kind = draw_params(models[name], shapes[image], draw)
    start = time.monotonic()
    error = None
    try:
        reply = requests.post(
            f"{address}/infer/{name}", params={"image": image}, data={"params": json.dumps(params)}, timeout=TIMEOUT_S
        )  # fmt: skip
        if not reply.ok:
            error = f"{reply.status_code}: {reply.text[:300]}"
        elif "multipart/form-data" not in reply.headers["content-type"]:
            error = f"no label map but {reply.headers['content-type']}"
    except requests.RequestException as fault:
        error = repr(fault)
    return Answer(model=name, kind=kind, time_s=time.monotonic() - start, rss_mb=rss_mb(pid), error=error)


def draw_params(model: dict, shape: tuple[int, ...], draw: random.Random) -> tuple[dict, str]:
    """What is asked of a model, and what to call that: as 3D Slicer would send it."""
    params = {"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "load"}
    labels = [label for label in model["labels"] if label != "background"]
    if model["type"] in ("deepedit", "deepgrow"):
        label = draw.choice(labels)
        clicks = [[draw.randrange(side // 3, side - side // 3) for side in shape] for _ in range(2)]
        key = label if model["type"] == "deepedit" else "foreground"
        return params | {"label": label, key: clicks[:1], "background": clicks[1:]}, "clicks"
    if "text" in model["config"] and draw.random() < 0.5:
        return params | {"text": f"perform {draw.choice(labels)} segmentation"}, "text"
    return params, "automatic"


def rss_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def print_tables(
    answers: list[Answer], trained: int, left: list[str], rest_mb: float, arguments: argparse.Namespace
) -> None:
    print(
        f"\n{arguments.clients} clients, {arguments.requests} requests each; {trained} trainings begun meanwhile.\n"
    )
    print("| model | asked | requests | median s | 95 % | longest |\n|---|---|---|---|---|---|")
    for model, kind in sorted({(answer.model, answer.kind) for answer in answers}):
        times = sorted(a.time_s for a in answers if (a.model, a.kind) == (model, kind))
        p95 = times[min(len(times) - 1, int(0.95 * len(times)))]
        print(
            f"| {model} | {kind} | {len(times)} | {statistics.median(times):.2f} | {p95:.2f} | {times[-1]:.2f} |"
        )
    errors = [answer for answer in answers if answer.error]
    print(f"\nErrors: {len(errors)} of {len(answers)}")
    for answer in errors[:10]:
        print(f"- {answer.model}, {answer.kind}: {answer.error}")
    warm = min(arguments.warm_up, len(answers) // 2)
    later = [answer.rss_mb for answer in answers[warm:]]
    half = len(later) // 2
    print(
        f"Resident memory, MB: {answers[0].rss_mb:.0f} at the first answer; after {warm} answers mean of the next "
        f"{half} {statistics.mean(later[:half]):.0f}, of the last {len(later) - half} "
        f"{statistics.mean(later[half:]):.0f}, highest {max(later):.0f}; {rest_mb:.0f} at rest in the end."
    )
    print(f"Files left in the server's temporary folder: {len(left)} {left[:5]}")


if __name__ == "__main__":
    main()
