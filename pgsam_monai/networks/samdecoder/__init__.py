"""SAM's encoder frozen, its decoder trained."""

from pgsam_monai.networks.samdecoder.network import SamDecoder

__all__ = ["SamDecoder"]
