"""The class texts inside a network: tokenised once, embedded when the text tower has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.networks.text.clip import ClipTowers


class ClassTexts(nn.Module):
    """One embedding per class, the mean over the class's descriptions (CLIP's prompt ensembling).

    The tokens are no part of the state dict: a bundle's texts may be edited after training. While no gradient is
    wanted the embeddings are kept until a weight of the text tower changes, so evaluation encodes the texts once.
    """

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
        if len(texts) != num_classes + 1:
            raise ValueError(
                f"PG-SAM: texts must describe background and {num_classes} classes, so {num_classes + 1} entries, "
                f"got {len(texts)}; correct configs/texts.json or plan again."
            )
        if not all(isinstance(entry, list | tuple) and entry for entry in texts):
            raise ValueError("PG-SAM: each entry of texts must be a list of one description or more.")
        every = [text for descriptions in texts for text in descriptions]
        owners = [index for index, descriptions in enumerate(texts) for _ in descriptions]
        self.register_buffer("tokens", tokenize(every), persistent=False)
        mean = F.one_hot(torch.tensor(owners), num_classes + 1).float().T
        self.register_buffer("mean", mean / mean.sum(dim=1, keepdim=True), persistent=False)  # (K+1, n)
        self._kept: tuple[object, Tensor] | None = None
        self.register_load_state_dict_post_hook(lambda texts, _: texts.forget())

    def forward(self, clip: ClipTowers) -> Tensor:
        """Embeddings (K+1, d), each the mean of unit vectors."""
        if self._kept is not None and torch.compiler.is_exporting():  # there the weights have other ids
            return self._kept[1]
        if torch.is_grad_enabled() and any(p.requires_grad for p in clip.text_tower.parameters()):
            return self._embed(clip)
        state = (self.tokens.device, *((id(p), p._version) for p in clip.text_tower.parameters()))
        if self._kept is None or self._kept[0] != state:
            with torch.no_grad(), torch.autocast(self.tokens.device.type, enabled=False):
                self._kept = (state, self._embed(clip))
        return self._kept[1]

    def forget(self) -> None:
        """Drop what is kept."""
        self._kept = None

    def _embed(self, clip: ClipTowers) -> Tensor:
        return self.mean @ F.normalize(clip.encode_text(self.tokens).float(), dim=-1)
