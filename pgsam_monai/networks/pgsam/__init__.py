"""PG-SAM (Zhong et al., 2025): SAM guided by what class texts and a vision-language model know."""

from pgsam_monai.networks.pgsam.network import PGSAM

__all__ = ["PGSAM"]
