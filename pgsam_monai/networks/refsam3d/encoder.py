"""The volumetric image encoder: SAM's ViT on tokens of a volume (Section 3.2, Fig. 1B and 1C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.position import resize_absolute, resize_relative
from pgsam_monai.networks.refsam3d.adapter import VolumeAdapter
from pgsam_monai.networks.refsam3d.attention import WindowAttention
from pgsam_monai.networks.refsam3d.patch_embedding import FactoredPatchEmbedding, check_sides
from pgsam_monai.networks.refsam3d.windows import WindowLayout, lay_out, merge, partition, regions
from pgsam_monai.networks.sam.attention import LAYER_NORM
from pgsam_monai.networks.volumes import three
from pgsam_monai.transforms.fit import sides

TAPS = 4
"""N, the stages whose features are handed on (Section 3.3.3)."""
ENCODER_TRAINING = ("adapters", "full", "frozen")
ADAPTED = frozenset({"adapter", "norm1", "norm2", "rel_pos_d", "depth", "depth_embed", "necks"})
"""Names of the modules and parameters that are trained beside a frozen ViT."""


class VolumeBlock(nn.Module):
    """An adapter, then SAM's pre-norm transformer block with attention in windows."""

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        mlp_ratio: float,
        window: Sequence[int],
        relative_positions: bool,
        adapter: bool,
    ) -> None:
        """
        Args:
            dim: channels C.
            heads: attention heads.
            mlp_ratio: width of the hidden layer over `dim`.
            window: tokens of the largest window (rows, columns, slices).
            relative_positions: whether attention has tables of relative positions.
            adapter: whether there is an adapter.
        """
        super().__init__()
        self.adapter = VolumeAdapter(dim) if adapter else nn.Identity()
        self.norm1 = LAYER_NORM(dim)
        self.attn = WindowAttention(dim, heads=heads, window=window, relative_positions=relative_positions)
        self.norm2 = LAYER_NORM(dim)
        self.mlp = MLPBlock(embedding_dim=dim, mlp_dim=int(dim * mlp_ratio))

    def forward(self, tokens: Tensor, layout: WindowLayout, labels: Tensor | None) -> Tensor:
        """Tokens (B, h, w, d, C) → same shape; windows as `layout` says, `labels` from `regions`."""
        tokens = self.adapter(tokens)
        attended = self.attn(partition(self.norm1(tokens), layout), labels)
        tokens = tokens + merge(attended, layout)
        return tokens + self.mlp(self.norm2(tokens))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, h, w, d), in one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w, d) → same shape, each voxel normalised over its channels."""
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class VolumeEncoder(nn.Module):
    """SAM's image encoder for volumes, its key names kept where its weights fit.

    The tables of absolute positions belong to `patch`; for other volumes they are resized on the fly.
    """

    def __init__(
        self,
        *,
        patch: Sequence[int],
        token_size: Sequence[int],
        embed_dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        relative_positions: bool,
        window: int | Sequence[int] = (8, 8, 8),
        adapters: bool = True,
        checkpointing: bool = False,
        neck_convolution: bool = True,
        out_channels: int = 256,
    ) -> None:
        """
        Args:
            patch: voxels (rows, columns, slices) that the position tables are made for; multiples of `token_size`.
            token_size: voxels per token (p, p, p_d), see `FactoredPatchEmbedding`.
            embed_dim: channels C of a token.
            depth: transformer blocks, a multiple of 4.
            heads: attention heads.
            mlp_ratio: width of a block's hidden layer over `embed_dim`.
            relative_positions: whether attention has SAM's relative position bias, and its like along depth.
            window: tokens of a window (rows, columns, slices), or one number for all three; every second block shifts
                its windows by half.
            adapters: whether every block begins with an adapter.
            checkpointing: compute blocks anew in the backward pass instead of keeping what they computed.
            neck_convolution: whether a 3×3×3 convolution follows each neck's 1×1×1.
            out_channels: channels of the features handed on.

        Raises:
            ValueError: an argument is outside its range.
        """
        super().__init__()
        self.patch_embed = FactoredPatchEmbedding(embed_dim, token_size)
        check_sides(patch, self.patch_embed.token_size, who="RefSAM3D's patch")
        self.taps = _tap_blocks(depth)
        self.window = three([window] * 3 if isinstance(window, int) else window, who="window")
        self.checkpointing = checkpointing
        grid = [side // unit for side, unit in zip(patch, self.patch_embed.token_size, strict=True)]
        self.pos_embed = nn.Parameter(torch.empty(1, *grid[:2], embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.depth_embed = nn.Parameter(torch.zeros(1, 1, 1, grid[2], embed_dim))
        self.blocks = nn.ModuleList(
            VolumeBlock(
                embed_dim,
                heads=heads,
                mlp_ratio=mlp_ratio,
                window=self.window,
                relative_positions=relative_positions,
                adapter=adapters,
            )
            for _ in range(depth)
        )
        self.necks = nn.ModuleList(_neck(embed_dim, out_channels, neck_convolution) for _ in range(TAPS))

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W, D), normalised → the deepest features (B, 256, h, w, d)."""
        return self.encode(image)[-1]

    def encode(self, image: Tensor) -> list[Tensor]:
        """The features V'_1 … V'_4 (Eq. IV and V).

        Args:
            image: (B, 3, H, W, D), normalised; sides any multiples of `token_size`.

        Returns:
            four of (B, 256, h, w, d), after a quarter, half, three quarters and all of the blocks.

        Raises:
            ValueError: a side is no multiple of `token_size`.
        """
        tokens = self._embed(image)
        plans = [self._plan(tokens, shifted) for shifted in (False, True)]
        features = []
        for index, block in enumerate(self.blocks):
            tokens = self._run(block, tokens, *plans[index % 2])
            if index in self.taps:
                features.append(self.necks[len(features)](tokens.permute(0, 4, 1, 2, 3)))
        return features

    def _embed(self, image: Tensor) -> Tensor:
        """Image → tokens (B, h, w, d, C) that know their place: the frozen table plus the depth's (Section 3.2.2)."""
        tokens = self.patch_embed(image)
        height, width, depth = sides(tokens, 1, 2, 3)
        plane = resize_absolute(self.pos_embed, (height, width)).unsqueeze(3)  # (1, h, w, 1, C)
        along_depth = resize_relative(self.depth_embed.flatten(0, 3), depth)  # (d, C)
        return tokens + (plane + along_depth).to(tokens.dtype)

    def _plan(self, tokens: Tensor, shifted: bool) -> tuple[WindowLayout, Tensor | None]:
        layout = lay_out(sides(tokens, 1, 2, 3), self.window, shifted=shifted)
        return layout, regions(tokens, layout)

    def _run(self, block: nn.Module, *inputs: Tensor | WindowLayout | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled() and not torch.jit.is_tracing():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def choose_trained(encoder: VolumeEncoder, training: str) -> None:
    """Say which parameters of the encoder are trained, in place.

    Args:
        encoder: the encoder.
        training: "adapters" trains the adapters, the norms of the blocks, all that concerns depth (kernel, positions,
            relative positions) and the necks, beside a frozen ViT; "full" all; "frozen" nothing.

    Raises:
        ValueError: another `training`.
    """
    if training not in ENCODER_TRAINING:
        raise UserFault(f"encoder_training must be one of {ENCODER_TRAINING}, got '{training}'.")
    for name, value in encoder.named_parameters():
        adapted = training == "adapters" and not ADAPTED.isdisjoint(name.split("."))
        value.requires_grad_(training == "full" or adapted)


def _neck(embed_dim: int, out_channels: int, convolution: bool) -> nn.Sequential:
    """SAM's neck with 3-D convolutions (Section 3.2.4)."""
    project = [
        nn.Conv3d(embed_dim, out_channels, kernel_size=1, bias=False),
        ChannelNorm(out_channels, eps=1e-6),
    ]
    mix = [
        nn.Conv3d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        ChannelNorm(out_channels, eps=1e-6),
    ]
    return nn.Sequential(*project, *(mix if convolution else []))


def _tap_blocks(depth: int) -> tuple[int, ...]:
    """The blocks, from 0, whose outputs are handed on."""
    if depth < TAPS or depth % TAPS:
        raise UserFault(f"depth must be a multiple of {TAPS} blocks, one part per tap, got {depth}.")
    return tuple(depth * stage // TAPS - 1 for stage in range(1, TAPS + 1))
