"""How RefSAM3D answers: all classes at once, or what a text asks for; and what a training step asks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d.cross_attention import CrossModalPrompts
from pgsam_monai.networks.refsam3d.decoder import STAGES
from pgsam_monai.networks.refsam3d.referring import (
    Referred,
    ReferringTraining,
    against_others,
    choose_asked,
    is_drawn,
    target_of,
    with_partners,
)
from pgsam_monai.networks.text.clip import Words
from pgsam_monai.networks.volumes import VolumeNetwork

logger = logging.getLogger(__name__)

CERTAIN = 30.0
"""Logit of what is sure: the rest has 1e-13."""


class Understood(NamedTuple):
    """What a request means."""

    request: str
    classes: Tensor
    """(1, K+1) bool, those that it means, on the CPU"""
    another: bool
    """whether it names a structure that is no class"""


class AnsweringNetwork(VolumeNetwork):
    """From the encoder's stages and what is asked to masks; `RefSAM3D` builds the parts that this calls."""

    num_classes: int
    referring: ReferringTraining | None
    competing_requests: bool
    texts: nn.Module | None
    _understood: Understood | None

    def __init__(self) -> None:
        super().__init__()
        self.request: str | None = None
        """a text; where set, evaluation answers it alone, see `forward`"""
        self.by_meaning = True
        """where requests compete, whether one that means classes is answered by their masks, not by its own, with
        which these classes don't compete"""
        self._understood = None
        self.asking = True
        """whether training asks as `referring` says; a training's first phase doesn't"""

    def embed(self, image: Tensor) -> list[Tensor]:
        """Image (B, C, H, W, D) on the 0..1 scale → the encoder's four stages (B, 256, h, w, d), shallow first."""
        rgb = image if self.channel_mixer is None else self.channel_mixer(image)
        return self.image_encoder.encode((rgb - self.pixel_mean) / self.pixel_std)

    def segment(self, image: Tensor) -> Tensor:
        """As `VolumeNetwork`; where `request` is set, its answer (B, 2, H, W, D), background and asked."""
        if self.request is None:
            return self.everything(self.embed(image), image)[0]
        if not self.competing_requests or self.texts is None:
            return self.refer(self.embed(image), image, self._request_words())[0]
        understood = self._understand()
        if self.by_meaning and understood.another:
            return nothing(image)
        taps, meant = self.embed(image), understood.classes.to(image.device)
        if self.by_meaning and understood.classes.any():
            return against_others(self.everything(taps, image)[0], meant)
        return self.compete(taps, image, self._request_words().sentence, meant)[0][0]

    def learn(
        self, image: Tensor, label: Tensor | None, known: Tensor | None = None
    ) -> Tensor | list[Tensor] | Referred:
        """Logits of all classes (B, K+1, H, W, D); in a share of the steps the answer to a text about one of them.

        With more `supervised_scales` than one, a list of them, the finest first.

        A network that is to answer texts also learns all classes by requests drawn anew for each, in a share of the
        steps: competing, they teach soonest which words tell structures apart.
        """
        taps = self.embed(image)
        can_ask = self.asking and self.texts is not None and label is not None
        user = self.referring if can_ask else None
        if user is None or user.share == 0:
            return _for_loss(self.everything(taps, image))
        asks = is_drawn(user.share)
        sentences = None
        if self.competing_requests or not asks:
            sentences = self.texts.drawn(self.clip) if is_drawn(user.drawn_share) else None
        if not asks:
            return _for_loss(self.everything(taps, image, sentences))
        classes = choose_asked(label, self.num_classes, user.absent_share, known)
        classes = with_partners(classes, self.texts.requests.partners, user.pair_share, known)
        words, target, together = self.texts.asked(self.clip, classes), target_of(label, classes), None
        if self.competing_requests:
            meant = F.one_hot(classes, self.num_classes + 1).any(dim=1)
            answer, together = self.compete(taps, image, words.sentence, meant, sentences)
        else:
            answer = self.refer(taps, image, words)
        return Referred(_for_loss(answer), target, together and _for_loss(together))

    def everything(
        self,
        taps: Sequence[Tensor],
        image: Tensor,
        sentences: Tensor | None = None,
        request: Tensor | None = None,
    ) -> list[Tensor]:
        """All classes at once: the encoder's stages and the volume → float32 logits (B, K+1, H, W, D).

        They are the first of a list; the others, while training, those of coarser scales. `sentences` (K+1, d) stand in
        for those of the class texts. A `request` for each volume, or for all (B or 1, d), has a mask more, the last.
        """
        if self.texts is None:
            queries = self.class_queries.unsqueeze(0)
            return self._decode(taps, image, queries, queries, None)
        said = self.texts(self.clip) if sentences is None else sentences
        compared = self.texts(self.clip) if self.contrast.whitened else said
        asked = self.contrast(said, compared).unsqueeze(0)
        if request is not None:
            further = self.contrast(request, compared).unsqueeze(1)
            asked = torch.cat([asked.expand(len(further), -1, -1), further], dim=1)
        queries = self.projector(asked)  # (1 or B, K+1 or K+2, 256)
        return self._decode(taps, image, asked, queries, self._prompts(taps, queries, None))

    def compete(
        self,
        taps: Sequence[Tensor],
        image: Tensor,
        request: Tensor,
        meant: Tensor,
        sentences: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """A request beside all classes: what `refer` gives, and what `everything` gives.

        Args:
            taps: the encoder's stages.
            image: the volume.
            request: the texts' vectors (B or 1, d).
            meant: (B or 1, K+1) bool, the classes that a request means, with which it doesn't compete.
            sentences: as for `everything`.
        """
        masks = self.everything(taps, image, sentences, request)
        asked = F.pad(torch.zeros_like(meant), (0, 1), value=True)
        answers = [against_others(each, asked, F.pad(meant, (0, 1))) for each in masks]
        return answers, [each[:, :-1] for each in masks]

    def refer(self, taps: Sequence[Tensor], image: Tensor, words: Words) -> list[Tensor]:
        """One structure: texts of B volumes, or one for all → float32 logits (B, 2, H, W, D), background and asked.

        A list, as `everything`'s.

        Raises:
            ValueError: the network was built without texts.
        """
        if self.texts is None:
            raise UserFault(f"{self.title}: this network was built without texts and can't be asked.")
        sentences = self.texts(self.clip)
        background = self.contrast(sentences[:1], sentences).expand(len(words.sentence), -1)
        asked = torch.stack([background, self.contrast(words.sentence, sentences)], dim=1)
        vectors, present = self.projector(self.contrast(words.vectors, sentences)), words.present
        prompts = self._prompts(taps, vectors, present)
        return self._decode(
            taps, image, asked, self.projector(asked), prompts, words=vectors, absent=~present
        )

    def _prompts(
        self, taps: Sequence[Tensor], text: Tensor, present: Tensor | None
    ) -> CrossModalPrompts | None:
        if self.cross_attention is None:
            return None
        batch = taps[-1].shape[0]
        text = text.expand(batch, -1, -1)
        return self.cross_attention(taps, text, None if present is None else present.expand(batch, -1))

    def _decode(
        self,
        taps: Sequence[Tensor],
        image: Tensor,
        asked: Tensor,
        queries: Tensor,
        prompts: CrossModalPrompts | None,
        *,
        words: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> list[Tensor]:
        batch = image.shape[0]
        return self.mask_decoder(
            taps,
            image,
            queries=queries.expand(batch, -1, -1),
            asked=asked,
            dense=self.prompt_encoder.dense(None if prompts is None else prompts.dense),
            grid_encoding=self.prompt_encoder.grid_encoding(taps[-1]),
            aggregated=(None,) * STAGES if prompts is None else prompts.stages,
            words=None if words is None else words.expand(batch, -1, -1),
            absent=None if absent is None else absent.expand(batch, -1),
        )

    def _understand(self) -> Understood:
        """What the request means: found out and said once for all patches."""
        if self._understood is None or self._understood.request != self.request:
            with torch.no_grad():
                meant = self.texts.meant(self.clip, self.request)
            another = self.texts.meaning.names_another(self.request)
            self._understood = Understood(self.request, meant, another)
            classes = [self.texts.requests.names[index] for index in meant[0].nonzero().flatten().tolist()]
            if classes:
                logger.info("«%s» means %s.", self.request, " and ".join(classes))
            elif another and self.by_meaning:
                logger.warning("«%s» names what wasn't learnt: nothing is answered.", self.request)
            else:
                logger.warning(
                    "«%s» means none of the classes that were learnt: don't trust it.", self.request
                )
        return self._understood

    def _request_words(self) -> Words:
        """The request's words, encoded once for all patches."""
        if self.texts is None:
            raise UserFault(f"{self.title}: this network was built without texts and can't be asked.")
        with torch.no_grad():
            return self.texts.free(self.clip, [self.request])


def nothing(image: Tensor) -> Tensor:
    """Logits (B, 2, H, W, D) that find nothing in a volume (B, C, H, W, D); finite, as they are averaged."""
    masks = torch.zeros(len(image), 2, *image.shape[2:], device=image.device)
    masks[:, 0] = CERTAIN
    return masks


def _for_loss(masks: list[Tensor]) -> Tensor | list[Tensor]:
    """One output as it is, for losses that know of no others."""
    return masks if len(masks) > 1 else masks[0]
