"""What a decision's value may be: one `Kind` per decision, for wishes and for plans that were edited by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.fingerprint.facts import SLICE_AXES
from preprocess.networks.medsa.rules import PROMPT_KINDS
from preprocess.networks.refsam3d.memory import DEPTH_TOKEN_SIZES, TOKEN_SIZES
from preprocess.rules.encoders import BACKBONES, PATCH
from preprocess.rules.evidence import WORLD_SLICE_AXIS


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a decision's value may be."""

    what: str
    """completes "must be ..." """

    fits: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _int(least: int, multiple: int = 1) -> Kind:
    what = f"a whole number of at least {least}" + (f" and a multiple of {multiple}" if multiple > 1 else "")
    return Kind(what=what, fits=lambda value: _is_int(value) and value >= least and value % multiple == 0)


def _number(least: float, most: float = float("inf"), *, above: bool = False) -> Kind:
    what = f"a number {'above' if above else 'of at least'} {least:g}" + (
        f" and at most {most:g}" if most < 1e9 else ""
    )
    return Kind(
        what=what,
        fits=lambda value: (
            _is_number(value) and (value > least if above else value >= least) and value <= most
        ),
    )


def _choice(*names: Any) -> Kind:
    what = "one of " + ", ".join("null" if name is None else str(name) for name in names)
    return Kind(what=what, fits=lambda value: value in names)


def _numbers(length: int | None, what: str, least: float = 0.0, *, or_null: bool = False) -> Kind:
    def fits(value: Any) -> bool:
        if value is None:
            return or_null
        right_length = isinstance(value, list) and (length is None or len(value) == length)
        return right_length and all(_is_number(item) and item >= least for item in value)

    return Kind(what=what, fits=fits)


def _is_labels(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return False
    entries = [item if isinstance(item, list) else [item] for item in value]
    listed = [number for entry in entries for number in entry]
    if not all(entries) or not all(_is_int(number) and number >= 0 for number in listed):
        return False
    foreground = [entry[0] for entry in entries[1:]]
    return 0 in listed and len(set(listed)) == len(listed) and foreground == sorted(foreground)


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, str) for item in value)
        and len(set(value)) == len(value)
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: Any) -> bool:
    def fits(texts: Any) -> bool:
        several = texts if isinstance(texts, list) else [texts]
        return bool(several) and all(isinstance(text, str) and text.strip() for text in several)

    return isinstance(value, dict) and all(fits(texts) for texts in value.values())


def _is_orientation(value: Any) -> bool:
    if value == "":
        return True
    return (
        isinstance(value, str)
        and len(value) == 3
        and {WORLD_SLICE_AXIS.get(code) for code in value} == set(SLICE_AXES)
    )


def _is_intensity(value: Any) -> bool:
    schemes = {"window": {"low", "high"}, "percentile": {"low", "high"}, "unit8": set(), "none": set()}
    if not isinstance(value, dict) or value.get("scheme") not in schemes:
        return False
    keys = set(value) - {"scheme"}
    return keys == schemes[value["scheme"]] and (not keys or value["low"] < value["high"])


def _is_prompt_kinds(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and set(map(str, value)) <= set(PROMPT_KINDS)


def _is_patch(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_int(PATCH, PATCH).fits, value))


