"""AutoSAM's own decisions: a convolutional head behind SAM's frozen encoder."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.starts import STARTS
from preprocess.rules import training
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.sam import frozen_rules

HEAD_LEARNING_RATE = 0.001


def choose_learning_rate(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Peak learning rate of AdamW of the head."""
    if decided["encoder_training"] != "frozen":
        return training.choose_learning_rate(evidence, decided)
    reason = (
        f"AdamW's own default, for a convolutional head from random weights; SAMed's "
        f"{training.SAMED_LEARNING_RATE} is for SAM's own decoder and low-rank updates."
    )
    return Decision(value=HEAD_LEARNING_RATE, reason=reason)


RULES = frozen_rules(starts=STARTS["autosam"]) | {"learning_rate": choose_learning_rate}
