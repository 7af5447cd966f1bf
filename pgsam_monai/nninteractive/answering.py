"""What answers: a network, made once for all clients, and what the server was told of the images to come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.labels import restored_values
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.bundle import Bundle
from pgsam_monai.interactive.model import PromptModel
from pgsam_monai.interactive.segmenter import Segmenter

UNNAMED = "object"
"""What published weights are asked about: the protocol names no structures."""
DIRECTIONS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
"""Letters of directions -> the axis of RAS+ along which they point, and which way."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A network, the one structure that it is asked about, and how images lie, which the protocol hardly says."""

    model: PromptModel
    corrector: PromptModel
    """that answers clicks, see `Segmenter`"""
    label: str
    """of the model's classes"""
    affine: np.ndarray = field(default_factory=lambda: affine_of("LPS", (1.0, 1.0, 1.0)))
    """(4, 4) (x, y, z) -> mm RAS+, of images that come without more"""
    propagate: bool = True
    """whether boxes and lassos, which are about one slice, are carried on to its neighbours"""
    network: threading.Lock = field(default_factory=threading.Lock)
    """held by who asks the network: it answers one client at a time"""

    def segmenter(self) -> Segmenter:
        """A new one, on the same network."""
        return Segmenter(self.model, corrector=self.corrector)

    def affine_with(self, spacing: Sequence[float] | None) -> np.ndarray:
        """(4, 4) (x, y, z) -> mm RAS+ of an image that comes with its spacing, mm along z, y and x."""
        if spacing is None:
            return self.affine
        own = np.linalg.norm(self.affine[:3, :3], axis=0)
        return self.affine @ np.diag([*(np.asarray(spacing[::-1]) / own), 1.0])

    @property
    def background(self) -> int:
        """The value that label maps have where nothing is."""
        return int(restored_values(self.model.values)[0])


def load_answering(
    source: str,
    *,
    label: str | None = None,
    window: tuple[float, float] | None = None,
    orientation: str = "LPS",
    spacing: Sequence[float] | None = None,
    propagate: bool = True,
    plane: str | None = None,
    device: str | None = None,
) -> Answering:
    """A trained bundle's network, or published weights.

    Args:
        source: a bundle's folder, or a name of `pgsam weights list`.
        label: name or value of the class that is asked about; None where the bundle has one.
        window: grey values that become 0 and 1, for published weights; None: percentiles of each image.
        orientation: where the images' columns, rows and slices run to, three letters.
        spacing: mm of the same; None: 1 mm each.
        propagate: see `Answering`.
        plane: in which published weights see slices, see `interactive.zero_shot.load_zero_shot`.
        device: "cpu", "cuda", …; by default a GPU if there is one.

    Raises:
        UserFault: no such bundle or weights, several classes and none named, or a network of several channels.
    """
    affine = affine_of(orientation, (1.0, 1.0, 1.0) if spacing is None else spacing)
    if source in KNOWN_WEIGHTS:
        if label is not None:
            raise UserFault("--label names a bundle's class; published weights know none, leave it out.")
        made = Segmenter.from_weights(source, (UNNAMED,), window=window, plane=plane, device=device)
    else:
        made = _of_bundle(source, window, plane, device)
    index = made.model.index_of(label)
    return Answering(
        model=made.model, corrector=made.corrector, label=made.model.names[index - 1], affine=affine,
        propagate=propagate,
    )  # fmt: skip


def affine_of(orientation: str, spacing: Sequence[float]) -> np.ndarray:
    """(4, 4) voxel (x, y, z) -> mm RAS+, of an image whose axes run to `orientation`.

    Args:
        orientation: three letters of L, R, A, P, I and S, as in "LPS", DICOM's axial slices.
        spacing: mm along x, y and z.

    Raises:
        UserFault: other letters, two of one axis, or a spacing that isn't above 0.
    """
    directions = [DIRECTIONS.get(letter) for letter in orientation.upper()]
    if len(directions) != 3 or None in directions or len({axis for axis, _ in directions}) < 3:
        raise UserFault(
            f"--orientation takes three letters of L or R, A or P, I or S, as in LPS or RAS; got '{orientation}'."
        )
    if not all(0 < mm < np.inf for mm in spacing):
        raise UserFault(f"--spacing takes mm above 0, got {','.join(map(str, spacing))}.")
    affine = np.zeros((4, 4))
    for voxel_axis, ((axis, sign), mm) in enumerate(zip(directions, spacing, strict=True)):
        affine[axis, voxel_axis] = sign * mm
    affine[3, 3] = 1
    return affine


def _of_bundle(
    source: str, window: tuple[float, float] | None, plane: str | None, device: str | None
) -> Segmenter:
    if window is not None:
        raise UserFault("--window belongs to published weights; a bundle's plan has its own intensities.")
    if plane is not None:
        raise UserFault("--plane belongs to published weights; a bundle's plan has its own.")
    if not Path(source).exists():
        known = ", ".join(KNOWN_WEIGHTS)
        raise UserFault(
            f"'{source}' is neither a bundle's folder nor a name of weights ({known})."
            f"{did_you_mean(source, KNOWN_WEIGHTS)}"
        )
    bundle = Bundle.trained(source, device=device)
    if bundle.channels != 1:
        raise UserFault(
            f"{bundle} takes images of {bundle.channels} channels, and the extension sends one; use another bundle."
        )
    return Segmenter.of(bundle)
