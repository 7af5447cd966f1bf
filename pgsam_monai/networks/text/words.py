"""A text word by word, in the space that CLIP's towers write to."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Words(NamedTuple):
    """Texts as vectors, one per word token and one per text."""

    vectors: Tensor
    """(n, L, d), not normalised; zero where nothing is present"""
    present: Tensor
    """(n, L) bool: False at a start token and at what only fills up a row; True at the end-of-text token, whose
    vector is CLIP's sentence"""
    sentence: Tensor
    """(n, d), what `ClipTowers.encode_text` gives"""

    def rows(self, index: Tensor) -> Words:
        """The texts at `index` (B,), as long as the longest of them."""
        return trim(*(part[index] for part in self))


def trim(vectors: Tensor, present: Tensor, sentence: Tensor) -> Words:
    """`Words` without the places, in front and behind, at which no text has a word; absent words become zero.

    Args:
        vectors: (n, places, d).
        present: (n, places) bool, at least one of them True.
        sentence: (n, d).
    """
    places = present.any(dim=0).nonzero()
    kept = slice(int(places[0]), int(places[-1]) + 1)
    present = present[:, kept]
    return Words(vectors[:, kept].masked_fill(~present.unsqueeze(-1), 0.0), present, sentence)


def project_words(tower: nn.Module, tokens: Tensor) -> Tensor:
    """What a text tower returns beside its pooled vectors (n, places, width), in the joint space (n, places, d).

    open_clip's towers project the pooled vectors only. CoCa's, which append a token of their own, also leave the
    last norm to it.
    """
    if hasattr(tower, "proj"):  # of Hugging Face
        return tower.proj(tokens)
    if tower.cls_emb is not None:
        tokens = tower.ln_final(tokens)
    if isinstance(tower.text_projection, nn.Module):
        return tower.text_projection(tokens)
    return tokens if tower.text_projection is None else tokens @ tower.text_projection
