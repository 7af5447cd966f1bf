"""What EfficientSAM's mask decoder does differently from SAM's (Xiong et al., 2023, arXiv 2312.00863)."""

from __future__ import annotations

from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.networks.sam.mask_decoder import MaskDecoder


class GeluMLP(MLP):
    """`segment_anything`'s MLP with GELU instead of ReLU; same parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, input_dim) → (…, output_dim)."""
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        return self.layers[-1](x)


class EfficientBlock(TwoWayAttentionBlock):
    """`segment_anything`'s two-way block with the same parameters, but for `among_tokens` and GELU."""

    def __init__(self, block: TwoWayAttentionBlock) -> None:
        """`block`: SAM's, whose parts are taken over."""
        nn.Module.__init__(self)
        for name, part in block.named_children():
            self.add_module(name, part)
        self.mlp.act = nn.GELU()
        self.skip_first_layer_pe = block.skip_first_layer_pe

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and image (B, M, C) with what tells their places, of the same shapes → both, updated."""
        queries = self.norm1(among_tokens(self, queries, query_pe))
        read = self.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
        queries = self.norm2(queries + read)
        queries = self.norm3(queries + self.mlp(queries))
        told = self.cross_attn_image_to_token(q=keys + key_pe, k=queries + query_pe, v=queries)
        return queries, self.norm4(keys + told)


def among_tokens(
    block: TwoWayAttentionBlock, queries: Tensor, query_pe: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What a block's self-attention makes of its tokens, before the norm.

    EfficientSAM adds its result to the tokens in the first block as well, and in the others it reads and keeps the
    places that it added to them.

    Args:
        block: SAM's or an `EfficientBlock`, its attentions ours.
        queries: tokens (B, N, C).
        query_pe: what tells their places (B, N, C).
        bias: as for `transformer.Attention`.

    Returns:
        (B, N, C).
    """
    asking = queries if block.skip_first_layer_pe else queries + query_pe
    if isinstance(block, EfficientBlock):
        return asking + block.self_attn(q=asking, k=asking, v=asking, bias=bias)
    told = block.self_attn(q=asking, k=asking, v=queries, bias=bias)
    return told if block.skip_first_layer_pe else queries + told


def make_efficient(decoder: MaskDecoder) -> MaskDecoder:
    """Turn SAM's decoder into EfficientSAM's, in place and with as many parameters of the same shapes.

    Besides `EfficientBlock`, every MLP gets GELU, and the upscaled image tokens are normed over all pixels and
    channels at once.
    """
    dim = decoder.transformer_dim
    use_efficient_blocks(decoder.transformer)
    decoder.output_upscaling[1] = nn.GroupNorm(1, dim // 4)
    decoder.output_hypernetworks_mlps = nn.ModuleList(
        GeluMLP(dim, dim, dim // 8, 3) for _ in range(decoder.num_mask_tokens)
    )
    decoder.iou_prediction_head = GeluMLP(dim, dim, decoder.num_mask_tokens, 3)
    return decoder


def use_efficient_blocks(transformer: nn.Module) -> None:
    """Turn the blocks of SAM's two-way transformer into EfficientSAM's, in place."""
    transformer.layers = nn.ModuleList(EfficientBlock(block) for block in transformer.layers)
