"""H-SAM's learnable mask cross-attention (Eq. 3), and what Table 5 compares it with."""

from __future__ import annotations

import torch
from torch import Tensor

from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads
from pgsam_monai.networks.sam.transformer import DecoderAttention

MASK_ATTENTIONS = ("learnable", "binary", "none")
THRESHOLD = 0.5
"""Above it a position belongs to a binary mask, as in Mask2Former."""


class MaskedAttention(DecoderAttention):
    """SAM's decoder attention, its saliency map modulated by a mask in one of three ways.

    "learnable": M ⊙ softmax(QKᵀ/√d) V, with the probabilities M as they are; not renormalised, gradients reach M.
    "binary": softmax(t(M) + QKᵀ/√d) V of Mask2Former (Eq. 2), t = 0 where M > 0.5 and -∞ elsewhere; a query whose mask
    is empty attends everywhere.
    "none": plain attention.
    """

    def __init__(self, dim: int, heads: int, *, downsample_rate: int = 2, kind: str = "learnable") -> None:
        super().__init__(dim, heads, downsample_rate)
        self.kind = kind

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C), mask (B, N, M) of probabilities → (B, N, C)."""
        query = split_heads(self.q_proj(q), self.num_heads)
        key = split_heads(self.k_proj(k), self.num_heads)
        value = split_heads(self.v_proj(v), self.num_heads)
        if self.kind == "learnable":
            attended = attend_weighted(query, key, value, mask)
        else:
            bias = blocking_bias(mask, query) if self.kind == "binary" else None
            attended = attend(query, key, value, bias)
        return self.out_proj(join_heads(attended))

    @torch.no_grad()
    def rescale(self, classes: int) -> None:
        """Make up for a uniform mask of 1 / `classes`, in place: with it the answer is then plain attention's.

        Eq. 3 at that mask gives W (A V / classes) + b, so W is multiplied and b isn't. The other kinds of mask don't
        scale what is attended to, and keep their weights.
        """
        if self.kind == "learnable":
            self.out_proj.weight.mul_(classes)


def attend_weighted(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Eq. 3: (mask ⊙ softmax(query · keyᵀ / √C)) · value; mask (B, N, M) is the same for all heads."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    weights = mask.unsqueeze(1) * scores.softmax(-1)
    return weights.to(value.dtype) @ value


def blocking_bias(mask: Tensor, like: Tensor) -> Tensor:
    """Eq. 2's t(M) (B, heads, N, M): 0 where the query may look, -∞ elsewhere; all 0 for an empty mask."""
    inside = mask > THRESHOLD
    allowed = inside | ~inside.any(dim=-1, keepdim=True)
    bias = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~allowed, float("-inf"))
    return bias.unsqueeze(1).expand(-1, like.shape[1], -1, -1)
