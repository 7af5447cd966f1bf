"""SAMed: SAM with LoRA and a mask token per class (Zhang and Liu, 2023)."""

from pgsam_monai.networks.samed.network import SAMed

__all__ = ["SAMed"]
