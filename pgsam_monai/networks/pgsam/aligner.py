"""PG-SAM's fine-grained modality prior aligner: where each class's text fits the image (Eq. 1 to 3).

Four repairs, without which the text can't matter:

* **One similarity per class.** The paper's single text per image gives one scalar; K + 1 class texts give K + 1, and
  the σ of Eq. 1 becomes what it is for several classes: a softmax over them. Left to themselves, K + 1 sigmoids learn
  to be constants, 1 for some classes and 0 for others.
* **P sees the image's positions.** A linear map from a global similarity to L positions (Eq. 1) is the same map for
  every image. Here P adds to the global similarity how well the projected text fits each position of SAM's features.
* **W after the norms.** Eq. 3 normalises the product with W over channels, which divides every positive weight of a
  position out again (G at weights .30 and .15 correlates above .997). Here G = Γ_spatial(Γ_channel(F + AF)) ⊙ W.
* **The prior is one.** In Eq. 5 W only scales features, any gate that helps these will do, and nothing ties a text to
  its structure: exchanging the texts of spleen and liver in a trained network changed no mask. So log W also joins
  the masks' logits (`features.MaskFeatures.masks`), posterior ∝ likelihood × prior, and Eq. 8 trains it as such.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.networks.sam.attend import attend

GLOBAL_SCALE = 10.0
LOCAL_SCALE = 10.0
"""Start values of P's learnt scales: cosines are small numbers, the softmax wants some units."""

SAME_TEXT = 1e-3
"""Texts nearer to each other than this count as the same: what differs is rounding, and must not be blown up."""


def centre_texts(texts: Tensor) -> Tensor:
    """Class texts (K+1, d) → unit vectors of what tells each from the mean of all.

    Texts of one template and modality share most of their embedding, and images share an offset to all texts
    (CLIP's modality gap). The mean carries no information about the class, so it is taken out of Eq. 1's cosine.
    """
    unit = F.normalize(texts, dim=-1)
    return F.normalize(unit - unit.mean(dim=0, keepdim=True), dim=-1, eps=SAME_TEXT)


def global_similarity(image: Tensor, texts: Tensor) -> Tensor:
    """Eq. 1's cosines: image embeddings (B, d), centred texts (K+1, d) → (B, K+1)."""
    return F.normalize(image, dim=-1) @ texts.T


def attend_to_alike(features: Tensor) -> Tensor:
    """Eq. 2 and the sum in Eq. 3: tokens F (B, L, C) → F + AF, A = softmax(LN(F) LN(F)ᵀ / √C), LN without weights."""
    normed = F.layer_norm(features, features.shape[-1:]).unsqueeze(1)  # one head
    return features + attend(normed, normed, features.unsqueeze(1)).squeeze(1)


class DualNorm(nn.Module):
    """Γ_spatial(Γ_channel(·)) of Eq. 3: each position over its channels, then each channel over the positions.

    Only the second norm has a scale and a shift per channel: those of the first it would divide out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) → (B, L, C)."""
        normed = F.layer_norm(tokens, tokens.shape[-1:])
        centred = normed - normed.mean(dim=1, keepdim=True)
        deviation = centred.square().mean(dim=1, keepdim=True).add(1e-5).sqrt()
        return centred / deviation * self.scale + self.shift


class Prior(NamedTuple):
    """The semantic guide matrices G_k = guide ⊙ W_k (Eq. 3) by their factors; the K + 1 products are never needed."""

    guide: Tensor
    """Γ_spatial(Γ_channel(F + AF)), (B, C, h, w)"""
    log_weights: Tensor
    """log W, float32 (B, K+1, h, w)"""

    @property
    def weights(self) -> Tensor:
        """W (B, K+1, h, w): at each position the share of each class, between 0 and 1 and summing to 1."""
        return self.log_weights.exp()


class PriorAligner(nn.Module):
    """SAM's features, CLIP's image embedding and the class texts → guide features and a weight map per class."""

    def __init__(self, *, text_dim: int, channels: int = 256, match_dim: int = 128) -> None:
        """
        Args:
            text_dim: length d of CLIP's embeddings.
            channels: channels C of SAM's embedding.
            match_dim: length in which texts and positions are compared.
        """
        super().__init__()
        self.norm = DualNorm(channels)
        self.project_text = nn.Linear(text_dim, match_dim, bias=False)
        self.project_position = nn.Linear(channels, match_dim, bias=False)
        self.global_scale = nn.Parameter(torch.tensor(GLOBAL_SCALE))
        self.local_scale = nn.Parameter(torch.tensor(LOCAL_SCALE))

    def forward(self, embedding: Tensor, image: Tensor, texts: Tensor) -> Prior:
        """
        Args:
            embedding: F_sam (B, C, h, w), any h and w.
            image: CLIP's image embeddings F_img (B, d).
            texts: CLIP's text embeddings F_text (K+1, d), background first; neither needs unit length.

        Returns:
            the prior on SAM's grid.
        """
        grid = embedding.shape[2:]
        tokens = self.norm(attend_to_alike(embedding.flatten(2).transpose(1, 2)))  # (B, L, C)
        logits = self.spread(global_similarity(image, centre_texts(texts)), tokens, texts)
        log_weights = logits.float().log_softmax(dim=1).unflatten(-1, grid)
        return Prior(tokens.transpose(1, 2).unflatten(-1, grid), log_weights)

    def spread(self, similarity: Tensor, tokens: Tensor, texts: Tensor) -> Tensor:
        """P of Eq. 1: similarities (B, K+1) over positions (B, L, C) → logits of W (B, K+1, L)."""
        queries = F.normalize(self.project_text(centre_texts(texts)), dim=-1)  # (K+1, m)
        keys = F.normalize(self.project_position(tokens), dim=-1)  # (B, L, m)
        local = torch.einsum("km,blm->bkl", queries, keys)
        return self.global_scale * similarity.unsqueeze(-1) + self.local_scale * local
