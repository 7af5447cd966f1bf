"""The volumetric mask decoder (paper, Section 3.4, Fig. 1a): SAM's two-way transformer, then four doublings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d.fine_features import NORM_GROUPS, FineFeatures
from pgsam_monai.networks.sam.efficient_sam import among_tokens
from pgsam_monai.networks.sam.transformer import TwoWayTransformer
from pgsam_monai.transforms.fit import sides

STAGES = 4
WIDTHS = (64, 32, 16, 16)
"""Channels after each of the four upsampling steps."""
STRIDES = (1, 2, 4)
"""Voxels along an axis of the cells that masks are made of."""
FINE_STEPS = 3
"""The last steps, which the volume's own features are added to: of tokens of 16 voxels, every one that is finer."""


class VolumeDecoder(nn.Module):
    """Queries, one per text or class, become masks at the input's own resolution.

    A mask is SAM's product of a query and the voxels' features. One network makes the weights of all queries, where
    SAM has one per mask: so whatever can be asked in words has a mask.
    """

    def __init__(
        self,
        *,
        token_size: tuple[int, int, int],
        in_channels: int,
        dim: int = 256,
        mlp_dim: int = 2048,
        widths: Sequence[int] = WIDTHS,
        fine_features: bool = False,
        scales: int = 1,
        mask_stride: int = 1,
    ) -> None:
        """
        Args:
            token_size: voxels per token along rows, columns and slices, powers of two up to 16.
            in_channels: of the input volume.
            dim: channels of the image embedding.
            mlp_dim: hidden width of the two-way transformer.
            widths: channels after each upsampling step.
            fine_features: add `FineFeatures` of the volume to the last steps; the paper has none.
            scales: at how many resolutions, the finest first, there are masks while training; the paper has 1.
            mask_stride: voxels along each axis of the cells that have features of their own, at most a token's; of a
                cell's features each of its voxels is made with weights of its own. The paper has 1.

        Raises:
            ValueError: a token size or stride that is no power of two, widths that aren't four multiples of 8, or more
                scales than steps.
        """
        super().__init__()
        _check_form(mask_stride, widths)
        if not 1 <= scales <= STAGES:
            raise UserFault(f"supervised_scales must be 1 to {STAGES}, got {scales}.")
        self.transformer = TwoWayTransformer(dim=dim, mlp_dim=mlp_dim)
        self.base_query = nn.Parameter(torch.randn(1, dim))
        self.cell = tuple(min(mask_stride, size) for size in token_size)
        steps = tuple(size // side for size, side in zip(token_size, self.cell, strict=True))
        inputs, strides = (dim, *widths[:-1]), stage_strides(steps)
        self.stages = nn.ModuleList(
            UpsamplingStage(before, width, tap_channels=dim, stride=stride)
            for before, width, stride in zip(inputs, widths, strides, strict=True)
        )
        self.fine = None
        if fine_features:
            self.fine = FineFeatures(
                in_channels, widths=widths[-FINE_STEPS:], strides=strides[-FINE_STEPS:], finest=self.cell
            )
        self.fusion = ImageFusion(widths[-1], in_channels) if mask_stride == 1 else None
        self.mask_mlp = _mask_mlp(dim, widths[-1] * math.prod(self.cell))
        self.coarse_mask_mlps = nn.ModuleList(_mask_mlp(dim, width) for width in widths[::-1][1:scales])
        self.direct: nn.ModuleList | None = None

    def make_direct(self, width: int) -> None:
        """Let masks' weights come from what is asked, vectors of `width` channels, too; see `DirectMasks`."""
        mlps = (self.mask_mlp, *self.coarse_mask_mlps)
        self.direct = nn.ModuleList(DirectMasks(width, mlp.layers[-1].out_features) for mlp in mlps)
        for mlp in mlps:  # what it has to say is learnt on top
            nn.init.zeros_(mlp.layers[-1].weight)

    def forward(
        self,
        taps: Sequence[Tensor],
        image: Tensor,
        *,
        queries: Tensor,
        dense: Tensor,
        grid_encoding: Tensor,
        asked: Tensor | None = None,
        aggregated: Sequence[Tensor | None] = (None,) * STAGES,
        words: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> list[Tensor]:
        """
        Args:
            taps: the encoder's four stages (B, 256, h, w, d), shallow first; the last is the image embedding.
            image: input volume (B, C, H, W, D), 0..1.
            queries: (B, T, 256), what each mask is asked with, without the learnt part.
            dense: dense prompt (B or 1, 256, …).
            grid_encoding: (1, 256, h, w, d).
            asked: (B or 1, T, C), the same before any projection, for `DirectMasks`; None for `queries`.
            aggregated: the four stages' cross-modal prompts (B, 256, h, w, d), None where a stage has none.
            words: sparse prompt (B, L, 256).
            absent: (B, L) bool, words that only fill up their row.

        Returns:
            float32 logits (B, T, H, W, D); in training mode then those of the coarser `scales`, each at its size.
        """
        asked, queries = queries if asked is None else asked, self.base_query + queries
        count, grid = sides(queries, 1)[0], sides(taps[-1], 2, 3, 4)
        tokens = queries if words is None else torch.cat([queries, words], dim=1)
        hidden = None if absent is None else F.pad(absent, (count, 0), value=False)
        tokens, volume = attend_both_ways(
            self.transformer, taps[-1] + dense, grid_encoding, tokens, absent=hidden
        )
        joined = [
            tap if prompt is None else tap + prompt for tap, prompt in zip(taps, aggregated, strict=True)
        ]
        steps = self._upsample(volume.transpose(1, 2).unflatten(-1, grid), joined[::-1], image)
        return self._answer(tokens[:, :count], asked, steps)

    def _answer(self, tokens: Tensor, asked: Tensor, steps: Sequence[Tensor]) -> list[Tensor]:
        """The two-way transformer's queries (B, T, 256), what they asked → masks of the last steps, as `forward`."""
        answers, cell = [], self.cell
        for scale, mlp in enumerate([self.mask_mlp, *(self.coarse_mask_mlps if self.training else ())]):
            weights, level = mlp(tokens), 0.0
            if self.direct is not None:
                of_asked, level = self.direct[scale](asked)
                weights = weights + of_asked
            answers.append(make_masks(weights, steps[-1 - scale], cell) + level)
            cell = (1, 1, 1)
        return answers

    def _upsample(self, features: Tensor, skips: Sequence[Tensor], image: Tensor) -> list[Tensor]:
        """From tokens' resolution (B, 256, h, w, d) to the volume's: what each step makes, the coarsest first."""
        fine = [None] * STAGES
        if self.fine is not None:
            fine[-FINE_STEPS:] = self.fine(image.to(features.dtype))
        steps = []
        for stage, skip, own in zip(self.stages, skips, fine, strict=True):
            features = stage(features, skip, own)
            steps.append(features)
        if self.fusion is not None:
            steps[-1] = self.fusion(features, image)
        return steps


class DirectMasks(nn.Module):
    """Weights and level of masks straight from what is asked, a linear map of its direction.

    SAM's network from queries to weights changes all masks with every step of an optimiser, and image by image: from
    random numbers that is slow to learn. What a text asks for is the same in every image.
    """

    def __init__(self, dim: int, width: int) -> None:
        """`dim`: channels of what is asked; `width`: of a mask's weights."""
        super().__init__()
        self.weights = nn.Linear(dim, width, bias=False)
        self.level = nn.Linear(dim, 1, bias=False)
        nn.init.normal_(self.weights.weight, std=0.1)

    def forward(self, asked: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, dim) → weights (B, T, width), and what is added to each logit (B, T, 1, 1, 1)."""
        direction = F.normalize(asked, dim=-1)
        return self.weights(direction), self.level(direction).float()[..., None, None]


def _check_form(mask_stride: int, widths: Sequence[int]) -> None:
    if mask_stride not in STRIDES:
        raise UserFault(f"mask_stride must be one of {STRIDES}, got {mask_stride}.")
    if len(widths) != STAGES or any(width < 1 or width % NORM_GROUPS for width in widths):
        raise UserFault(
            f"decoder_widths must be {STAGES} multiples of {NORM_GROUPS}, got {', '.join(map(str, widths))}."
        )


def _mask_mlp(dim: int, width: int) -> MLP:
    """SAM's network from a query to a mask's weights, but for its last bias, which would raise all masks alike."""
    mlp = MLP(dim, dim, width, 3)
    mlp.layers[-1] = nn.Linear(dim, width, bias=False)
    return mlp


def make_masks(weights: Tensor, features: Tensor, cell: tuple[int, int, int]) -> Tensor:
    """Queries' weights (B, T, voxels of a cell * f) and features (B, f, h, w, d) → logits of all cells' voxels.

    They are float32 (B, T, h * cell rows, …), also where autocast would halve their digits.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = torch.promote_types(features.dtype, torch.float32)
        weights = weights.to(wide).unflatten(-1, (*cell, features.shape[1]))
        masks = torch.einsum("btxyzf,bfhwd->bthxwydz", weights, features.to(wide))
        return masks.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class UpsamplingStage(nn.Module):
    """A transposed convolution, a stage of the encoder added at the new resolution, and a convolution over both."""

    def __init__(self, channels: int, width: int, *, tap_channels: int, stride: tuple[int, int, int]) -> None:
        """`stride`: per axis 2, or 1 along an axis that is not to be doubled."""
        super().__init__()
        self.up = nn.ConvTranspose3d(channels, width, kernel_size=stride, stride=stride)
        self.project = nn.Conv3d(tap_channels, width, kernel_size=1)
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.act = nn.GELU()
        self.mix = nn.Conv3d(width, width, kernel_size=3, padding=1)

    def forward(self, features: Tensor, skip: Tensor, fine: Tensor | None = None) -> Tensor:
        """`features` (B, channels, …), `skip` (B, tap_channels, h, w, d) → (B, width, …), doubled.

        `fine` has the result's shape and is added, too.
        """
        features = self.up(features)
        skip = self.project(skip)  # before it is enlarged: few channels are left then
        size = sides(features, 2, 3, 4)
        if sides(skip, 2, 3, 4) != size:
            skip = F.interpolate(skip, size=size, mode="trilinear", align_corners=False)
        joined = features + skip if fine is None else features + skip + fine
        return joined + self.mix(self.act(self.norm(joined)))


class ImageFusion(nn.Module):
    """The input volume beside the features at its own resolution, and the last 3-D convolution over both."""

    def __init__(self, width: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width + in_channels, width, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.act = nn.GELU()

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """`features` (B, width, H, W, D), `image` (B, C, H, W, D) → (B, width, H, W, D)."""
        joined = torch.cat([features, image.to(features.dtype)], dim=1)
        return features + self.act(self.norm(self.conv(joined)))


def stage_strides(token_size: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """How each of the four steps enlarges rows, columns and slices: from tokens to voxels, doubling as late as can be.

    The paper's 16 voxels double four times; of smaller tokens the first steps stay on their grid, where they are cheap.

    Raises:
        ValueError: a size that is no power of two up to 16.
    """
    doublings = [round(math.log2(size)) for size in token_size]
    if any(2**count != size or count > STAGES for count, size in zip(doublings, token_size, strict=True)):
        raise UserFault(f"token_size must be powers of two from 1 to {2**STAGES}, got {token_size}.")
    return [tuple(2 if step >= STAGES - count else 1 for count in doublings) for step in range(STAGES)]


def attend_both_ways(
    transformer: TwoWayTransformer,
    embedding: Tensor,
    grid_encoding: Tensor,
    tokens: Tensor,
    *,
    absent: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """SAM's two-way transformer on a volume, with tokens that can be hidden.

    Args:
        transformer: SAM's.
        embedding: (B, C, h, w, d).
        grid_encoding: (1, C, h, w, d).
        tokens: (B, N, C).
        absent: (B, N) bool, tokens that nothing attends to.

    Returns:
        tokens (B, N, C) and volume (B, h * w * d, C).
    """
    keys, key_pe = embedding.flatten(2).transpose(1, 2), grid_encoding.flatten(2).transpose(1, 2)
    bias = None
    if absent is not None:
        bias = torch.zeros_like(absent, dtype=tokens.dtype).masked_fill(absent, -math.inf)[:, None, None]
    queries = tokens
    for block in transformer.layers:
        queries = block.norm1(among_tokens(block, queries, tokens, bias))
        read = block.cross_attn_token_to_image(q=queries + tokens, k=keys + key_pe, v=keys)
        queries = block.norm2(queries + read)
        queries = block.norm3(queries + block.mlp(queries))
        written = block.cross_attn_image_to_token(q=keys + key_pe, k=queries + tokens, v=queries, bias=bias)
        keys = block.norm4(keys + written)
    read = transformer.final_attn_token_to_image(q=queries + tokens, k=keys + key_pe, v=keys)
    return transformer.norm_final_attn(queries + read), keys
