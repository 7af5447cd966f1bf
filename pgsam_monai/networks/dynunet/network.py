"""nnU-Net's U-Net as MONAI builds it, with deep supervision at the resolutions of its heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.networks import nets
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.wrapped import BaselineNetwork

LEAST_STAGES = 3


class DynUNet(BaselineNetwork):
    """MONAI's DynUNet (Isensee et al., Nature Methods 2021; `monai.networks.nets.DynUNet`) on slices.

    MONAI's own forward enlarges the supervised outputs to full size and stacks them. Here its blocks are run in the
    same order, and training gets each output at its own size: the label is made smaller for it, as in nnU-Net.

    With a first stride above 1 no stage works at the image's own resolution, which would take most of the time: a
    transposed convolution brings the finest stage onto it.
    """

    name = "dynunet"
    title = "DynUNet"

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        kernels: Sequence[int],
        strides: Sequence[int],
        filters: Sequence[int],
        in_channels: int = 1,
        deep_supervision: bool = True,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            image_size: side in pixels, a multiple of all strides' product; any other multiple works too.
            kernels: side of the convolutions of each stage, the finest first.
            strides: of each stage; the first above 1 where the finest stage is to be coarser than the image.
            filters: channels of each stage.
            in_channels: channels of the image.
            deep_supervision: supervise every decoder stage but the coarsest, as nnU-Net does.

        Raises:
            ValueError: lists of different lengths, fewer than 3 stages, kernels that are even or too small for their
                strides, or an argument outside its range.
        """
        _check_topology(kernels, strides, filters)
        total = math.prod(strides)
        super().__init__(
            num_classes=num_classes,
            image_size=image_size,
            in_channels=in_channels,
            multiple=total,
            least=2 * total,
            kernels=_listed(kernels),
            strides=_listed(strides),
            filters=_listed(filters),
            deep_supervision=deep_supervision,
        )
        heads = len(strides) - LEAST_STAGES if deep_supervision else 0
        built = nets.DynUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes + 1,
            kernel_size=list(kernels),
            strides=list(strides),
            upsample_kernel_size=list(strides[1:]),
            filters=list(filters),
            deep_supervision=heads > 0,
            deep_supr_num=max(1, heads),
        )
        self.encoder = nn.ModuleList([built.input_block, *built.downsamples, built.bottleneck])
        self.decoder = built.upsamples  # the coarsest first
        self.output = built.output_block
        if strides[0] > 1:
            self.output = nn.ConvTranspose2d(filters[0], num_classes + 1, strides[0], strides[0])
        self.heads = built.deep_supervision_heads if heads else nn.ModuleList()  # the finest first

    def compiled_parts(self) -> list[nn.Module]:
        """As `DescribedNetwork`: the blocks of both paths."""
        return [*self.encoder, *self.decoder]

    def decode(self, image: Tensor, label: Tensor | None) -> list[Tensor]:
        """Image (B, C, H, W) → float32 logits (B, K+1, H, W); in training then those of coarser stages."""
        stages = decoder_stages(self.encoder, self.decoder, self.normalise(image))
        outputs = [self.output(stages[0])]
        if self.training:
            outputs += [head(stage) for head, stage in zip(self.heads, stages[1:], strict=False)]
        return [logits.float() for logits in outputs]


def decoder_stages(encoder: nn.ModuleList, decoder: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """DynUNet's blocks in MONAI's order, on slices or volumes: what each decoder stage makes, the finest first."""
    skips, stages = [], []
    for block in encoder:
        x = block(x)
        skips.append(x)
    for block, skip in zip(decoder, reversed(skips[:-1]), strict=True):
        x = block(x, skip)
        stages.insert(0, x)
    return stages


def _check_topology(kernels: Sequence[int], strides: Sequence[int], filters: Sequence[int]) -> None:
    lengths = {len(kernels), len(strides), len(filters)}
    if len(lengths) > 1 or len(strides) < LEAST_STAGES:
        raise UserFault(
            f"DynUNet: kernels, strides and filters must list the same {LEAST_STAGES} or more stages; got "
            f"{_listed(kernels)}, {_listed(strides)} and {_listed(filters)}."
        )
    if any(kernel % 2 == 0 or stride > kernel + 1 for kernel, stride in zip(kernels, strides, strict=True)):
        raise UserFault(
            f"DynUNet: kernels must be odd, and strides at most one larger; got kernels {_listed(kernels)} and strides "
            f"{_listed(strides)}."
        )


def _listed(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
