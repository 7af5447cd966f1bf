"""AutoSAM: SAM's encoder frozen, a prompt of its own per image."""

from pgsam_monai.networks.autosam.network import AutoSAM

__all__ = ["AutoSAM"]
