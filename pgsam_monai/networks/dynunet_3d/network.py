"""nnU-Net's 3-D U-Net as MONAI builds it, with deep supervision at the resolutions of its heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from monai.networks import nets
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.dynunet.network import LEAST_STAGES, decoder_stages
from pgsam_monai.networks.volumes import three
from pgsam_monai.networks.wrapped import BaselineVolumeNetwork

Stages = list[tuple[int, int, int]]


class DynUNet3D(BaselineVolumeNetwork):
    """MONAI's DynUNet (Isensee et al., Nature Methods 2021; `monai.networks.nets.DynUNet`) on volumes.

    As in the 2-D `DynUNet` its blocks are run in MONAI's order, and training gets each supervised output at its own
    size: the label is made smaller for it, as in nnU-Net. Unlike nnU-Net's, a decoder stage of MONAI's has the kernels
    of the encoder stage below it.

    With a first stride above 1 no stage works at the volume's own resolution, which would take most of the time: a
    transposed convolution brings the finest stage onto it.
    """

    name = "dynunet_3d"
    title = "DynUNet3D"

    def __init__(
        self,
        *,
        num_classes: int,
        patch: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        filters: Sequence[int],
        in_channels: int = 1,
        deep_supervision: bool = True,
    ) -> None:
        """
        Args:
            num_classes: foreground classes K.
            patch: rows, columns and slices in voxels, multiples of all strides' product; other multiples work too.
            kernels: of each stage's convolutions along rows, columns and slices, odd; the finest stage first.
            strides: of each stage, likewise; the first above 1 where the finest stage is to be coarser than the volume.
            filters: channels of each stage.
            in_channels: channels of the volume.
            deep_supervision: supervise every decoder stage but the coarsest, as nnU-Net does.

        Raises:
            ValueError: lists of different lengths, fewer than 3 stages, kernels that are even or too small for their
                strides, or an argument outside its range.
        """
        kernels, strides = _stages(kernels, "kernels"), _stages(strides, "strides")
        _check_topology(kernels, strides, filters)
        super().__init__(
            num_classes=num_classes,
            patch=patch,
            in_channels=in_channels,
            multiples=[prod(along) for along in zip(*strides, strict=True)],
            kernels=_listed(kernels),
            strides=_listed(strides),
            filters=" ".join(map(str, filters)),
            deep_supervision=deep_supervision,
        )
        heads = len(strides) - LEAST_STAGES if deep_supervision else 0
        built = nets.DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=num_classes + 1,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=list(filters),
            deep_supervision=heads > 0,
            deep_supr_num=max(1, heads),
        )
        self.encoder = nn.ModuleList([built.input_block, *built.downsamples, built.bottleneck])
        self.decoder = built.upsamples  # the coarsest first
        self.output = built.output_block
        if max(strides[0]) > 1:
            self.output = nn.ConvTranspose3d(filters[0], num_classes + 1, strides[0], strides[0])
        self.heads = built.deep_supervision_heads if heads else nn.ModuleList()  # the finest first

    def compiled_parts(self) -> list[nn.Module]:
        """As `DescribedNetwork`: the blocks of both paths."""
        return [*self.encoder, *self.decoder]

    def segment(self, image: Tensor) -> Tensor:
        """As `VolumeNetwork`."""
        return self.output(self.decode(image)[0]).float()

    def learn(self, image: Tensor, label: Tensor | None, known: Tensor | None = None) -> list[Tensor]:
        """Float32 logits (B, K+1, H, W, D), then those of the supervised stages at their own sizes, finest first."""
        supervised = [self.output, *self.heads]
        stages = self.decode(image)[: len(supervised)]
        return [head(stage).float() for head, stage in zip(supervised, stages, strict=True)]

    def decode(self, image: Tensor) -> list[Tensor]:
        """Image (B, C, H, W, D) on the 0..1 scale → every decoder stage's (B, filters, h, w, d), the finest first."""
        return decoder_stages(self.encoder, self.decoder, self.normalise(image))


def _stages(sides: Sequence[Sequence[int]], what: str) -> Stages:
    return [three(stage, who=f"DynUNet3D: {what} of a stage") for stage in sides]


def _check_topology(kernels: Stages, strides: Stages, filters: Sequence[int]) -> None:
    lengths = {len(kernels), len(strides), len(filters)}
    if len(lengths) > 1 or len(strides) < LEAST_STAGES:
        raise UserFault(
            f"DynUNet3D: kernels, strides and filters must list the same {LEAST_STAGES} or more stages, got "
            f"{_listed(kernels)}, {_listed(strides)} and {list(filters)}."
        )
    pairs = zip(sum(kernels, ()), sum(strides, ()), strict=True)
    if any(kernel % 2 == 0 or stride > kernel + 1 for kernel, stride in pairs):
        raise UserFault(
            f"DynUNet3D: kernels must be odd, and strides at most one larger; got kernels {_listed(kernels)} and "
            f"strides {_listed(strides)}."
        )


def _listed(stages: Stages) -> str:
    return " ".join("x".join(map(str, stage)) for stage in stages)
