"""H-SAM: a second decoding stage, guided by the masks of the first (Cheng et al., CVPR 2024)."""

from pgsam_monai.networks.hsam.network import HSAM

__all__ = ["HSAM"]
