"""CLIP: which models there are, and the weights that belong to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import takes, word

CPU_CLIP = "clip_tiny"
GPU_CLIP = "ViT-B-32-quickgelu"
OWN_WEIGHTS = "pretrained"
TEXT_ENCODER = word(
    "minilm, the folder of a sentence-transformers model, or null for CLIP's text tower", or_null=True
)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A vision-language model: its image tower, a ViT on its own input size, and its text tower."""

    image_width: int
    image_depth: int
    image_tokens: int
    text_width: int
    text_depth: int
    text_tokens: int = 77
    parameters_m: float
    """millions of parameters of both towers"""

    weights: str | None
    """tag of its published weights; None where none exist"""

    @property
    def image_parameters_m(self) -> float:
        """Millions of the image tower: 12 width² a layer, which is all but a few hundredths."""
        return 12 * self.image_width**2 * self.image_depth / 1e6


CLIPS = {
    "clip_tiny": Clip(
        image_width=128, image_depth=3, image_tokens=50, text_width=128, text_depth=2, parameters_m=8, weights=None,
    ),
    "ViT-B-32-quickgelu": Clip(
        image_width=768, image_depth=12, image_tokens=50, text_width=512, text_depth=12, parameters_m=151,
        weights="openai",
    ),
    "ViT-B-16-quickgelu": Clip(
        image_width=768, image_depth=12, image_tokens=197, text_width=512, text_depth=12, parameters_m=150,
        weights="openai",
    ),
    "ViT-L-14-quickgelu": Clip(
        image_width=1024, image_depth=24, image_tokens=257, text_width=768, text_depth=12, parameters_m=428,
        weights="openai",
    ),
}  # fmt: skip
UNKNOWN_CLIP = "ViT-B-16-quickgelu"
"""What a model that is not listed is taken for: BiomedCLIP's image tower is of that size."""


@takes(word("a tag such as openai, a file, or null", or_null=True))
def choose_clip_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Tag or file of CLIP's weights, "pretrained" for those of a folder or repository; None for random ones."""
    model = decided["clip_model"]
    if ":" in model:
        return Decision(value=OWN_WEIGHTS, reason="The weights that come with the folder or repository.")
    if model not in CLIPS:
        reason = f"Nothing is known here of {model}: give the tag or file of its weights as clip_weights."
        return Decision(value=None, reason=reason)
    weights = CLIPS[model].weights
    if weights is None:
        return Decision(
            value=None, reason=f"No weights were published for {model}; it starts from random numbers."
        )
    return Decision(value=weights, reason=f"OpenAI's published weights for {model}.")
