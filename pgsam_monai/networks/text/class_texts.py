"""The class texts inside a network: tokenised once, embedded when the text tower has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.sentences import embed_sentences


class ClassTexts(nn.Module):
    """One embedding per class, the mean over the class's descriptions (CLIP's prompt ensembling).

    The tokens are no part of the state dict: a bundle's texts may be edited after training. While no gradient is
    wanted the embeddings are kept until a weight of the text tower changes, so evaluation encodes the texts once.
    """

    title = "PG-SAM"
    """Who complains of the texts."""

    def __init__(
        self, texts: Sequence[Sequence[str]], tokenize: Callable[[Sequence[str]], Tensor], *, num_classes: int
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first.
            tokenize: the text tower's tokenizer, texts → (n, context length).
            num_classes: K.

        Raises:
            ValueError: not K + 1 entries, or a class without text.
        """
        super().__init__()
        check_texts(texts, num_classes, who=self.title)
        self.register_buffer("tokens", tokenize(every_text(texts)), persistent=False)
        self.register_buffer("mean", means_of(texts), persistent=False)  # (K+1, n)
        self._kept: dict[str, tuple[tuple, Any]] = {}
        self.register_load_state_dict_post_hook(lambda texts, _: texts.forget())

    def forward(self, clip: ClipTowers) -> Tensor:
        """Embeddings (K+1, d), each the mean of unit vectors."""
        return self._keep("classes", clip, lambda: self._embed(clip))

    def some(self, clip: ClipTowers, rows: Tensor) -> Tensor:
        """The embeddings (n, d) of some entries (n,), at least one; no other text is encoded, and nothing is kept."""
        mean = self.mean[rows]
        used = mean.any(dim=0)
        return mean[:, used] @ self._unit_vectors(clip, self.tokens[used])

    def forget(self) -> None:
        """Drop what is kept."""
        self._kept.clear()

    def _keep(self, what: str, clip: ClipTowers, encode: Callable[[], Any], of: object = None) -> Any:
        """What `encode` returns, kept under `what` until `of` or a weight of the text tower changes."""
        kept = self._kept.get(what)
        exporting = torch.compiler.is_exporting()  # there the weights have other ids
        if exporting and kept is not None and kept[0][0] == of:
            return kept[1]
        if learns_text(clip):
            return encode()
        state = (of, self.tokens.device, *((id(p), p._version) for p in clip.text_tower.parameters()))
        if kept is None or kept[0] != state:
            with torch.no_grad(), torch.autocast(self.tokens.device.type, enabled=False):
                kept = self._kept[what] = (state, encode())
        return kept[1]

    def _embed(self, clip: ClipTowers) -> Tensor:
        return self.mean @ self._unit_vectors(clip, self.tokens)

    def _unit_vectors(self, clip: ClipTowers, tokens: Tensor) -> Tensor:
        """Unit vectors (n, d)."""
        return F.normalize(clip.encode_text(tokens).to(self.mean.dtype), dim=-1)


class SentenceTexts(nn.Module):
    """As `ClassTexts`, read once by a frozen sentence encoder that is no part of the network."""

    title = ClassTexts.title

    def __init__(
        self, texts: Sequence[Sequence[str]], encoder: str, *, num_classes: int, file: str | None = None
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first.
            encoder: see `sentences.embed_sentences`.
            num_classes: K.
            file: where embeddings are kept.

        Raises:
            UserFault: not K + 1 entries, a class without text, or no such encoder.
        """
        super().__init__()
        check_texts(texts, num_classes, who=self.title)
        embeddings = means_of(texts) @ embed_sentences(every_text(texts), encoder, file=file)
        self.register_buffer("embeddings", embeddings, persistent=False)

    @property
    def dim(self) -> int:
        """Length d of the embeddings."""
        return self.embeddings.shape[1]

    def forward(self, clip: ClipTowers | None) -> Tensor:
        """Embeddings (K+1, d); CLIP has no say in them."""
        return self.embeddings

    def some(self, clip: ClipTowers | None, rows: Tensor) -> Tensor:
        """Those (n, d) of some entries (n,)."""
        return self.embeddings[rows]


def check_texts(texts: Sequence[Sequence[str]], num_classes: int, *, who: str) -> None:
    """Raise UserFault unless `texts` are one description or more of each of the K + 1 classes."""
    if len(texts) != num_classes + 1:
        raise UserFault(
            f"{who}: texts must describe background and {num_classes} classes, so {num_classes + 1} "
            f"entries, got {len(texts)}; correct configs/texts.json or plan again."
        )
    if not all(isinstance(entry, list | tuple) and entry for entry in texts):
        raise UserFault(f"{who}: each entry of texts must be a list of one description or more.")


def every_text(texts: Sequence[Sequence[str]]) -> list[str]:
    """All descriptions, class after class: n of them."""
    return [text for descriptions in texts for text in descriptions]


def means_of(texts: Sequence[Sequence[str]]) -> Tensor:
    """(K+1, n): a class's row takes the mean over its own descriptions among `every_text`."""
    owners = [index for index, descriptions in enumerate(texts) for _ in descriptions]
    mean = F.one_hot(torch.tensor(owners), len(texts)).float().T
    return mean / mean.sum(dim=1, keepdim=True)


def learns_text(clip: ClipTowers) -> bool:
    """Whether what the text tower returns now is to have a gradient."""
    return torch.is_grad_enabled() and any(p.requires_grad for p in clip.text_tower.parameters())
