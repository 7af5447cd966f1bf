"""Med-SA: SAM with adapters, slices that see each other and prompts (Wu et al., Medical Image Analysis 2025)."""

from pgsam_monai.networks.medsa.network import UNASKED, MedSA
from pgsam_monai.networks.medsa.simulation import PromptTraining

__all__ = ["UNASKED", "MedSA", "PromptTraining"]
