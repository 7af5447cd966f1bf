"""Asks a `pgsam label` server wrongly, many times,
and says what it answered: a client's fault is 4xx with a sentence.

    python benchmarks/hostile_requests.py http://127.0.0.1:8000 [REQUESTS] [SEED]

The routes and their parameters are the server's own description; the values are drawn from what breaks programs. The
server should be one for trials: images are uploaded and removed, sessions made,
labels replaced. Ends with 1 if any answer
was 5xx (other than 503 and 507, for waiting and for full disks), wasn't JSON with a sentence, or took more than 10 s.
"""

from __future__ import annotations

import collections
import io
import json
import random
import sys
import tarfile
import time
import zipfile
from typing import Any

import requests

SLOW_S = 10
WAITING = (503, 507)
SKIPPED = {("DELETE", "/train/"), ("DELETE", "/scoring/")}
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
BREAKERS: list[Any] = [
    "", " ", "x", "../../etc/passwd", "/etc/passwd", "..", ".", "\0", "a\0b", "%00", "%2e%2e/", "\ud800",
    "$import os", "@x",
    "x##y", "x" * 5000, "é" * 300, "\u202e", "[1,2", "{}", "[]", "null", "true", "NaN", "Infinity", "-1", "1e400",
    "9" * 400,
    "0", "-0.0", "final", "all", "first", "random", "case_a", "CON", "a;b", "a\r\nX: y", "<script>", "'", '"', "~",
    "*", "??",
    -1, 0, 1, 2**31, 2**63, 10**400, -(2**63), 1.5, True, False, None, [], {}, [[]], {"a": {"b": {}}}, [None],
    ["x"] * 3000,
]  # fmt: skip
RAW_JSON = [
    "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "{", "",
    "7", '"x"',
    '{"a": 1' + "0" * 6000 + "}", "\ufeff{}", "nul", "[1, 2]", '{"a": 1, "a": 2}', '{"\\u0000": 1}',
]  # fmt: skip
KNOBS = (
    "max_epochs", "iterations_per_epoch", "learning_rate", "val_split", "device", "gpus", "pretrained",
    "model_filename",
    "run_id", "tracking", "tracking_uri", "images", "multi_gpu", "label_tag", "result_extension", "result_dtype",
    "text",
    "texts", "label", "foreground", "background", "roi", "propagate", "max_samples", "simulation_size", "save_label",
    "label_values", "space", "client_id", "enqueue", "max_workers", "timeout", "logging", "bundle_path", "model",
    "image",
)  # fmt: skip
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x", "text/plain", "\x7f", "application/json; charset=utf-77", "image/png",
)  # fmt: skip


def images(draw: random.Random) -> tuple[str, bytes]:
    """Name and content of something that is no good image."""
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: {}\nencoding: raw\nendian: little\n{}\n"
    mha = "ObjectType = Image\nNDims = {}\nDimSize = {}\nElementType = MET_SHORT\nElementDataFile = {}\n"
    size = draw.choice(
        ["4 4 4", "0 4 4", "-1 4 4", "99999 99999 99999", "4", "4 4 4 4 4 4", "x", "4294967296 1 1"]
    )
    choices = [
        ("a.nrrd", nrrd.format(size, draw.choice(["", "data file: /etc/passwd\n",
        "data file: LIST\n"])).encode() + bytes(128)),
        ("a.nhdr", nrrd.format(size, "data file: a.raw\n").encode()),
        ("a.mha", mha.format(draw.choice([0, 1, 3, 99, -3, 10**9]), size, "LOCAL").encode() + bytes(128)),
        ("a.mha", mha.format(3, size, "/etc/passwd").encode()),
        ("a.mhd", mha.format(3, size, "a.raw").encode()),
        ("a.nii", draw.randbytes(400)),
        ("a.nii", (348).to_bytes(4, "little") + draw.randbytes(400)),
        ("a.nii.gz", b"\x1f\x8b\x08" + draw.randbytes(100)),
        ("a.png", b"\x89PNG\r\n\x1a\n" + draw.randbytes(100)),
        ("a.dcm", bytes(128) + b"DICM" + draw.randbytes(200)),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + draw.randbytes(200)),
        ("a.npz", draw.randbytes(100)),
        ("a.hdr", draw.randbytes(348)),
        ("a.tif", b"II*\0" + draw.randbytes(100)),
        (draw.choice(["", "..", "a" * 3000 + ".nii", "a\0.nii", "._a.nii.gz", "a.exe", "\ud800.nii",
        "a/b/../c.nii"]), b"x"),
    ]  # fmt: skip
    return draw.choice(choices)


def archives(draw: random.Random) -> tuple[str, bytes]:
    """Name and content of an archive that should not be unpacked as it is."""
    packed = io.BytesIO()
    name = draw.choice(["../x.nii", "/x.nii", "x.nii", "a/" * 500 + "x", "._x", "x\\..\\y", "é.nii", ""])
    if draw.random() < 0.5:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(draw.choice([1, 2, 6000])):
                archive.writestr(f"{name}{number}", bytes(draw.choice([0, 10, 10**6]) if number < 100 else 0))
    else:
        with tarfile.open(fileobj=packed, mode=draw.choice(["w", "w:gz"])) as archive:
            info = tarfile.TarInfo(name or "x")
            info.type = draw.choice(
                [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.XHDTYPE]
            )
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO())
    content = packed.getvalue()
    cut = draw.choice([len(content), len(content), draw.randrange(1, len(content))])
    return draw.choice(["a.zip", "a.tar.gz", "a.tar", "a", "a.7z"]), content[:cut]


