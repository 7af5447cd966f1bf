"""Self-attention whose query and value layers can be adapted one by one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.sam.attend import attend, join_heads, split_heads


class SplitAttention(nn.Module):
    """`nn.MultiheadAttention` as CLIP calls it, with its fused input layer as `q`, `k` and `v`.

    peft's layer for `nn.MultiheadAttention` adapts the fused layer and the output layer, never q and v alone.
    It also adds the update to the frozen weight before each pass and subtracts it afterwards: the weight drifts
    by rounding and is a new parameter object each time, so that neither exporters nor averages can hold it.
    """

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        """Take over the weights of `fused`, one for which `can_split` holds."""
        super().__init__()
        self.heads = fused.num_heads
        weights = fused.in_proj_weight.detach().chunk(3)
        biases = (None,) * 3 if fused.in_proj_bias is None else fused.in_proj_bias.detach().chunk(3)
        self.q, self.k, self.v = (_linear(*part) for part in zip(weights, biases, strict=True))
        self.out = _linear(fused.out_proj.weight.detach(), fused.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            query: (B, N, C).
            key: (B, M, C).
            value: (B, M, C).
            need_weights: must be False.
            attn_mask: added to the scores, (N, M) or (B * heads, N, M); None for no mask.

        Returns:
            (B, N, C), and None where `nn.MultiheadAttention` may return its weights.

        Raises:
            ValueError: weights are asked for.
        """
        if need_weights:
            raise UserFault("SplitAttention returns no attention weights: call it with need_weights=False.")
        q, k, v = (
            split_heads(layer(tokens), self.heads)
            for layer, tokens in ((self.q, query), (self.k, key), (self.v, value))
        )
        if attn_mask is not None:
            attn_mask = attn_mask.to(q.dtype)
            if attn_mask.ndim == 3:
                attn_mask = attn_mask.unflatten(0, (-1, self.heads))  # (B, heads, N, M)
        return self.out(join_heads(attend(q, k, v, attn_mask))), None


def can_split(module: nn.Module) -> bool:
    """Whether `module` is an attention that `SplitAttention` equals."""
    return (
        isinstance(module, nn.MultiheadAttention)
        and module._qkv_same_embed_dim
        and module.batch_first
        and module.dropout == 0
        and module.bias_k is None
        and not module.add_zero_attn
    )


def split_attentions(tower: nn.Module) -> None:
    """Replace every attention inside `tower` for which `can_split` holds, in place; outputs stay the same."""
    for parent in list(tower.modules()):
        for name, child in list(parent.named_children()):
            if can_split(child):
                setattr(parent, name, SplitAttention(child))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer that owns a copy of `weight` (out, in) and `bias` (out)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(torch.clone(bias.detach()))
    return layer
