"""A CLIP model's own tokenizer, which says when it cuts a text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import Tensor

from pgsam_monai.base.errors import UserFault

logger = logging.getLogger(__name__)


class Tokenizer:
    """Texts to tokens at a fixed length, by one of open_clip's tokenizers."""

    def __init__(self, encode: Callable[..., Tensor], context_length: int) -> None:
        """`encode`: an open_clip tokenizer; `context_length`: the tokens that the text tower reads."""
        self.encode = encode
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Texts → int64 (n, context_length), cut or padded; one warning names every text that was cut.

        Raises:
            ValueError: no texts, or not a list of strings.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise UserFault(f"CLIP's texts must be a list of at least one string, got {texts!r}.")
        cut = [(text, count) for text in texts if (count := self.count(text)) > self.context_length]
        if cut:
            named = "; ".join(f"'{text}' ({count} tokens)" for text, count in cut)
            logger.warning("CLIP reads %d tokens; cut: %s. Shorten the text.", self.context_length, named)
        return self.encode(list(texts), context_length=self.context_length).long()

    def present(self, tokens: Tensor) -> Tensor:
        """Tokens (n, context_length) → bool, True at words and at the end of the text, which comes last."""
        start, end, padding = _marks(self.encode)
        ends = tokens == end
        behind = ends.long().cumsum(dim=1) - ends.long() > 0
        # Some vocabularies pad with their end-of-text token, and CLIP's with the number of its word "!".
        return ~behind & (tokens != start) & (ends | (tokens != padding))

    def count(self, text: str) -> int:
        """Tokens of `text` before any cut, start and end included."""
        inner = getattr(self.encode, "tokenizer", None)
        if inner is None:
            return len(self.encode.encode(text)) + 2
        return len(inner(text, verbose=False).input_ids)

    def __deepcopy__(self, memo: dict) -> Tokenizer:
        """Itself: nothing in it changes, and a vocabulary is slow to copy."""
        return self


def _marks(encode: Callable[..., Tensor]) -> tuple[int, int, int]:
    """Numbers of the start, the end and the padding token of one of open_clip's tokenizers; -1 for none."""
    inner = getattr(encode, "tokenizer", None)
    if inner is None:
        return encode.sot_token_id, encode.eot_token_id, -1
    start = inner.bos_token_id if inner.cls_token_id is None else inner.cls_token_id
    end = inner.sep_token_id if inner.eos_token_id is None else inner.eos_token_id
    return tuple(-1 if mark is None else mark for mark in (start, end, inner.pad_token_id))
