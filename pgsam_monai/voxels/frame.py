"""How a slice (rows, columns) lies in a network's square input."""

from __future__ import annotations

from dataclasses import dataclass

from pgsam_monai.base.errors import UserFault

FITS = ("pad", "stretch")
LINEAR = "linear"
VIA = {LINEAR: (), "cubic": (), "cubic_224": (224,)}
"""How slices come to the network's size, and the sizes that they are brought to before:
"linear" on pixel centres, antialiased where it shrinks;
"cubic" from corner to corner along a cubic spline, as the papers' code (`voxels.corners`);
"cubic_224" so as well, but first to 224 x 224, as SAMed's released code."""
SAMPLINGS = tuple(VIA)


@dataclass(frozen=True, kw_only=True)
class SliceFrame:
    """How slices of one size lie in the square input."""

    height: int
    """rows of the slice"""
    width: int
    """columns of the slice"""
    image_size: int
    """side S of the square, pixels"""
    fitted_height: int
    """rows of the square that the slice fills, from the top"""
    fitted_width: int
    """columns of the square that the slice fills, from the left"""
    sampling: str = LINEAR
    """one of SAMPLINGS"""

    @property
    def corners(self) -> bool:
        """Whether the slice's outermost pixels lie on those of the square, as opposed to their outer edges."""
        return self.sampling != LINEAR

    @property
    def via(self) -> tuple[int, ...]:
        """Sizes that both axes are brought to before the square's."""
        return VIA[self.sampling]


def slice_frame(
    height: int, width: int, image_size: int, fit: str = "pad", sampling: str = LINEAR
) -> SliceFrame:
    """Frame of (height, width) slices in S x S.

    fit "pad" scales both axes alike and leaves zeros at the bottom or the right; "stretch" fills the square.
    Raises ValueError for another fit or sampling, or sizes below one.
    """
    if sampling not in SAMPLINGS:
        raise UserFault(f"slice_frame: sampling must be one of {SAMPLINGS}, got {sampling!r}.")
    if fit not in FITS:
        raise UserFault(f"slice_frame: fit must be one of {FITS}, got {fit!r}.")
    if min(height, width, image_size) < 1:
        raise UserFault(
            f"slice_frame: sizes must be at least 1, got slice {(height, width)}, square {image_size}."
        )
    fitted = (image_size, image_size)
    if fit == "pad":
        scale = image_size / max(height, width)
        fitted = (max(1, round(height * scale)), max(1, round(width * scale)))
    return SliceFrame(
        height=height, width=width, image_size=image_size, fitted_height=fitted[0], fitted_width=fitted[1],
        sampling=sampling,
    )  # fmt: skip
