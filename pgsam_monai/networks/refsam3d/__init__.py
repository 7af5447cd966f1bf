"""RefSAM3D: SAM in true 3-D, guided by text (Gao and Lu, Artificial Intelligence in Health 2025)."""

from pgsam_monai.networks.refsam3d.network import RefSAM3D
from pgsam_monai.networks.refsam3d.referring import Referred, ReferringTraining

__all__ = ["RefSAM3D", "Referred", "ReferringTraining"]
