"""The colours of classes, in overlays, pages and DICOM segmentations alike."""

from __future__ import annotations

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
TOL_MUTED = (
    "#882255", "#44AA99", "#DDCC77", "#AA4499", "#88CCEE", "#999933", "#CC6677", "#117733", "#332288",
)  # fmt: skip
COLOURS = OKABE_ITO + TOL_MUTED
"""Both made to be told apart by the colour-blind; repeated beyond 16 classes."""


def colour_of(index: int) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of the class at `index`, 0 for the first foreground class."""
    code = COLOURS[index % len(COLOURS)]
    red, green, blue = (int(code[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue
