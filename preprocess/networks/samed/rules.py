"""SAMed's decisions: those of every network on SAM, and how deep SAM's decoder is."""

from collections.abc import Mapping
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.encoders import Encoder
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import takes, whole
from preprocess.rules.memory import TRAINED_BYTES, Beside
from preprocess.rules.sam import sam_rules

SAM_LAYERS = 2
LAYER_PARAMETERS_M = 1.58
LAYER_VALUES = 1700
"""Kept per cell of the embedding by a layer of SAM's two-way transformer: 1834 at 14 x 14, 1601 at 32 x 32 cells."""


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


RULES = {"decoder_layers": choose_decoder_layers} | sam_rules(keeps_further_layers)

LATER = {"decoder_layers": SAM_LAYERS}
