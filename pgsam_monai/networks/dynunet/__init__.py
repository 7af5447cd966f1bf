"""MONAI's DynUNet with nnU-Net's 2-D topology."""

from pgsam_monai.networks.dynunet.network import DynUNet

__all__ = ["DynUNet"]
