"""The second stage's transformer: SAM's two-way transformer with mask cross-attention both ways (Section 3.3)."""

from __future__ import annotations

from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn

from pgsam_monai.networks.hsam.masked_attention import MaskedAttention
from pgsam_monai.networks.sam.transformer import TwoWayTransformer


class MaskedTwoWayTransformer(TwoWayTransformer):
    """Parameters as in SAM's, so that its weights fit; the last attention is not masked.

    The layers keep SAM's order, self-attention first; the released code has Mask2Former's.
    """

    def __init__(
        self,
        *,
        kind: str = "learnable",
        dropout: float = 0.2,
        depth: int = 2,
        dim: int = 256,
        heads: int = 8,
        mlp_dim: int = 2048,
    ) -> None:
        """
        Args:
            kind: of the masks' effect, see `MaskedAttention`.
            dropout: of what the tokens gather from the image, as in the released code.
            depth, dim, heads, mlp_dim: as in SAM.
        """
        super().__init__(depth=depth, dim=dim, heads=heads, mlp_dim=mlp_dim)
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers:
            layer.cross_attn_token_to_image = MaskedAttention(dim, heads, kind=kind)
            layer.cross_attn_image_to_token = MaskedAttention(dim, heads, kind=kind)

    def rescale(self, classes: int) -> None:
        """See `MaskedAttention.rescale`: a prior that knows nothing then leaves SAM's transformer as it was."""
        for layer in self.layers:
            layer.cross_attn_token_to_image.rescale(classes)
            layer.cross_attn_image_to_token.rescale(classes)

    def forward(
        self, embedding: Tensor, grid_encoding: Tensor, tokens: Tensor, prior: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            embedding: image embedding (B, 256, h, w).
            grid_encoding: its positional encoding (1, 256, h, w).
            tokens: a token per class (B, K+1, 256).
            prior: the first stage's probabilities (B, K+1, h, w).

        Returns:
            tokens (B, K+1, 256) and image tokens (B, h * w, 256).
        """
        image, image_place = (x.flatten(2).transpose(1, 2) for x in (embedding, grid_encoding))
        mask = prior.flatten(2)  # (B, K+1, h * w)
        queries = tokens
        for layer in self.layers:
            queries, image = self._layer(layer, queries, image, tokens, image_place, mask)
        gathered = self.final_attn_token_to_image(q=queries + tokens, k=image + image_place, v=image)
        return self.norm_final_attn(queries + gathered), image

    def _layer(
        self,
        layer: TwoWayAttentionBlock,
        queries: Tensor,
        image: Tensor,
        place: Tensor,
        image_place: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """SAM's block: tokens among themselves, to the image, their MLP, and the image to the tokens."""
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(q=queries, k=queries, v=queries)
        else:
            queries = queries + layer.self_attn(q=queries + place, k=queries + place, v=queries)
        queries = layer.norm1(queries)
        gathered = layer.cross_attn_token_to_image(
            q=queries + place, k=image + image_place, v=image, mask=mask
        )
        queries = layer.norm2(queries + self.dropout(gathered))
        queries = layer.norm3(queries + layer.mlp(queries))
        given = layer.cross_attn_image_to_token(
            q=image + image_place, k=queries + place, v=queries, mask=mask.transpose(1, 2)
        )
        return queries, layer.norm4(image + given)
