"""A convolutional stem: what a ViT that is trained from scratch reads the image with."""

from __future__ import annotations

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Four stride-2 stages instead of SAM's single 16×16 patch convolution.

    Convolutions bring the locality that a transformer would have to learn from data, and their features at
    strides 8 and 4 keep the detail that 16×16 patches lose; the mask decoder may add them while it upscales.
    """

    def __init__(self, *, in_channels: int, widths: tuple[int, int, int], embed_dim: int) -> None:
        """`widths`: channels at strides 2, 4 and 8; stride 16 has `embed_dim`."""
        super().__init__()
        half, quarter, eighth = widths
        self.skip_channels = (eighth, quarter)
        self.stage_2 = _stage(in_channels, half, refine=False)
        self.stage_4 = _stage(half, quarter, refine=True)
        self.stage_8 = _stage(quarter, eighth, refine=True)
        self.stage_16 = nn.Conv2d(eighth, embed_dim, kernel_size=3, stride=2, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """
        Args:
            image: (B, C, S, S), S a multiple of 16.

        Returns:
            tokens (B, S/16, S/16, embed_dim) and the features at strides 8 and 4, channel first.
        """
        quarter = self.stage_4(self.stage_2(image))
        eighth = self.stage_8(quarter)
        tokens = self.stage_16(eighth).permute(0, 2, 3, 1)
        return tokens, (eighth, quarter)


def _stage(in_channels: int, out_channels: int, *, refine: bool) -> nn.Sequential:
    """Halve the resolution and, with `refine`, look once more at the new one."""
    layers = [nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1), *_norm(out_channels)]
    if refine:
        layers += [nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1), *_norm(out_channels)]
    return nn.Sequential(*layers)


def _norm(channels: int) -> list[nn.Module]:
    # Per image: the same in training, evaluation and across processes; learns faster here than group norm.
    return [nn.InstanceNorm2d(channels, affine=True), nn.GELU()]
