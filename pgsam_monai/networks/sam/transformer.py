"""SAM's two-way transformer, its attention by the quickest way that the device has."""

from __future__ import annotations

from segment_anything.modeling.transformer import Attention as SamAttention
from segment_anything.modeling.transformer import TwoWayTransformer as SamTwoWayTransformer
from torch import Tensor

from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads


class DecoderAttention(SamAttention):
    """`segment_anything`'s decoder attention, same parameters and result."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) → (B, N, C).

        `bias`, broadcast to (B, heads, N, M), is added to the scores: -inf hides a key.
        """
        query = split_heads(self.q_proj(q), self.num_heads)
        key = split_heads(self.k_proj(k), self.num_heads)
        value = split_heads(self.v_proj(v), self.num_heads)
        bias = None if bias is None else bias.to(query.dtype)
        return self.out_proj(join_heads(attend(query, key, value, bias)))


class TwoWayTransformer(SamTwoWayTransformer):
    """Tokens attend to the image and the image to the tokens, in each of its layers, of which SAM has two."""

    def __init__(self, *, depth: int = 2, dim: int = 256, heads: int = 8, mlp_dim: int = 2048) -> None:
        """`depth` layers of `dim` channels; cross-attention works at half of them."""
        super().__init__(depth=depth, embedding_dim=dim, num_heads=heads, mlp_dim=mlp_dim)
        for layer in self.layers:
            layer.self_attn = DecoderAttention(dim, heads)
            layer.cross_attn_token_to_image = DecoderAttention(dim, heads, downsample_rate=2)
            layer.cross_attn_image_to_token = DecoderAttention(dim, heads, downsample_rate=2)
        self.final_attn_token_to_image = DecoderAttention(dim, heads, downsample_rate=2)