class Hostile:
    """Draws requests from a server's own description."""

    def __init__(self, address: str, seed: int) -> None:
        self.address, self.draw = address.rstrip("/"), random.Random(seed)
        self.api = requests.get(f"{self.address}/openapi.json", timeout=30).json()
        self.models = requests.get(f"{self.address}/health", timeout=30).json()["models"]
        listed = requests.get(f"{self.address}/datastore/?output=all", timeout=30).json()
        self.studies = list(listed["objects"])[:3]
        self.routes = [
            (method.upper(), path, entry)
            for path, methods in self.api["paths"].items()
            for method, entry in methods.items()
            if (method.upper(), path) not in SKIPPED
        ]

    def value(self, name: str) -> Any:
        """Something for a parameter: often right, so that the next one is reached too."""
        right = {
            "model": self.models,
            "method": self.models,
            "image": self.studies,
            "id": self.studies,
            "label": self.studies,
        }
        if self.draw.random() < 0.6 and right.get(name):
            return self.draw.choice(right[name])
        return self.draw.choice(BREAKERS)

    def params(self) -> str:
        if self.draw.random() < 0.3:
            return self.draw.choice(RAW_JSON)
        chosen = {
            name: self.draw.choice(BREAKERS) for name in self.draw.sample(KNOBS, self.draw.randrange(4))
        }
        return json.dumps(chosen)[:200_000]

    def request(self) -> dict[str, Any]:
        """Arguments of `requests.request`."""
        method, path, entry = self.draw.choice(self.routes)
        if self.draw.random() < 0.05:
            method = self.draw.choice(METHODS).upper()
        query = {}
        for parameter in entry.get("parameters", ()):
            value = self.value(parameter["name"])
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", requests.utils.quote(_text(value), safe=""))
            elif self.draw.random() < 0.7:
                query[parameter["name"]] = _text(value)
        asked: dict[str, Any] = {"method": method, "url": self.address + path, "params": query}
        return asked | self.body(entry)

    def body(self, entry: dict[str, Any]) -> dict[str, Any]:
        kinds = entry.get("requestBody", {}).get("content", {})
        if self.draw.random() < 0.08:
            return {"data": self.draw.randbytes(200), "headers": {"Content-Type": self.draw.choice(TYPES)}}
        if "application/json" in kinds:
            return {
                "data": self.params().encode(errors="surrogatepass"),
                "headers": {"Content-Type": "application/json"},
            }
        if kinds:
            schema = self.api["components"]["schemas"][
                next(iter(kinds.values()))["schema"]["$ref"].rpartition("/")[2]
            ]
            files = [name for name in schema["properties"] if name not in ("params", "info")]
            make = archives if "files" in files and self.draw.random() < 0.6 else images
            sent = {
                name: make(self.draw)
                for name in files
                if name in schema.get("required", ()) or self.draw.random() < 0.5
            }
            fields = {name: self.params() for name in ("params", "info") if name in schema["properties"]}
            return {
                "data": {k: v.encode(errors="replace") for k, v in fields.items()},
                "files": _named(sent) or {"": ""},
            }
        return {}


def _text(value: Any) -> str:
    return str(value).encode(errors="replace").decode()


def _named(files: dict[str, tuple[str, bytes]]) -> dict[str, tuple[str, bytes]]:
    return {field: (_text(name), content) for field, (name, content) in files.items()}


def fault_of(reply: requests.Response, seconds: float) -> str | None:
    """What is wrong with an answer; None for a good one."""
    if reply.status_code >= 500 and reply.status_code not in WAITING:
        return "a fault of the server"
    if seconds > SLOW_S:
        return f"{seconds:.0f} s"
    if reply.status_code >= 400 and reply.request.method != "HEAD":
        try:
            detail = reply.json()["detail"]
        except (ValueError, KeyError, TypeError):
            return "no sentence"
        if not isinstance(detail, str) or "Traceback" in detail:
            return "no sentence"
    return None


def main(address: str, count: int = 1000, seed: int = 0) -> int:
    hostile, statuses, faults = Hostile(address, seed), collections.Counter(), 0
    longest = 0.0
    for number in range(count):
        asked = hostile.request()
        began = time.monotonic()
        try:
            reply = requests.request(timeout=60, **asked)
        except requests.exceptions.InvalidHeader:
            continue  # one that can't even be sent
        except requests.RequestException as error:
            fault, status = f"no answer: {error}", 0
        else:
            seconds = time.monotonic() - began
            longest = max(longest, seconds)
            fault, status = fault_of(reply, seconds), reply.status_code
        statuses[status] += 1
        if fault:
            faults += 1
            shown = {key: str(value)[:300] for key, value in asked.items()}
            print(f"request {number}: {status} {fault}: {'' if status == 0 else reply.text[:300]}\n  {shown}")
    print(
        f"{count} requests, by status: {dict(sorted(statuses.items()))}; longest {longest:.1f} s; {faults} wrong."
    )
    alive = requests.get(f"{address}/health", timeout=30).json()
    print(f"The server lives: {alive}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
