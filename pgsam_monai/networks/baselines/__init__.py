"""MONAI's networks on slices and volumes, under the same plan as the SAM networks: what every claim is held against."""

from pgsam_monai.networks.baselines.dynunet import DynUNet
from pgsam_monai.networks.baselines.dynunet_3d import DynUNet3D
from pgsam_monai.networks.baselines.swinunetr import SwinUNETR
from pgsam_monai.networks.baselines.unet import UNet
from pgsam_monai.networks.baselines.unetr import UNETR

__all__ = ["UNETR", "DynUNet", "DynUNet3D", "SwinUNETR", "UNet"]
