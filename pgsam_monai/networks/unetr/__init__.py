"""MONAI's UNETR on slices."""

from pgsam_monai.networks.unetr.network import UNETR

__all__ = ["UNETR"]
