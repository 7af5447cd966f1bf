"""TinyViT as MobileSAM and LiteMedSAM use it: SAM's image encoder in 6 million parameters, built of `timm`'s parts.

Both are `timm`'s tiny_vit_5m with the last patch merging at stride 1 and SAM's neck. MobileSAM's cells are 16 pixels
wide, as SAM's; LiteMedSAM embeds single pixels, so that its cells are 4 pixels wide.
"""

from __future__ import annotations

from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from timm.models.tiny_vit import Attention, ConvLayer, ConvNorm, PatchEmbed, PatchMerging, TinyVitBlock
from torch import Tensor, nn

from pgsam_monai.base.backbones import TinyVit
from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.position import grid_of
from pgsam_monai.networks.sam.attend import attend, join_heads
from pgsam_monai.networks.sam.attention import across_slices
from pgsam_monai.networks.sam.image_encoder import ImageFeatures, check_size
from pgsam_monai.networks.sam.norm import LayerNorm2d


class TinyAttention(Attention):
    """`timm`'s TinyViT attention, same parameters and result; it finds its tokens normed.

    `timm` keeps the gathered biases while evaluating, and would keep them when other weights are loaded.
    """

    def forward(self, normed: Tensor) -> Tensor:
        """Attend among the tokens (B, window², C) of each window; same shape out."""
        return self._attend(normed, self.attention_biases[:, self.attention_bias_idxs].unsqueeze(0))

    def over_sequence(self, normed: Tensor) -> Tensor:
        """The same attention among the N tokens of (B, N, C), which have no places in a window: without its bias."""
        return self._attend(normed, None)

    def _attend(self, normed: Tensor, bias: Tensor | None) -> Tensor:
        heads = (
            self.qkv(normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        )  # (B, heads, N, 3C/heads)
        query, key, value = heads.split([self.key_dim, self.key_dim, self.val_dim], dim=-1)
        return self.proj(
            join_heads(attend(query, key, value, None if bias is None else bias.to(query.dtype)))
        )


class TinyBlock(TinyVitBlock):
    """`timm`'s TinyViT block, same parameters and result, in the parts that `attention.Block` has too."""

    def __init__(self, dim: int, *, heads: int, window: int) -> None:
        super().__init__(dim, heads, window_size=window)
        self.heads, self.window = heads, window
        head_dim = dim // heads
        self.attn = TinyAttention(dim, head_dim, heads, attn_ratio=1, resolution=(window, window))

    def forward(self, tokens: Tensor, depth: int = 1) -> Tensor:
        """Tokens (B, H, W, C), any H and W; same shape out. `depth` concerns adapted blocks only."""
        tokens = self.between(tokens + self.attend_space(tokens))
        return tokens + self.mlp_after_norm(self.mlp_norm(tokens))

    def attend_space(self, tokens: Tensor) -> Tensor:
        """What attention within each image's windows adds to tokens (B, H, W, C).

        TinyViT pads before its norm, so what fills the last windows is the norm's bias; SAM's are filled with zeros.
        """
        windows, padded = window_partition(tokens, self.window)  # (B * windows, window, window, C)
        mixed = self.attn(self.attn.norm(windows.flatten(1, 2))).view_as(windows)
        return window_unpartition(mixed, self.window, padded, grid_of(tokens))

    def attend_depth(self, tokens: Tensor, depth: int) -> Tensor:
        """As `attention.Block.attend_depth`: (B * depth, H, W, C) → same shape."""
        return across_slices(self.attn.over_sequence, self.attn.norm(tokens), depth)

    def between(self, tokens: Tensor) -> Tensor:
        """The depthwise convolution between attention and MLP, on tokens (B, H, W, C)."""
        return self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def mlp_norm(self, tokens: Tensor) -> Tensor:
        """What the MLP sees of tokens (B, H, W, C)."""
        return self.mlp.norm(tokens)

    def mlp_after_norm(self, normed: Tensor) -> Tensor:
        """The MLP on normed tokens (B, H, W, C)."""
        return self.mlp.fc2(self.mlp.act(self.mlp.fc1(normed)))


class PixelEmbed(PatchEmbed):
    """LiteMedSAM's patch embedding: 1×1 convolutions, a token per pixel."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__(in_channels, dim, nn.GELU)
        self.stride = 1
        self.conv1, self.conv2 = ConvNorm(in_channels, dim // 2), ConvNorm(dim // 2, dim)


class TinyStage(nn.Module):
    """Patch merging and the transformer blocks behind it."""

    def __init__(
        self, in_channels: int, dim: int, *, stride: int, depth: int, heads: int, window: int
    ) -> None:
        super().__init__()
        self.downsample = PatchMerging(in_channels, dim, nn.GELU)
        self.downsample.conv2.conv.stride = (stride, stride)
        self.blocks = nn.ModuleList(TinyBlock(dim, heads=heads, window=window) for _ in range(depth))

    def forward(self, image: Tensor, depth: int = 1) -> Tensor:
        """(B, in_channels, H, W) → (B, dim, H/stride, W/stride); `depth` as in `TinyBlock`."""
        tokens = self.downsample(image).permute(0, 2, 3, 1)  # (B, H, W, C)
        for block in self.blocks:
            tokens = block(tokens, depth)
        return tokens.permute(0, 3, 1, 2)


class TinyViTEncoder(nn.Module):
    """MobileSAM's image encoder or LiteMedSAM's, at any size that is a multiple of 16.

    Batch norm uses its running statistics in training too, unless `learns_statistics`. A pretrained encoder's
    belong to its weights: a dozen slices of one patient would overwrite them, and a frozen encoder, which low-rank
    updates or adapters complement, would change nevertheless. Only an encoder that is trained in full from random
    weights has to learn them.
    """

    skip_channels: tuple[int, ...] = ()
    lora_targets = ("qkv",)

    def __init__(
        self, *, image_size: int, embed_stride: int, learns_statistics: bool = False, out_channels: int = 256
    ) -> None:
        """
        Args:
            image_size: side in pixels, a multiple of 16; nothing in the encoder depends on it.
            embed_stride: pixels per side of a token of the first stage: 4 (MobileSAM) or 1 (LiteMedSAM).
            learns_statistics: whether batch norm normalises by the batch and averages its statistics in training.
            out_channels: channels of the image embedding.

        Raises:
            ValueError: `image_size` is no multiple of 16, or another `embed_stride`.
        """
        check_size(image_size, image_size, who="TinyViTEncoder's image_size")
        if embed_stride not in (1, 4):
            raise UserFault(f"TinyViTEncoder: embed_stride must be 1 or 4, got {embed_stride}.")
        super().__init__()
        self.stride = 4 * embed_stride
        self.learns_statistics = learns_statistics
        sizes = TinyVit(embed_stride=embed_stride)
        widths = sizes.widths
        self.patch_embed = (
            PixelEmbed(3, widths[0]) if embed_stride == 1 else PatchEmbed(3, widths[0], nn.GELU)
        )
        stages = [
            TinyStage(
                widths[n - 1], widths[n], stride=sizes.merging_strides[n], depth=sizes.depths[n],
                heads=sizes.heads[n], window=sizes.windows[n],
            )
            for n in range(1, len(widths))
        ]  # fmt: skip
        self.stages = nn.ModuleList([ConvLayer(widths[0], sizes.depths[0], nn.GELU), *stages])
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], out_channels, kernel_size=1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        self.apply(_initialise)
        self.train()

    def train(self, mode: bool = True) -> TinyViTEncoder:
        """As usual, but for batch norm: see the class."""
        super().train(mode)
        if not self.learns_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks of all stages."""
        return [block for stage in self.stages[1:] for block in stage.blocks]

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), normalised, H and W multiples of 16 → embedding (B, 256, H/stride, W/stride)."""
        return self.encode(image).embedding

    def encode(self, image: Tensor, *, depth: int = 1) -> ImageFeatures:
        """As `forward`; `depth` consecutive images of (B * depth, 3, H, W) are slices of one volume."""
        features = self.stages[0](self.patch_embed(image))
        for stage in self.stages[1:]:
            features = stage(features, depth)
        return ImageFeatures(self.neck(features), ())


def _initialise(module: nn.Module) -> None:
    """TinyViT's own start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
