"""MONAI's Swin UNETR on slices."""

from pgsam_monai.networks.swinunetr.network import SwinUNETR

__all__ = ["SwinUNETR"]
