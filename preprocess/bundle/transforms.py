"""The transform lists of a bundle, as config data: deterministic preprocessing, its inverse, and augmentation.

Preprocessing stands word for word in train.json and inference.json, so a case has the same voxels both ways.
There is no resampling to a spacing here: 2-D networks resize each slice once, straight to the network's size, and
networks of sub-volumes resample each patch once, so that all of them share a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.capabilities import SLICES
from pgsam_monai.base.labels import class_of
from pgsam_monai.base.mirroring import mirrored_axes

BOTH = ["image", "label"]
SAMED_SHARES = (0.5, 0.25, 0.25)
"""Of slices that are turned and flipped, rotated, or left alone."""
HSAM_SHARES = (0.45, 0.4125, 0.1169, 0.0206)
"""Of slices that are rotated, cropped, deformed, or left alone."""


def preprocessing_transforms(values: Mapping[str, Any]) -> dict[str, Any]:
    """Load channel first, planned orientation, intensities to 0..1, labels to 0..K, compact types.

    "ignore" among the values is that of voxels in the label files that nobody labelled.
    """
    transforms = [_both("pgsam_monai.transforms.ReadCased")]
    if values["orientation"]:
        transforms.append(_both("Orientationd", axcodes=values["orientation"], labels=None))
    transforms += _intensity(values["intensity"])
    transforms.append(
        {
            "_target_": "pgsam_monai.transforms.MapLabelsd",
            "keys": "label",
            "labels": "@labels",
            "allow_missing_keys": True,
        }
        | ({} if values.get("ignore") is None else {"ignore": values["ignore"]})
    )
    transforms.append({"_target_": "CastToTyped", "keys": "image", "dtype": "float16"})
    return {"_target_": "Compose", "transforms": transforms}


def cleaning_transform(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is done to a label map of class indices (1, rows, columns, slices), in validation as well: what
    postprocessing.json says, or the plan while there is none."""
    largest = values["postprocessing"].get("largest_component", [])
    kept = [label for label in largest if class_of(values["labels"], label)]
    return {
        "_target_": "pgsam_monai.transforms.CleanClassesd", "keys": "pred", "labels": "@labels", "largest": kept,
        "file": "@postprocessing_file", "enabled": "@clean_predictions",
    }  # fmt: skip


