"""CLIP's two towers (Radford et al., 2021), of any model that open_clip knows, ready to be adapted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import QUICK_GELU
from pgsam_monai.networks.text.attention import split_attentions
from pgsam_monai.networks.text.clip_lora import adapt_tower
from pgsam_monai.networks.text.clip_models import build_clip, find_clip_model, load_tokenizer
from pgsam_monai.networks.text.clip_weights import (
    cache_folder,
    load_clip_weights,
    published_tag,
    wants_quick_gelu,
)
from pgsam_monai.networks.text.patches import split_patches
from pgsam_monai.networks.text.resize import resize_bicubic
from pgsam_monai.networks.text.words import Words, project_words, trim

logger = logging.getLogger(__name__)

CLIP_TRAINING = ("lora", "full", "frozen")
CLIP_TOWERS = {"both": ("image", "text"), "text": ("text",), "image": ("image",)}


class ClipTowers(nn.Module):
    """An image tower and a text tower that write to one space.

    CLIP's temperature and bias are not part of it: nothing here would train them. Towers that aren't trained
    stay in evaluation mode, whatever the network around them is set to.
    """

    def __init__(
        self,
        *,
        model: str,
        weights: str | None,
        weights_dir: str | None = None,
        training: str = "lora",
        towers: str = "both",
        rank: int = 4,
        image_tower: bool = True,
        text_tower: bool = True,
    ) -> None:
        """
        Args:
            model: a name in `open_clip.list_models()`; "clip_tiny", ours, for CPUs and tests; a folder with
                an open_clip_config.json as "local-dir:FOLDER"; or "hf-hub:ORGANISATION/NAME". OpenAI's and some
                other weights want the names that end in "-quickgelu", such as "ViT-B-32-quickgelu".
                BiomedCLIP offline: "local-dir:" and a folder with its repository's files and the config.json
                of its text tower (microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract).
            weights: None for random ones; a file with open_clip's state dict, or OpenAI's own archive; "openai" or a
                name such as "clip_vit_b_32" (`pgsam weights list`), or another tag such as "laion2b_s34b_b79k", each
                downloaded once; "pretrained" for the weights that come with a "local-dir:" or "hf-hub:" model.
            weights_dir: where weights are kept, and in its folder "cache" what open_clip downloads; None for the
                default folder.
            training: "lora" trains updates of rank `rank` to the attention's queries and values, "full" all of
                a tower, "frozen" nothing.
            towers: what `training` applies to: "both", "text" or "image"; the other tower is frozen.
            rank: LoRA's rank.
            image_tower: False to keep the text tower only, for networks that show CLIP no images; `towers` is
                "text" then.
            text_tower: False to keep the image tower only, for networks whose texts another model reads; `towers` is
                "image" then.

        Raises:
            ValueError: an argument is outside its range, or LoRA finds nothing to adapt in a tower.
            UserFault: the weights, or files that the model needs, are neither here nor obtainable, or are
                another model's.
        """
        super().__init__()
        _check_arguments(training, towers, image_tower=image_tower, text_tower=text_tower)
        cache = cache_folder(weights_dir)
        found = find_clip_model(model, tag=published_tag(model, weights), cache=cache)
        self.tokenizer = load_tokenizer(found, cache=cache) if text_tower else None
        self.quick_gelu = bool(found.config.get("quick_gelu")) or _switches_activation(model, weights)
        network = build_clip(found, quick_gelu=self.quick_gelu)
        load_clip_weights(network, found, weights, cache=cache)
        self.dim = int(found.config["embed_dim"])
        self.image_tower = network.visual if image_tower else None
        self.text_tower = network.text if text_tower else None
        if text_tower:
            self.text_tower.output_tokens = True  # beside the pooled vectors, see encode_words
        if image_tower:
            self.image_size: tuple[int, int] = _pair(network.visual.image_size)
            self.register_buffer("pixel_mean", torch.tensor(found.pixel_mean).reshape(3, 1, 1))
            self.register_buffer("pixel_std", torch.tensor(found.pixel_std).reshape(3, 1, 1))
        split_attentions(self)
        self.trained = () if training == "frozen" else CLIP_TOWERS[towers]
        self._choose_trained_parts(training, rank, model)

    def _choose_trained_parts(self, training: str, rank: int, model: str) -> None:
        self.requires_grad_(False)
        for name in self.trained:
            tower = self.get_submodule(f"{name}_tower")
            if training == "full":
                tower.requires_grad_(True)
            else:
                example = self.tokenizer(["a"]) if name == "text" else torch.zeros(1, 3, *self.image_size)
                adapt_tower(tower, rank=rank, example=example, who=f"The {name} tower of '{model}'")

    @property
    def context_length(self) -> int:
        """Tokens that the text tower reads, start and end included."""
        return self.tokenizer.context_length

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts → int64 tokens (n, context_length); a longer text is cut and named in a warning."""
        return self.tokenizer(texts)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens (n, context_length) → vectors (n, dim), not normalised.

        Raises:
            UserFault: there is no text tower.
        """
        if self.text_tower is None:
            raise UserFault("CLIP: there is no text tower; build ClipTowers with text_tower=True.")
        return _pooled(self.text_tower(tokens))

    def encode_words(self, tokens: Tensor) -> Words:
        """Tokens (n, context_length) → each word's vector (n, L, dim) in the same space, and `encode_text`'s.

        L is the length of the longest text, L <= context_length. open_clip projects the pooled vector only; the same
        projection is applied to each word.
        """
        pooled, vectors = self.text_tower(tokens)
        present = self.tokenizer.present(tokens)
        present = present[:, -vectors.shape[1] :]  # some towers leave out the start token
        return trim(project_words(self.text_tower, vectors), present, pooled)

    def encode_image(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) on the 0..1 scale, of any size → vectors (B, dim), not normalised.

        The image is resized (bicubic, antialiased, without keeping the aspect ratio) to the model's own size
        and normalised with the model's own mean and standard deviation.

        Raises:
            ValueError: there is no image tower.
        """
        return _pooled(self._image_tower()(self._pixels(image)))

    def encode_patches(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """As `encode_image`, and each patch's vector (B, dim, rows, columns) in the same space.

        CLIP's own projection, which it applies to the pooled vector only, takes the last layer's patches there.

        Raises:
            UserFault: there is no image tower, or it isn't a vision transformer.
        """
        return split_patches(self._image_tower(), self._pixels(image))

    def _image_tower(self) -> nn.Module:
        if self.image_tower is None:
            raise UserFault("CLIP: there is no image tower; build ClipTowers with image_tower=True.")
        return self.image_tower

    def _pixels(self, image: Tensor) -> Tensor:
        """The image at the model's own size and statistics."""
        return (resize_bicubic(image, self.image_size) - self.pixel_mean) / self.pixel_std

    def train(self, mode: bool = True) -> ClipTowers:
        """As usual, but frozen towers stay in evaluation mode."""
        super().train(mode)
        for name, tower in (("image", self.image_tower), ("text", self.text_tower)):
            if tower is not None and name not in self.trained:
                tower.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """Which GELU the towers use, which no weight shows."""
        return torch.tensor(self.quick_gelu, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Use the checkpoint's GELU: weights chosen by tag may have changed it when it was trained."""
        wanted = bool(state.item())
        if wanted != self.quick_gelu:
            _set_activation(self, quick=wanted)
            self.quick_gelu = wanted


def _check_arguments(training: str, towers: str, *, image_tower: bool, text_tower: bool) -> None:
    if training not in CLIP_TRAINING:
        raise UserFault(f"clip_training must be one of {CLIP_TRAINING}, got '{training}'.")
    if towers not in CLIP_TOWERS:
        raise UserFault(f"clip_towers must be one of {tuple(CLIP_TOWERS)}, got '{towers}'.")
    if not image_tower and towers != "text":
        raise UserFault(f"clip_towers must be 'text' where there is no image tower, got '{towers}'.")
    if not text_tower and towers != "image":
        raise UserFault(f"clip_towers must be 'image' where there is no text tower, got '{towers}'.")


def _switches_activation(model: str, weights: str | None) -> bool:
    """Whether the weights ask for OpenAI's GELU, and the model's name doesn't; says so."""
    switches = not model.endswith(QUICK_GELU) and wants_quick_gelu(model, weights)
    if switches:
        logger.info("CLIP: '%s' of %s uses OpenAI's GELU, as %s-quickgelu does.", weights, model, model)
    return switches


def _set_activation(towers: nn.Module, *, quick: bool) -> None:
    """Exchange the GELU in every block of open_clip's own transformers, in place."""
    from open_clip.transformer import QuickGELU

    for parent in towers.modules():
        if isinstance(getattr(parent, "gelu", None), nn.GELU | QuickGELU):
            parent.gelu = QuickGELU() if quick else nn.GELU()


def _pooled(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled vectors (n, dim): some models' towers return their tokens beside them."""
    return output[0] if isinstance(output, tuple) else output


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
