"""How sure an exported network is of each structure: `inference.confidence.SoftDice` without torch."""

from __future__ import annotations

import threading

import numpy as np

from pgsam_monai.voxels.resampling import highest_class

SIDE = 256
"""as there"""


class Sureness:
    """Gathers one image's Soft Dice Confidence (Borges et al., 2024), from several threads at once."""

    def __init__(self, classes: int) -> None:
        self._sums = np.zeros((3, classes))
        self._lock = threading.Lock()

    def add(self, logits: np.ndarray, image_size: int = 0) -> None:
        """Logits (K+1, *spatial); of squares wider than `SIDE` every second pixel counts."""
        step = max(1, image_size // SIDE)
        logits = logits[:, ::step, ::step] if step > 1 else logits
        shares = np.exp(logits - logits.max(axis=0))
        highest = 1 / shares.sum(axis=0)
        places, total = highest_class(logits).ravel(), (shares * highest).reshape(len(logits), -1)
        hits = np.bincount(places, highest.ravel(), len(logits))
        sums = [hits, np.bincount(places, minlength=len(logits)), total.sum(axis=1, dtype=np.float64)]
        with self._lock:
            self._sums += sums

    def per_class(self) -> list[float]:
        """Of each class, the background first; NaN of one that is nowhere the most probable."""
        hits, voxels, total = self._sums
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.minimum(2 * hits / (voxels + total), 1)
        return np.where(voxels == 0, np.nan, found).tolist()
