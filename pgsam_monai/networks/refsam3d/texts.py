"""What RefSAM3D is asked in words: the classes' own sentences, requests for one of them, any other text (Eq. II)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.pgsam.texts import ClassTexts, learns_text
from pgsam_monai.networks.text.clip import ClipTowers
from pgsam_monai.networks.text.words import Words

NAME = "{name}"
TEMPLATES = (
    "perform {name} segmentation",  # the paper's own example, Section 3.3.1
    "{name} segmentation",  # as in its Table 1
    "{name}",
    "segment the {name}",
    "where is the {name}?",
    "show me the {name}",
)
"""Ways to ask for a structure in training; the more they vary, the less the network minds how a user puts it."""


class RequestTexts(ClassTexts):
    """The classes' sentences as in `ClassTexts`, and texts word by word: requests drawn in training, or any text.

    A class can be asked for by each of its descriptions and by each template with its name filled in. Where the text
    tower isn't trained, all requests are encoded once.
    """

    title = "RefSAM3D"

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        names: Sequence[str],
        tokenize: Callable[[Sequence[str]], Tensor],
        *,
        num_classes: int,
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        """
        Args:
            texts: descriptions of each of the K + 1 classes, background first.
            names: their names, background first.
            tokenize: the text tower's tokenizer, texts → (n, context length).
            num_classes: K.
            templates: requests with "{name}" where the class's name goes; nothing else in braces has a meaning.

        Raises:
            ValueError: not K + 1 texts or names, a class without text, no templates, or one without "{name}".
        """
        super().__init__(texts, tokenize, num_classes=num_classes)
        if len(names) != num_classes + 1:
            raise UserFault(
                f"{self.title}: names must be those of background and {num_classes} classes, so {num_classes + 1} "
                f"entries, got {len(names)}; plan again."
            )
        _check_templates(templates, self.title)
        self.num_classes = num_classes
        filled = [template.replace(NAME, name) for name in names[1:] for template in templates]
        self.register_buffer("requests", torch.cat([self.tokens, tokenize(filled)]), persistent=False)
        owners = [index for index, entry in enumerate(texts) for _ in entry]
        owners += [index for index in range(1, num_classes + 1) for _ in templates]
        self._rows = [
            [row for row, owner in enumerate(owners) if owner == index] for index in range(num_classes + 1)
        ]

    def asked(self, clip: ClipTowers, classes: Tensor) -> Words:
        """For each of `classes` (B,), from 1 to K, one of its requests, drawn alike: B texts.

        The draw is from torch's global generator, which a bundle seeds by epoch: a resumed training asks the same.

        Raises:
            ValueError: a class outside 1 to K.
        """
        wanted = classes.tolist()
        if not all(1 <= index <= self.num_classes for index in wanted):
            raise UserFault(
                f"{self.title}: classes that can be asked for are 1 to {self.num_classes}, got {wanted}."
            )
        return self._encoded(
            clip, [rows[torch.randint(len(rows), ())] for rows in (self._rows[index] for index in wanted)]
        )

    def _encoded(self, clip: ClipTowers, rows: Sequence[int]) -> Words:
        """The requests in these rows, with gradients where the text tower is trained."""
        index = self._index(rows)
        return self._drawn_now(clip, index) if learns_text(clip) else self._all(clip).rows(index)

    def _drawn_now(self, clip: ClipTowers, index: Tensor) -> Words:
        return clip.encode_words(self.requests[index])

    def _all(self, clip: ClipTowers) -> Words:
        return self._keep("requests", clip, lambda: clip.encode_words(self.requests))

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows).to(self.requests.device, non_blocking=True)

    def drawn(self, clip: ClipTowers) -> Tensor:
        """As `forward`, but each class by one of its requests, drawn alike: unit vectors (K+1, d).

        The background has no requests and is one of its descriptions.
        """
        index = self._index([several[torch.randint(len(several), ())] for several in self._rows])
        # Words are cut to the longest text, for which a GPU would have to wait; sentences need none.
        sentences = (
            self._drawn_now(clip, index).sentence if learns_text(clip) else self._all(clip).sentence[index]
        )
        return F.normalize(sentences.to(self.mean.dtype), dim=-1)

    def free(self, clip: ClipTowers, texts: Sequence[str]) -> Words:
        """Any texts, word by word; those of the last call are kept as the classes' are."""

        def encode() -> Words:
            return clip.encode_words(clip.tokenize(texts).to(self.tokens.device))

        return self._keep("free", clip, encode, of=tuple(texts))


def _check_templates(templates: Sequence[str], title: str) -> None:
    if isinstance(templates, str) or not templates:
        raise UserFault(f"{title}: templates must be a list of one request or more, got {templates!r}.")
    for template in templates:
        if NAME not in template:
            raise UserFault(
                f"{title}: each template must hold {NAME} where the class's name goes, got '{template}'."
            )
