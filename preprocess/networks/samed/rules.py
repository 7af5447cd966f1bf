"""SAMed's decisions: those of every network on SAM, and where its loss looks."""

from collections.abc import Mapping
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import Kind, numbers, takes
from preprocess.rules.sam import sam_rules

PAIR = numbers(2, "two numbers of at least 0, not both 0")


@takes(Kind(what=PAIR.what, fits=lambda value: PAIR.fits(value) and any(value)))
def choose_resolution_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Weights of the loss at full resolution and at that of the decoder's masks, a quarter of it."""
    return Decision(
        value=[1.0, 1.0],
        reason="The loss looks at the masks as they are predicted, at full size, and as SAM's decoder makes them; "
        "SAMed's looks at the latter alone, [0, 1].",
    )


RULES = sam_rules() | {"resolution_weights": choose_resolution_weights}
