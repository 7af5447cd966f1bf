"""`pgsam click`, and a client that points as 3D Slicer's extension for nnInteractive does since its version 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import requests

from doors.running import TIMEOUT_S, running
from pgsam_monai.evaluation.interaction.users import Correction
from pgsam_monai.nninteractive.blosc import pack, unpack
from pgsam_monai.nninteractive.leases import LEASE, META


@contextmanager
def click_server(
    weights: str,
    orientation: str,
    work: Path,
    *,
    window: tuple[float, float] | None = None,
    plane: str | None = None,
    threads: int | None = None,
) -> Iterator[str]:
    """The address of a server that published weights answer at; `work` keeps what it printed."""
    words = ["click", weights, "--orientation", orientation]
    words += [f"--window={','.join(map(str, window))}"] if window else []
    words += ["--plane", plane] if plane else []
    with running(words, health="", log=work / "click_server.txt", threads=threads) as address:
        yield address


def orientation_of(image: str) -> str:
    """Where a file's columns, rows and slices run to: what the protocol doesn't say."""
    return "".join(nib.aff2axcodes(nib.load(image).affine))


class ClickAnswers:
    """An image that was sent, and the mask of it that the client keeps, of which it is told what changed."""

    def __init__(self, address: str, image: str) -> None:
        """`image`: a file, which is sent as 3D Slicer would: voxels (z, y, x) and spacing."""
        opened = nib.load(image)
        voxels = np.asarray(opened.dataobj).transpose()
        spacing = [float(mm) for mm in nib.affines.voxel_sizes(opened.affine)[::-1]]
        self._address = address
        self._lease = {LEASE: requests.post(f"{address}/claim", timeout=TIMEOUT_S).json()["lease_token"]}
        self._mask = np.zeros(voxels.shape, bool)
        self._ask("set_image", pack(voxels[None]), image_properties={"spacing": spacing})
        self._ask("set_target_buffer", shape=list(voxels.shape), dtype="uint8")

    def start_over(self) -> None:
        self._ask("reset_interactions")
        self._mask[:] = False

    def click(self, click: Correction) -> None:
        reply = self._ask(
            "add_point_interaction", coordinates=list(click.voxel[::-1]), include_interaction=click.positive
        )
        changed = json.loads(reply.headers[META])["bbox"]
        if changed is not None:
            self._mask[tuple(slice(*ends) for ends in changed)] = unpack(reply.content)

    def mask(self) -> np.ndarray:
        """(i, j, k)"""
        return self._mask.transpose()

    def close(self) -> None:
        """The server needs the image no more."""
        self._ask("release")

    def _ask(self, endpoint: str, body: bytes | None = None, **said: object) -> requests.Response:
        words = json.dumps(said)
        kind = "application/json" if body is None else "application/octet-stream"
        headers = self._lease | {"Content-Type": kind} | ({} if body is None else {META: words})
        reply = requests.post(
            f"{self._address}/{endpoint}", data=words if body is None else body, headers=headers, timeout=TIMEOUT_S
        )  # fmt: skip
        if not reply.ok:
            sys.exit(f"{endpoint}: {reply.status_code} {reply.reason}")
        return reply
