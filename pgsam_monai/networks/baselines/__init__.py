"""MONAI's networks on slices and volumes, under the same plan as the SAM networks: what every claim is held against."""

from pgsam_monai.networks.dynunet.network import DynUNet
from pgsam_monai.networks.dynunet_3d.network import DynUNet3D
from pgsam_monai.networks.swinunetr.network import SwinUNETR
from pgsam_monai.networks.unet.network import UNet
from pgsam_monai.networks.unetr.network import UNETR

__all__ = ["UNETR", "DynUNet", "DynUNet3D", "SwinUNETR", "UNet"]
