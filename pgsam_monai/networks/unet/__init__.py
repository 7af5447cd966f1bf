"""MONAI's U-Net on slices."""

from pgsam_monai.networks.unet.network import UNet

__all__ = ["UNet"]
