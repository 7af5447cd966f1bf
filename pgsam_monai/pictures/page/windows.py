"""Windows of grey values: what becomes black and what white."""

from __future__ import annotations

import numpy as np

from pgsam_monai.pictures.page.encode import sampled

CT_WINDOWS = {"Soft tissue": (-160, 240), "Lung": (-1350, 150), "Bone": (-500, 1300), "Brain": (0, 80)}
"""In Hounsfield units."""
PERCENTILES = {"1–99 %": (1, 99), "10–95 %": (10, 95)}
AIR_HU = -500
"""Only CT has values below: air is -1000."""


def find_windows(
    volume: np.ndarray, *, given: tuple[float, float] | None = None, colour: bool = False
) -> list[tuple[str, float, float]]:
    """(name, low, high) of the windows that a page offers, the first of which it opens with.

    Args:
        volume: grey values or, with `colour`, colours.
        given: of the bundle or the user, the first one then.
    """
    values = sampled(volume)
    low, high = float(values.min()), float(values.max())
    windows = [] if given is None else [("Given", float(given[0]), float(given[1]))]
    if colour:
        return [*windows, ("As stored", 0.0, 255.0)]
    if low <= AIR_HU:
        windows += [(name, float(first), float(last)) for name, (first, last) in CT_WINDOWS.items()]
    for name, shares in PERCENTILES.items():
        first, last = (float(value) for value in np.percentile(values, shares))
        windows += [(name, first, last)] if last > first else []
    return [*windows, ("All", low, high if high > low else low + 1)]
