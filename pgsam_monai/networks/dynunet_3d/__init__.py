"""MONAI's DynUNet with nnU-Net's 3-D topology."""

from pgsam_monai.networks.dynunet_3d.network import DynUNet3D

__all__ = ["DynUNet3D"]
