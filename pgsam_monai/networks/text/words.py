"""A text word by word, in the space of its sentence: that which CLIP's towers write to, or a sentence encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


class Words(NamedTuple):
    """Texts as vectors, one per word token and one per text."""

    vectors: Tensor
    """(n, L, d), not normalised; zero where nothing is present"""
    present: Tensor
    """(n, L) bool: False at CLIP's start token and at what only fills up a row; True at the end-of-text token, whose
    vector is CLIP's sentence. Of a sentence encoder all tokens are present, its marks too: it takes their mean"""
    sentence: Tensor
    """(n, d), what `ClipTowers.encode_text` or `sentences.embed_sentences` gives"""

    def rows(self, index: Tensor) -> Words:
        """The texts at `index` (B,), as long as the longest of them."""
        return trim(*(part[index] for part in self))


class Phrases(NamedTuple):
    """Many texts, each as long as it is: most requests are far shorter than the longest description."""

    vectors: Tensor
    """(words of all texts, d), text after text"""
    lengths: Sequence[int]
    """n numbers of words"""
    sentence: Tensor
    """(n, d)"""

    @classmethod
    def of(cls, words: Words) -> Phrases:
        """The present ones of `words`."""
        return cls(words.vectors[words.present], words.present.sum(dim=1).tolist(), words.sentence)

    @classmethod
    def joined(cls, texts: Sequence[Tensor], sentence: Tensor) -> Phrases:
        """Of texts (words, d)."""
        return cls(torch.cat(list(texts)), [len(text) for text in texts], sentence)

    def rows(self, index: Sequence[int]) -> Words:
        """The texts at `index`, as long as the longest of them. A GPU needn't be waited for."""
        every = self.vectors.split(list(self.lengths))
        lengths = torch.tensor([self.lengths[row] for row in index])
        present = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
        rows = torch.tensor(index).to(self.sentence.device, non_blocking=True)
        vectors = pad_sequence([every[row] for row in index], batch_first=True)
        return Words(vectors, present.to(vectors.device, non_blocking=True), self.sentence[rows])


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