def _is_token_size(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(map(_is_int, value)):
        return False
    rows, columns, slices = value
    return rows == columns and rows in TOKEN_SIZES and slices in DEPTH_TOKEN_SIZES


def _is_topology(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"kernels", "strides", "filters"}:
        return False
    lists = list(value.values())
    whole = all(isinstance(item, list) and all(_is_int(n) and n > 0 for n in item) for item in lists)
    return (
        whole and len({len(item) for item in lists}) == 1 and len(lists[0]) > 2 and value["strides"][0] == 1
    )


def _is_topology_3d(value: Any) -> bool:
    """Stages of three axes each, of odd kernels and strides that these can take."""
    if not isinstance(value, dict) or set(value) != {"kernels", "strides", "filters"}:
        return False
    kernels, strides, filters = (value[name] for name in ("kernels", "strides", "filters"))
    if not all(isinstance(item, list) for item in (kernels, strides, filters)):
        return False
    axes = all(isinstance(stage, list) and len(stage) == 3 for stage in (*kernels, *strides))
    if not axes or len(filters) < 3 or {len(kernels), len(strides)} != {len(filters)}:
        return False
    pairs = list(zip(sum(kernels, []), sum(strides, []), strict=True))
    whole = all(map(_int(1).fits, [*filters, *(number for pair in pairs for number in pair)]))
    taken = whole and all(kernel % 2 and stride <= kernel + 1 for kernel, stride in pairs)
    return taken and strides[0] == [1, 1, 1]


_BOOL = Kind(what="true or false", fits=lambda value: isinstance(value, bool))
_MAPPING = Kind(what="a JSON object", fits=lambda value: isinstance(value, dict))

KINDS: Mapping[str, Kind] = {
    "target": _choice("cpu", "gpu"),
    "memory_gb": _number(0, above=True),
    "labels": Kind(
        what="a rising list of whole numbers that starts with 0, as in [0,1,2], where [2,3] for 2 merges both; another "
        "background than 0 stands first, and 0 then further on",
        fits=_is_labels,
    ),
    "label_names": Kind(what="a list of different names, one per label", fits=_is_names),
    "modality": Kind(what="a word such as CT or MR", fits=lambda value: isinstance(value, str)),
    "slice_axis": _choice("axial", "coronal", "sagittal", "none"),
    "orientation": Kind(what="three axis codes such as PLS, the slice axis last", fits=_is_orientation),
    "spacing": _numbers(3, "three numbers in mm (rows, columns, slices) or null", 1e-6, or_null=True),
    "dimension": _choice("2d", "3d"),
    "patch_3d": _numbers(3, "three whole numbers (rows, columns, slices) or null", 1, or_null=True),
    "intensity": Kind(
        what='a scheme such as {"scheme":"window","low":-125,"high":275}, "percentile", "unit8" or "none"',
        fits=_is_intensity,
    ),
    "class_frequencies": _numbers(None, "a list of shares, one per label", or_null=True),
    "class_weights": _numbers(None, "a list of numbers, one per label"),
    "folds": _int(2),
    "seed": _int(0),
    "postprocessing": _MAPPING,
    "texts": Kind(what='a JSON object of texts by label name, as in {"liver":"…"}', fits=_is_texts),
    "image_size": _int(PATCH, PATCH),
    "fit": _choice("pad", "stretch"),
    "backbone": _choice(*BACKBONES),
    "weights": Kind(what="a name such as sam_vit_b, or null", fits=lambda v: v is None or _is_word(v)),
    "encoder_training": _choice("lora", "adapters", "full", "frozen"),
    "clip_model": Kind(
        what="clip_tiny, a model of open_clip such as ViT-B-32-quickgelu, hf-hub:org/name or local-dir:/folder",
        fits=_is_word,
    ),
    "clip_weights": Kind(
        what="a tag such as openai, a file, or null", fits=lambda v: v is None or _is_word(v)
    ),
    "clip_training": _choice("lora", "full", "frozen"),
    "clip_towers": _choice("both", "text", "image"),
    "refinement_steps": _int(1),
    "topology": Kind(
        what='equally long lists of whole numbers {"kernels":[3,…],"strides":[1,2,…],"filters":[32,…]} of 3 stages or '
        "more, the first stride 1",
        fits=_is_topology,
    ),
    "topology_3d": Kind(
        what='equally long lists {"kernels":[[3,3,1],…],"strides":[[1,1,1],[2,2,1],…],"filters":[32,…]} of 3 stages or '
        "more (rows, columns, slices), kernels odd, the first strides 1, no stride above its kernel by more than 1",
        fits=_is_topology_3d,
    ),
    "stage_schedule": _choice("paper", "released"),
    "stage_epochs": _int(1),
    "noise_std": _number(0),
    "ensemble": _choice("mean", "second"),
    "stack_depth": _int(1),
    "scale": _number(0, above=True),
    "hyper_prompt": _choice("hyper", "add", "concat", "none"),
    "depth_fusion": _choice("add", "concat", "cross", "gated", "none"),
    "prompt_kinds": Kind(what='a list of some of "point", "points" and "box"', fits=_is_prompt_kinds),
    "prompted_classes": _int(1),
    "further_clicks": _int(0),
    "prompt_encoder_training": _BOOL,
    "prompted_share": _number(0, 1),
    "patch": Kind(what=f"three multiples of {PATCH} voxels (rows, columns, slices)", fits=_is_patch),
    "token_size": Kind(
        what="voxels per token [p, p, d], p one of 4, 8, 16 and d one of 1, 2, 4, 8, 16", fits=_is_token_size
    ),
    "window": _int(1),
    "checkpointing": _BOOL,
    "overlap": Kind(
        what="a number of at least 0 and below 1", fits=lambda value: _is_number(value) and 0 <= value < 1
    ),
    "referring_share": _number(0, 1),
    "rank": _int(1),
    "pixel_mean": _numbers(3, "three numbers"),
    "pixel_std": _numbers(3, "three numbers above 0", 1e-6),
    "batch_size": _int(1),
    "iterations_per_epoch": _int(1),
    "epochs": _int(1),
    "learning_rate": _number(0, above=True),
    "weight_decay": _number(0),
    "warmup_iterations": _int(0),
    "poly_power": _number(0),
    "schedule_epochs": _int(1),
    "val_interval": _int(1),
    "ce_weight": _number(0),
    "dice_weight": _number(0),
    "num_workers": _int(0),
    "foreground_share": _number(0, 1),
    "augmentation": _choice("default", "papers", "hsam", "none"),
    "model_selection": _choice("best", "last"),
    "protocol": _choice("mm", "synapse"),
    "inference_batch_size": _int(1),
}
