"""Med-SA's mask decoder: SAM's own mask token answers prompts, a token per class answers without any."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pgsam_monai.networks.medsa.two_way import AdaptedTwoWayTransformer
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.networks.sam.mask_decoder import MaskDecoder

TOKEN_NOISE = 0.02
"""Standard deviation of what tells the class tokens apart at the start, and of the prompt embedding without prompts."""


class PromptedDecoder(nn.Module):
    """Takes over SAM's decoder, its four mask tokens included, and adds adapters and K + 1 class tokens.

    With prompts the tokens are SAM's: quality, four masks, then the prompt; the mask is SAM's first, the one that it
    gives to boxes and several points. Without, the class tokens stand in the mask tokens' place.
    """

    def __init__(
        self, sam: MaskDecoder, *, num_classes: int, rank: int, scale: float, hyper_prompt: str
    ) -> None:
        """
        Args:
            sam: built for SAM's three further masks.
            num_classes: K foreground classes.
            rank, scale, hyper_prompt: of the adapters, see `AdaptedTwoWayTransformer`.

        Raises:
            ValueError: unknown `hyper_prompt`.
        """
        super().__init__()
        self.sam = sam
        dim = sam.transformer_dim
        self.transformer = AdaptedTwoWayTransformer(
            sam.transformer, rank=rank, scale=scale, hyper_prompt=hyper_prompt
        )
        sam.transformer = nn.Identity()
        self.class_tokens = nn.Parameter(torch.empty(num_classes + 1, dim))
        self.class_mlps = nn.ModuleList(
            copy.deepcopy(sam.output_hypernetworks_mlps[0]) for _ in range(num_classes + 1)
        )
        self.no_prompt = nn.Parameter(TOKEN_NOISE * torch.randn(dim))
        with torch.no_grad():
            noise = TOKEN_NOISE * torch.randn_like(self.class_tokens)
            self.class_tokens.copy_(sam.mask_tokens.weight[:1] + noise)

    def everything(self, features: ImageFeatures, *, grid_encoding: Tensor, dense: Tensor) -> Tensor:
        """Features of B images → logits (B, K+1, 4H, 4W) of background and every class, without prompt.

        Args:
            features: the image encoder's.
            grid_encoding: of their grid (1, 256, H, W).
            dense: "no mask given" (1, 256, 1, 1).
        """
        batch = features.embedding.shape[0]
        tokens = torch.cat([self.sam.iou_token.weight, self.class_tokens]).expand(batch, -1, -1)
        prompt = self.no_prompt.expand(batch, -1)
        read, upscaled = self._read(features, grid_encoding, dense, tokens, prompt, None)
        weights = torch.stack([mlp(read[:, 1 + i]) for i, mlp in enumerate(self.class_mlps)], dim=1)
        return torch.einsum("bkc,bchw->bkhw", weights, upscaled)

    def answer(
        self, features: ImageFeatures, sparse: Tensor, absent: Tensor, *, grid_encoding: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mask that each of P prompts asks for.

        Args:
            features: of the prompts' own images, embedding (P, 256, H, W).
            sparse: prompt tokens (P, N, 256).
            absent: (P, N) bool, tokens that only fill up a row.
            grid_encoding: as above.
            dense: dense prompt embedding (P or 1, 256, H or 1, W or 1).

        Returns:
            logits (P, 4H, 4W) and SAM's estimate of the mask's IoU (P,).
        """
        own = torch.cat([self.sam.iou_token.weight, self.sam.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        hidden = torch.zeros_like(absent, dtype=torch.float32).masked_fill(absent, -torch.inf)
        hidden = nn.functional.pad(hidden, (len(own), 0))[:, None, None, :]  # (P, 1, 1, 5 + N)
        prompt = self.reduce_prompt(sparse, absent)
        read, upscaled = self._read(features, grid_encoding, dense, tokens, prompt, hidden)
        weights = self.sam.output_hypernetworks_mlps[0](read[:, 1])  # (P, 32)
        return torch.einsum("pc,pchw->phw", weights, upscaled), self.sam.iou_prediction_head(read[:, 0])[:, 0]

    def reduce_prompt(self, sparse: Tensor, absent: Tensor) -> Tensor:
        """e_prompt of Eq. 1: the mean of a prompt's own tokens, (P, N, 256) → (P, 256), in any order and number.

        A prompt of a mask alone has no token and gets the embedding of "no prompt".
        """
        there = (~absent).unsqueeze(-1).to(sparse.dtype)
        count = there.sum(dim=1)
        mean = (sparse * there).sum(dim=1) / count.clamp(min=1)
        return torch.where(count > 0, mean, self.no_prompt.to(mean.dtype))

    def _read(
        self,
        features: ImageFeatures,
        grid_encoding: Tensor,
        dense: Tensor,
        tokens: Tensor,
        prompt: Tensor,
        absent: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens that have read the image (B, N, 256) and the upscaled image (B, 32, 4H, 4W) that has read them."""
        source = features.embedding + dense
        read, source = self.transformer(source, grid_encoding, tokens, prompt=prompt, absent=absent)
        source = source.transpose(1, 2).unflatten(-1, features.embedding.shape[2:])
        return read, self.sam.upscale(source, features.skips)
