"""SAMed's decisions: those of every network on SAM, how deep SAM's decoder is, and where its loss looks."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.starts import STARTS
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, numbers, takes, whole
from preprocess.rules.memory import TRAINED_BYTES, Beside
from preprocess.rules.sam import sam_rules

SAM_LAYERS = 2
LAYER_PARAMETERS_M = 1.58
LAYER_VALUES = 1700
"""Kept per cell of the embedding by a layer of SAM's two-way transformer: 1834 at 14 x 14, 1601 at 32 x 32 cells."""
PAIR = numbers(2, "two numbers of at least 0, not both 0")


@takes(whole(SAM_LAYERS))
def choose_decoder_layers(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Layers of the mask decoder's transformer."""
    reason = (
        "SAM's own. H-SAM's Table 6 has SAMed with 4 and 6, of which SAM's weights fill the first two, as many "
        "weights as a second decoder has."
    )
    return Decision(value=SAM_LAYERS, reason=reason)


def keeps_further_layers(decided: Mapping[str, Any], encoder: Encoder) -> Beside:
    """The layers that SAM's decoder doesn't have."""
    further = decided["decoder_layers"] - SAM_LAYERS
    cells = (decided["image_size"] // encoder.stride) ** 2
    return Beside(
        values=further * LAYER_VALUES * cells, megabytes=further * LAYER_PARAMETERS_M * TRAINED_BYTES
    )


@takes(Kind(what=PAIR.what, fits=lambda value: PAIR.fits(value) and any(value)))
def choose_resolution_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weights of the loss at full resolution and at that of the decoder's masks, a quarter of it."""
    return Decision(
        value=[1.0, 1.0],
        reason="The loss looks at the masks as they are predicted, at full size, and as SAM's decoder makes them; "
        "SAMed's looks at the latter alone, [0, 1].",
    )


RULES = (
    {"decoder_layers": choose_decoder_layers}
    | sam_rules(keeps_further_layers, starts=STARTS["samed"])
    | {"resolution_weights": choose_resolution_weights}
)

LATER = {"decoder_layers": SAM_LAYERS, "resolution_weights": [1.0, 1.0]}
