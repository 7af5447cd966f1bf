"""`pgsam label` without a bundle, and a client that clicks on one structure of one study."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import requests

from doors.running import TIMEOUT_S, running
from pgsam_monai.evaluation.interaction.users import Correction

MODEL, TRAINER = "drawn_tiny_deepgrow", "drawn_tiny"


def copy_studies(cases: Sequence[Mapping[str, str]], folder: Path) -> Path:
    """The images of cases, each with the case's name."""
    folder.mkdir(parents=True)
    for case in cases:
        shutil.copy(case["image"], folder / f"{case['name']}.nii.gz")
    return folder


@contextmanager
def label_server(
    studies: Path,
    labels: Sequence[str],
    work: Path,
    *,
    window: tuple[float, float] | None = None,
    plane: str | None = None,
    threads: int | None = None,
) -> Iterator[str]:
    """The address of a server that `drawn_tiny` answers at; `work` keeps its app and what it printed."""
    words = ["label", "--studies", str(studies), "--labels", ",".join(labels), "--app_dir", str(work / "app")]
    words += [f"--window={','.join(map(str, window))}"] if window else []
    words += ["--plane", plane] if plane else []
    with running(words, health="health", log=work / "label_server.txt", threads=threads) as address:
        yield address


def infer(address: str, model: str, study: str, params: Mapping, file: Path) -> np.ndarray:
    """The label map (i, j, k) that a model answers with."""
    reply = requests.post(
        f"{address}/infer/{model}", params={"image": study, "output": "image"}, data={"params": json.dumps(params)},
        timeout=TIMEOUT_S,
    )  # fmt: skip
    if not reply.ok:
        sys.exit(f"{model}, {study}: {reply.text[:500]}")
    file.write_bytes(reply.content)
    return np.asarray(nib.load(file).dataobj)


class LabelAnswers:
    """A structure of a study, clicked on over the server: each request says all clicks so far."""

    def __init__(
        self, address: str, study: str, label: str, shape: Sequence[int], folder: Path, *, client: str
    ) -> None:
        """
        Args:
            address: of the server.
            study, label: by their names.
            shape: of the image (i, j, k).
            folder: for the answers' files.
            client: who asks.
        """
        self._where, self._label, self._file = (address, MODEL, study), label, folder / "answer.nii.gz"
        self._shape, self._client = tuple(shape), client
        self.start_over()

    def start_over(self) -> None:
        self._said: dict[str, list[tuple[int, ...]]] = {"foreground": [], "background": []}
        self._mask = np.zeros(self._shape, bool)

    def click(self, click: Correction) -> None:
        self._said["foreground" if click.positive else "background"].append(click.voxel)
        wishes = {"label": self._label, "client_id": self._client, "result_extension": ".nii.gz"}
        self._mask = infer(*self._where, self._said | wishes, self._file) > 0

    def mask(self) -> np.ndarray:
        return self._mask
