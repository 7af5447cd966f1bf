"""F_fusion of every class written out, which the network itself never does."""

from torch import Tensor

from pgsam_monai.networks.pgsam.features import MaskFeatures


def stacks_of(features: MaskFeatures, classes: int) -> Tensor:
    """Eq. 5 as it stands: (B, K+1, c, H, W)."""
    if features.guide is None:
        return features.plain.unsqueeze(1).expand(-1, classes, -1, -1, -1)
    return features.plain.unsqueeze(1) + features.weights.unsqueeze(2) * features.guide.unsqueeze(1)