def postprocessing_transforms(values: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A cleaned label map goes back to the input's own grid and values, and to disk in `folder`."""
    return {"_target_": "Compose", "transforms": [cleaning_transform(values), *_to_files("pred", folder)]}


def evaluation_postprocessing(values: Mapping[str, Any], names: Any) -> dict[str, Any]:
    """As `postprocessing_transforms`, of what is measured; of slices the papers' label map, where there is one, goes to
    disk as well, and is cleaned by nothing, as theirs. `names` of all classes, as data."""
    first, cleaning, folder = confidence_transform(names), cleaning_transform(values), "@prediction_dir"
    if "image_size" not in values:
        steps = [first, cleaning, *_to_files("pred", folder)]
    else:
        split = {"_target_": "pgsam_monai.transforms.SplitPapersd", "keys": "pred", "papers": "papers"}
        *back, save = _to_files(["pred", "papers"], folder)
        back = [each | {"allow_missing_keys": True} for each in back]
        theirs = {"keys": "papers", "output_dir": f"${folder} + '_papers'", "allow_missing_keys": True}
        steps = [first, split, cleaning, *back, save | {"keys": "pred"}, save | theirs]
    return {"_target_": "Compose", "transforms": steps}


def _to_files(keys: str | list[str], folder: str) -> list[dict[str, Any]]:
    """From class indices to label maps as the input's."""
    invert = {
        "_target_": "Invertd", "keys": keys, "orig_keys": "image", "transform": "@preprocessing",
        "nearest_interp": True, "to_tensor": True,
    }  # fmt: skip
    restore = {"_target_": "pgsam_monai.transforms.RestoreLabelsd", "keys": keys, "labels": "@labels"}
    save = {"_target_": "pgsam_monai.transforms.SavePredictiond", "keys": keys, "output_dir": folder}
    return [invert, restore, save]


def confidence_transform(names: Any) -> dict[str, Any]:
    """How sure the network is of each measured case is kept beside its prediction; `names` of all classes, as data."""
    return {
        "_target_": "pgsam_monai.evaluation.soft_dice.KeepSoftDiced", "keys": "pred", "folder": "@evaluation_dir",
        "names": names,
    }  # fmt: skip


def augmentation_transforms(name: str, image_size: int) -> dict[str, Any]:
    """Random transforms of one fitted slice (C, H, W); labels are never interpolated.

    `papers` is SAMed's choice of one: a quarter turn, or none, with a flip for half of the slices, rotation by -20 to
    19 degrees for a quarter, or nothing.
    `hsam` is H-SAM's choice of one: rotation by -20 to 19 degrees, a square window enlarged, an elastic deformation
    (here by MONAI's control points, of like size and coarseness), or nothing. Both rotate to the nearest pixel, images
    too, as published.
    `default` keeps left and right apart (no flips): rotation, scale, shift, brightness, contrast, gamma, noise.

    Args:
        name: one of these, or `none`.
        image_size: side of the slices, pixels, of which `hsam` has shares.
    """
    lists = {
        "papers": [{"_target_": "OneOf", "transforms": _samed_choices(), "weights": list(SAMED_SHARES)}],
        "hsam": [{"_target_": "OneOf", "transforms": _hsam_choices(image_size), "weights": list(HSAM_SHARES)}],
        "default": [
            {
                "_target_": "pgsam_monai.transforms.RandAffineSliced", "keys": BOTH, "prob": 0.8,
                "rotate": 20.0, "scale": [0.8, 1.25], "shift": 0.08,
            },
            {"_target_": "pgsam_monai.transforms.RandIntensitySliced", "keys": "image", "prob": 0.3},
        ],
        "none": [],
    }  # fmt: skip
    return {"_target_": "Compose", "transforms": lists[name]}


def with_mirroring(
    augmentation: dict[str, Any], values: Mapping[str, Any], *, seen: str, sided: bool
) -> dict[str, Any]:
    """An augmentation that first mirrors half of the samples along each of the planned axes, image and label alike.

    Args:
        augmentation: a Compose.
        values: the plan's.
        seen: SLICES, which are mirrored in plane alone, or PATCHES.
        sided: classes are told by their side.
    """
    axes = mirrored_axes(values["mirror"], values["orientation"], sided=sided)
    flips = [
        {"_target_": "RandFlipd", "keys": BOTH, "prob": 0.5, "spatial_axis": axis}
        for axis in axes
        if axis < 2 or seen != SLICES
    ]
    return augmentation | {"transforms": flips + augmentation["transforms"]}


def mirrored_inferer(values: Mapping[str, Any], sided: bool) -> dict[str, Any]:
    """The inferer that also asks for mirror images, along the axes that the config's entry `mirror` names."""
    return {
        "_target_": "pgsam_monai.inference.mirroring.mirrored", "inferer": "@inferer", "mirror": "@mirror",
        "orientation": values["orientation"], "sided": sided,
    }  # fmt: skip


def _samed_choices() -> list[dict[str, Any]]:
    """What `SAMED_SHARES` counts; of the turns, none is one of four."""
    turned = [
        {"_target_": "RandRotate90d", "keys": BOTH, "prob": 0.75, "max_k": 3},
        {"_target_": "RandAxisFlipd", "keys": BOTH, "prob": 1.0},
    ]
    return [
        {"_target_": "Compose", "transforms": turned},
        _rotation(),
        {"_target_": "Identityd", "keys": BOTH},
    ]


def _hsam_choices(image_size: int) -> list[dict[str, Any]]:
    """What `HSAM_SHARES` counts; lengths of the elastic one in pixels of the network's input."""
    return [
        _rotation(),
        {"_target_": "pgsam_monai.transforms.RandCropSliced", "keys": BOTH, "side": [0.2, 0.8]},
        {
            "_target_": "Rand2DElasticd", "keys": BOTH, "prob": 1.0, "spacing": [0.16 * image_size] * 2,
            "magnitude_range": [0.018 * image_size] * 2, "rotate_range": 0.12, "shear_range": [0.12, 0.12],
            "scale_range": [0.12, 0.12], "translate_range": [0.05 * image_size] * 2, "mode": ["bilinear", "nearest"],
            "padding_mode": "zeros",
        },
        {"_target_": "Identityd", "keys": BOTH},
    ]  # fmt: skip


def _rotation() -> dict[str, Any]:
    """By -20 to 19 degrees about the middle."""
    return {
        "_target_": "RandRotated", "keys": BOTH, "prob": 1.0, "range_x": [-0.349, 0.332], "mode": "nearest",
        "padding_mode": "zeros",
    }  # fmt: skip


def _intensity(scheme: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The planned scheme as transforms: a fixed window, 8-bit pictures, per-image percentiles, or nothing."""
    window = {"window": (scheme.get("low"), scheme.get("high")), "unit8": (0, 255)}.get(scheme["scheme"])
    if window:
        target, limits = (
            "ScaleIntensityRanged",
            {"a_min": window[0], "a_max": window[1], "b_min": 0.0, "b_max": 1.0},
        )
        return [{"_target_": target, "keys": "image", **limits, "clip": True}]
    if scheme["scheme"] == "percentile":
        target = "pgsam_monai.transforms.ScalePercentilesd"
        return [{"_target_": target, "keys": "image", "low": scheme["low"], "high": scheme["high"]}]
    return []


def _both(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": BOTH, "allow_missing_keys": True, **arguments}
