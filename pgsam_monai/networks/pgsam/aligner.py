"""PG-SAM's fine-grained modality prior aligner: where each class's text fits the image (Eq. 1 to 3).

Four repairs, without which the text can't matter:

* **One similarity per class.** The paper's single text per image gives one scalar; K + 1 class texts give K + 1, and
  the σ of Eq. 1 becomes what it is for several classes: a softmax over them. Left to themselves, K + 1 sigmoids learn
  to be constants, 1 for some classes and 0 for others.
* **P sees the image's positions.** A linear map from a global similarity to L positions (Eq. 1) is the same map for
  every image. Here P adds to the global similarity how well the text fits each position of SAM's features and each
  patch that CLIP's image tower sees. Texts that a learnt map may rearrange at will are mere names of the classes;
  compared in their own space, what they say of each other has to be kept.
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
from pgsam_monai.transforms.fit import enlarge, sides

GLOBAL_SCALE = LOCAL_SCALE = PATCH_SCALE = 10.0
"""Start values of P's learnt temperatures: cosines are small numbers, the softmax wants some units."""

BACKGROUND_RATE = 3.0
"""Logarithm of how much more of an image is background than any one class, before training."""

SAME_TEXT = 1e-3
"""Texts nearer to each other than this count as the same: what differs is rounding, and must not be blown up."""


def centre_texts(texts: Tensor) -> Tensor:
    """Class texts (…, K+1, d) → unit vectors of what tells each from the mean of all.

    Texts of one template and modality share most of their embedding, and images share an offset to all texts
    (CLIP's modality gap). The mean carries no information about the class, so it is taken out of Eq. 1's cosine.
    """
    unit = F.normalize(texts, dim=-1)
    return F.normalize(unit - unit.mean(dim=-2, keepdim=True), dim=-1, eps=SAME_TEXT)


def global_similarity(image: Tensor, texts: Tensor) -> Tensor:
    """Eq. 1's cosines: image embeddings (B, d), centred texts (B or 1, K+1, d) → (B, K+1)."""
    return (texts @ F.normalize(image, dim=-1).unsqueeze(-1)).squeeze(-1)


def patch_similarity(patches: Tensor, texts: Tensor) -> Tensor:
    """Cosines of an image's patches (B, N, d) with centred texts (B or 1, K+1, d) → (B, K+1, N).

    What all patches of an image share says nothing of where; it is taken out, as the texts' mean is.
    """
    own = F.normalize(patches - patches.mean(dim=1, keepdim=True), dim=-1)
    return texts @ own.transpose(1, 2)


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


class ImageEvidence(NamedTuple):
    """What CLIP's image tower says of images, in the space of its texts."""

    whole: Tensor
    """F_img (B, d), neither centred nor of unit length"""
    patches: Tensor | None = None
    """each patch of its grid (B, d, g, g); None where only the whole image is asked"""


class PriorAligner(nn.Module):
    """SAM's features, what CLIP sees, and the class texts → guide features and a weight map per class.

    The logits of W are a sum of up to three terms, each a cosine times a learnt temperature, so that a text can say
    where its class is in three ways: is it in the image at all (Eq. 1's global similarity), which of CLIP's patches
    look like it, and which positions of SAM's features do.
    """

    def __init__(
        self,
        *,
        text_dim: int,
        image_dim: int | None = None,
        patches: bool = False,
        base_rates: int = 0,
        channels: int = 256,
        match_dim: int | None = 128,
    ) -> None:
        """
        Args:
            text_dim: length d of the texts' embeddings.
            image_dim: length of the image's; None if no image tower looks. Another length than the texts' means that
                another model wrote them: then a learnt map takes the image into their space.
            patches: whether the image comes with its patches.
            base_rates: classes K + 1 that have a learnt base rate beside what their texts say; 0 for none. Without it a
                background that fills most of an image has to be found by its text, and W takes it for organs.
            channels: channels C of SAM's embedding.
            match_dim: length to which a learnt map takes the texts before SAM's positions are compared with them.
                None compares in the texts' own space, so that what the texts say of each other stays as it is.
        """
        super().__init__()
        self.norm = DualNorm(channels)
        self.project_text = nn.Identity() if match_dim is None else nn.Linear(text_dim, match_dim, bias=False)
        self.project_position = nn.Linear(channels, match_dim or text_dim, bias=False)
        foreign = image_dim not in (None, text_dim)
        self.project_image = nn.Linear(image_dim, text_dim, bias=False) if foreign else nn.Identity()
        self.global_scale = None if image_dim is None else nn.Parameter(torch.tensor(GLOBAL_SCALE))
        self.patch_scale = nn.Parameter(torch.tensor(PATCH_SCALE)) if patches else None
        self.local_scale = nn.Parameter(torch.tensor(LOCAL_SCALE))
        self.base_rate = None
        if base_rates:
            start = torch.zeros(base_rates, 1)
            start[0] = BACKGROUND_RATE
            self.base_rate = nn.Parameter(start)

    def forward(self, embedding: Tensor, image: ImageEvidence | None, texts: Tensor) -> Prior:
        """
        Args:
            embedding: F_sam (B, C, h, w), any h and w.
            image: what CLIP says of the image; None without an image tower.
            texts: text embeddings F_text, background first, (K+1, d), or (B, K+1, d) where images have texts of their
                own; they need no unit length.

        Returns:
            the prior on SAM's grid.
        """
        grid = sides(embedding, 2, 3)
        tokens = self.norm(attend_to_alike(embedding.flatten(2).transpose(1, 2)))  # (B, L, C)
        centred = centre_texts(texts)
        centred = centred if centred.ndim == 3 else centred.unsqueeze(0)  # (B or 1, K+1, d)
        logits = self.local_scale * self.local_similarity(tokens, centred)
        if image is not None:
            logits = logits + self.image_terms(image, centred, grid)
        if self.base_rate is not None:
            logits = logits + self.base_rate
        log_weights = logits.float().log_softmax(dim=1).unflatten(-1, grid)
        return Prior(tokens.transpose(1, 2).unflatten(-1, grid), log_weights)

    def local_similarity(self, tokens: Tensor, texts: Tensor) -> Tensor:
        """Cosines of SAM's positions (B, L, C) with centred texts (B or 1, K+1, d) → (B, K+1, L)."""
        queries = F.normalize(self.project_text(texts), dim=-1)
        keys = F.normalize(self.project_position(tokens), dim=-1)
        return queries @ keys.transpose(1, 2)

    def image_terms(self, image: ImageEvidence, texts: Tensor, grid: tuple[int, ...]) -> Tensor:
        """What CLIP's image tower adds to the logits of W: (B, K+1, L), or (B, K+1, 1) for the whole image alone."""
        whole = global_similarity(self.project_image(image.whole), texts).unsqueeze(-1)
        found = self.global_scale * whole
        if self.patch_scale is None:
            return found
        patches = self.project_image(image.patches.flatten(2).transpose(1, 2))
        similarity = patch_similarity(patches, texts).unflatten(-1, sides(image.patches, 2, 3))
        return found + self.patch_scale * enlarge(similarity, grid).flatten(2)
