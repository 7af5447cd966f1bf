"""Med-SA's decoder block: SAM's two-way block with three adapters (Section 3.2, Fig. 1d)."""

from __future__ import annotations

from torch import Tensor, nn

from pgsam_monai.networks.adaptation.adapter import Adapter
from pgsam_monai.networks.medsa.hyper_prompt import build_prompt_adapter
from pgsam_monai.networks.sam.efficient_sam import among_tokens
from pgsam_monai.networks.sam.transformer import TwoWayTransformer


class AdaptedTwoWayBlock(nn.Module):
    """Around one of SAM's blocks: HyP-Adpt where the tokens have read the image, an adapter beside their MLP, and one
    on the image that has read the tokens; each before the norm that SAM has there."""

    def __init__(self, block: nn.Module, *, dim: int, rank: int, scale: float, hyper_prompt: str) -> None:
        """`block`: `segment_anything`'s, its attentions ours. The rest: see `AdaptedTwoWayTransformer`."""
        super().__init__()
        self.block = block
        self.scale = scale
        self.prompted = self.beside_mlp = self.on_image = None
        if rank:
            self.prompted = build_prompt_adapter(hyper_prompt, dim, rank=rank, prompt_dim=dim)
            self.beside_mlp = Adapter(dim, rank=rank)
            self.on_image = Adapter(dim, rank=rank)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        query_pe: Tensor,
        key_pe: Tensor,
        prompt: Tensor,
        absent: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            queries: tokens (B, N, C).
            keys: image (B, H * W, C).
            query_pe: what tells tokens apart, the tokens as they came (B, N, C).
            key_pe: positional encoding of the image (B or 1, H * W, C).
            prompt: the prompt embedding (B, C).
            absent: (B, 1, 1, N), -inf where a token only fills up its row, else 0; None without such.

        Returns:
            tokens and image, updated.
        """
        block = self.block
        queries = block.norm1(among_tokens(block, queries, query_pe, absent))

        queries = queries + block.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
        if self.prompted is not None:
            queries = queries + self.prompted(queries, prompt)
        queries = block.norm2(queries)

        moved = block.mlp(queries)
        if self.beside_mlp is not None:
            moved = moved + self.scale * self.beside_mlp(queries)
        queries = block.norm3(queries + moved)

        asked = queries + query_pe
        keys = keys + block.cross_attn_image_to_token(q=keys + key_pe, k=asked, v=queries, bias=absent)
        if self.on_image is not None:
            keys = keys + self.on_image(keys)
        return queries, block.norm4(keys)


class AdaptedTwoWayTransformer(nn.Module):
    """SAM's two-way transformer with adapted blocks, which know the prompt and skip tokens that are not there."""

    def __init__(self, transformer: TwoWayTransformer, *, rank: int, scale: float, hyper_prompt: str) -> None:
        """
        Args:
            transformer: SAM's, which is taken over.
            rank: of the adapters; 0 for none.
            scale: s of those beside the MLP.
            hyper_prompt: see `hyper_prompt.build_prompt_adapter`.

        Raises:
            ValueError: unknown `hyper_prompt`.
        """
        super().__init__()
        dim = transformer.embedding_dim
        self.blocks = nn.ModuleList(
            AdaptedTwoWayBlock(layer, dim=dim, rank=rank, scale=scale, hyper_prompt=hyper_prompt)
            for layer in transformer.layers
        )
        self.final_attn_token_to_image = transformer.final_attn_token_to_image
        self.norm_final_attn = transformer.norm_final_attn

    def forward(
        self,
        image: Tensor,
        grid_encoding: Tensor,
        tokens: Tensor,
        *,
        prompt: Tensor,
        absent: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: image embedding (B, C, H, W).
            grid_encoding: (1, C, H, W).
            tokens: (B, N, C).
            prompt: the prompt embedding (B, C).
            absent: as for a block.

        Returns:
            tokens (B, N, C) and image (B, H * W, C).
        """
        keys, key_pe = image.flatten(2).transpose(1, 2), grid_encoding.flatten(2).transpose(1, 2)
        queries = tokens
        for block in self.blocks:
            queries, keys = block(queries, keys, tokens, key_pe, prompt, absent)
        read = self.final_attn_token_to_image(q=queries + tokens, k=keys + key_pe, v=keys)
        return self.norm_final_attn(queries + read), keys
