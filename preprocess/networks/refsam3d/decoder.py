"""The form of RefSAM3D's decoder: what the paper has, and what was measured to learn sooner."""

from collections.abc import Mapping
from typing import Any

from preprocess.networks.refsam3d.memory import STAGES, WIDTHS
from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence
from preprocess.rules.kind import TRUTH, Kind, choice, is_whole, takes, whole

SUPERVISED_SCALES = 3
MASK_STRIDE = {"cpu": 2, "gpu": 1}
DECODER_WIDTHS = {"cpu": [64, 64, 64, 32], "gpu": list(WIDTHS)}

STRIDE = choice(1, 2, 4)

FOUR_WIDTHS = Kind(
    what="four multiples of 8, of which the first steps have the coarsest maps",
    fits=lambda value: isinstance(value, list) and len(value) == STAGES and all(map(whole(8, 8).fits, value)),
)

SCALES = Kind(what="a whole number from 1 to 4", fits=lambda value: is_whole(value) and 1 <= value <= STAGES)


@takes(TRUTH)
def choose_fine_features(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether the decoder gets convolutional features of the volume itself, beside those of tokens."""
    reason = (
        "A token holds no edge. With a pyramid of convolutions of the volume, and masks at 3 scales, Hippocampus came "
        "to Dice 0.827 in 240 steps of 10 cases, without either to 0.649 (two seeds). The paper has none."
    )
    return Decision(value=True, reason=reason)


@takes(SCALES)
def choose_supervised_scales(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """At how many resolutions training compares masks with labels: the volume's, and those of coarser steps."""
    reason = (
        "Masks of the decoder's two coarser steps count in the loss, too, as in nnU-Net; measured together with the "
        "decision `fine_features`. The paper names none."
    )
    return Decision(value=SUPERVISED_SCALES, reason=reason)


@takes(STRIDE)
def choose_mask_stride(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Voxels along each axis of the cells whose features a mask's voxels are made of, each by weights of its own."""
    value = MASK_STRIDE[decided["target"]]
    if value == 1:
        return Decision(value=value, reason="The paper's: every voxel has features of its own.")
    reason = (
        "On a CPU most of the time would go into maps as fine as the volume; maps of half its sides leave it for more "
        "steps, as without the finest stage of a U-Net."
    )
    return Decision(value=value, reason=reason)


@takes(FOUR_WIDTHS)
def choose_decoder_widths(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Channels after each of the decoder's four steps."""
    value = DECODER_WIDTHS[decided["target"]]
    if value == list(WIDTHS):
        reason = "SAM's upscaling has 64 and 32, and half as many follow; the paper states none."
    else:
        reason = "As coarser maps leave time for: the finest has as many as a U-Net's, which the paper doesn't state."
    return Decision(value=value, reason=reason)


@takes(TRUTH)
def choose_direct_masks(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Whether a mask's weights also come straight from its text, not from SAM's network of queries alone."""
    reason = (
        "What a text asks for is the same in every image, and SAM's network of queries learns slowly: eight organs of "
        "Synapse came to Dice 0.54 in 400 steps with it and to 0.20 without. The paper doesn't say how masks are made."
    )
    return Decision(value=True, reason=reason)


RULES = {
    "fine_features": choose_fine_features,
    "supervised_scales": choose_supervised_scales,
    "mask_stride": choose_mask_stride,
    "decoder_widths": choose_decoder_widths,
    "direct_masks": choose_direct_masks,
}
