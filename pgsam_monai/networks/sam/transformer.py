"""SAM's two-way transformer, its attention through ``scaled_dot_product_attention``."""

from __future__ import annotations

from segment_anything.modeling.transformer import Attention as SamAttention
from segment_anything.modeling.transformer import TwoWayTransformer as SamTwoWayTransformer
from torch import Tensor
from torch.nn import functional as F


class Attention(SamAttention):
    """`segment_anything`'s decoder attention, same parameters and result, without its score matrix."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) → (B, N, C)."""
        query = self._heads(self.q_proj(q))
        key = self._heads(self.k_proj(k))
        value = self._heads(self.v_proj(v))
        out = F.scaled_dot_product_attention(query, key, value)  # (B, heads, N, C / heads)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class TwoWayTransformer(SamTwoWayTransformer):
    """Tokens attend to the image and the image to the tokens, twice, as in SAM."""

    def __init__(self, *, depth: int = 2, dim: int = 256, heads: int = 8, mlp_dim: int = 2048) -> None:
        """``depth`` layers of ``dim`` channels; cross-attention works at half of them."""
        super().__init__(depth=depth, embedding_dim=dim, num_heads=heads, mlp_dim=mlp_dim)
        for layer in self.layers:
            layer.self_attn = Attention(dim, heads)
            layer.cross_attn_token_to_image = Attention(dim, heads, downsample_rate=2)
            layer.cross_attn_image_to_token = Attention(dim, heads, downsample_rate=2)
        self.final_attn_token_to_image = Attention(dim, heads, downsample_rate=2)
