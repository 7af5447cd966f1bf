"""MONAI's networks on slices, trained under the same plan as the SAM networks: what every claim is held against."""

from pgsam_monai.networks.baselines.dynunet import DynUNet
from pgsam_monai.networks.baselines.swinunetr import SwinUNETR
from pgsam_monai.networks.baselines.unet import UNet
from pgsam_monai.networks.baselines.unetr import UNETR

__all__ = ["UNETR", "DynUNet", "SwinUNETR", "UNet"]
