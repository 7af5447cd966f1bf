"""What RefSAM3D reads: the classes' own sentences, requests for one of them, any other text (Eq. II)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.networks.refsam3d.meaning import Meaning
from pgsam_monai.networks.refsam3d.referring import ReferringTraining
from pgsam_monai.networks.refsam3d.requests import TITLE, Requests
from pgsam_monai.networks.text.class_texts import ClassTexts, SentenceTexts, check_texts, learns_text
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.sentences import embed_words
from pgsam_monai.networks.text.words import Phrases, Words

AT_ONCE = 256
"""texts in one pass of the text tower: a hundred structures have thousands of requests"""


class RequestTexts(ClassTexts):
    """The classes' sentences as in `ClassTexts`, and texts word by word: requests drawn in training, or any text.

    Where the text tower isn't trained, all requests are encoded once.
    """

    title = TITLE

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        requests: Requests,
        tokenize: Callable[[Sequence[str]], Tensor],
        *,
        num_classes: int,
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first.
            requests: made of the same texts.
            tokenize: the text tower's tokenizer, texts → (n, context length).
            num_classes: K.

        Raises:
            UserFault: not K + 1 texts, or a class without text.
        """
        super().__init__(texts, tokenize, num_classes=num_classes)
        self.requests, self.meaning = requests, Meaning(requests)
        self.register_buffer("request_tokens", tokenize(requests.texts), persistent=False)

    def asked(self, clip: ClipTowers, classes: Tensor) -> Words:
        """For each of `classes`, (B,) or (B, 2) for pairs, one of its requests, see `Requests.draw`: B texts.

        With gradients where the text tower is trained.
        """
        rows = self.requests.draw(_listed(classes))
        return self._drawn_now(clip, rows) if learns_text(clip) else self._all(clip).rows(rows)

    def drawn(self, clip: ClipTowers) -> Tensor:
        """As `forward`, but each class by one of its requests: unit vectors (K+1, d)."""
        rows = self.requests.draw_each()
        if learns_text(clip):
            sentences = self._drawn_now(clip, rows).sentence
        else:
            sentences = self._all(clip).sentence[self._index(rows)]
        return F.normalize(sentences.to(self.mean.dtype), dim=-1)

    def free(self, clip: ClipTowers, texts: Sequence[str]) -> Words:
        """Any texts, word by word; those of the last call are kept as the classes' are."""

        def encode() -> Words:
            return clip.encode_words(clip.tokenize(texts).to(self.tokens.device))

        return self._keep("free", clip, encode, of=tuple(texts))

    def meant(self, clip: ClipTowers, text: str) -> Tensor:
        """Which classes a text asks for, see `meaning.Meaning`: (1, K+1) bool, on the CPU."""
        return self.meaning.of(text, lambda: (self.free(clip, [text]).sentence, self._all(clip).sentence))

    def _drawn_now(self, clip: ClipTowers, rows: Sequence[int]) -> Words:
        return clip.encode_words(self.request_tokens[self._index(rows)])

    def _all(self, clip: ClipTowers) -> Phrases:
        def encode() -> Phrases:
            parts = [Phrases.of(clip.encode_words(some)) for some in self.request_tokens.split(AT_ONCE)]
            vectors, lengths, sentences = zip(*parts, strict=True)
            return Phrases(torch.cat(vectors), [n for each in lengths for n in each], torch.cat(sentences))

        return self._keep("requests", clip, encode)

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows).to(self.tokens.device, non_blocking=True)


class SentenceRequests(SentenceTexts):
    """As `RequestTexts`, read by a frozen sentence encoder that is no part of the network.

    Requests are read when the first is drawn: a network that is never trained needs none of them.
    """

    title = TITLE

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        requests: Requests,
        encoder: str,
        *,
        num_classes: int,
        file: str | None = None,
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first.
            requests: made of the same texts.
            encoder: see `sentences.embed_sentences`.
            num_classes: K.
            file: where embeddings are kept.

        Raises:
            UserFault: as `SentenceTexts`.
        """
        super().__init__(texts, encoder, num_classes=num_classes, file=file)
        self.requests, self.encoder, self.file = requests, encoder, file
        self.meaning = Meaning(requests)
        self._all: Phrases | None = None
        self._free: tuple[tuple[str, ...], Phrases] | None = None

    def asked(self, clip: None, classes: Tensor) -> Words:
        """As `RequestTexts.asked`."""
        return self._phrases().rows(self.requests.draw(_listed(classes)))

    def drawn(self, clip: None) -> Tensor:
        """As `RequestTexts.drawn`."""
        sentence = self._phrases().sentence
        return sentence[torch.tensor(self.requests.draw_each()).to(sentence.device, non_blocking=True)]

    def free(self, clip: None, texts: Sequence[str]) -> Words:
        """Any texts, word by word; those of the last call are kept.

        Raises:
            UserFault: one isn't among the requests of training, which are in the file, and the encoder isn't here.
        """
        if self._free is None or self._free[0] != tuple(texts):
            self._free = tuple(texts), embed_words(texts, self.encoder, file=self.file, keep=False)
        return _like(self._free[1], self.embeddings).rows(range(len(texts)))

    def meant(self, clip: None, text: str) -> Tensor:
        """As `RequestTexts.meant`."""
        return self.meaning.of(text, lambda: (self.free(None, [text]).sentence, self._phrases().sentence))

    def _phrases(self) -> Phrases:
        """All requests, encoded once, where and as precise as the classes' sentences are."""
        if self._all is None:
            self._all = embed_words(self.requests.texts, self.encoder, file=self.file)
        self._all = _like(self._all, self.embeddings)
        return self._all


def build_reader(
    texts: Sequence[Sequence[str]],
    names: Sequence[str],
    asking: ReferringTraining,
    *,
    num_classes: int,
    encoder: str | None,
    file: str | None,
    **clip: Any,
) -> tuple[ClipTowers | None, RequestTexts | SentenceRequests, int]:
    """What reads texts of K + 1 classes, background first, and requests for them.

    Args:
        texts: one description or several of each class.
        names: of the classes, which requests are made of.
        asking: how training asks.
        num_classes: K.
        encoder: None for CLIP's text tower, else see `SentenceRequests`.
        file: likewise.
        clip: model, weights, folder and training of the tower, see `ClipTowers`.

    Returns:
        the tower, None beside an encoder; the texts; the length of their vectors.

    Raises:
        UserFault: not K + 1 texts or names, a class without text, or no such tower or encoder.
    """
    check_texts(texts, num_classes, who=TITLE)
    requests = Requests(texts, names, templates=asking.templates, other_names_share=asking.other_names_share)
    if encoder is not None:
        read = SentenceRequests(texts, requests, encoder, num_classes=num_classes, file=file)
        return None, read, read.dim
    tower = ClipTowers(**clip, towers="text", image_tower=False)
    return tower, RequestTexts(texts, requests, tower.tokenize, num_classes=num_classes), tower.dim


def _like(phrases: Phrases, example: Tensor) -> Phrases:
    """`phrases` of the example's device and precision."""
    return Phrases(phrases.vectors.to(example), phrases.lengths, phrases.sentence.to(example))


def _listed(classes: Tensor) -> list[list[int]]:
    return classes.reshape(len(classes), -1).tolist()
