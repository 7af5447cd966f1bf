"""`pgsam predict`: images through a trained bundle, by its classes, by clicks and boxes, or by a text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit
from pgsam_monai.commands.values import axes_typed, numbers, one_number, window_numbers

UNDERSTANDS_TEXTS = "pgsam_monai.networks.refsam3d.answering"
"""Logs which classes a text means."""
FORMATS = ("same", "dicom-seg")
"""Those of `predicting.products`, which brings torch."""


def predict(
    bundle: str, source: str, output: str, *,
    overlays: bool = False, html: bool = False, guide_maps: bool = False, device: str | None = None,
    clicks: str | None = None, box: object = None, label: str | None = None, propagate: bool | int = False,
    background: str = "empty", window: object = None, text: str | None = None, format: str = "same",
    summary: bool = False, overwrite: bool = False, labels_of: str | None = None, mirror: str | None = None,
    max_gb: object = None, engine: str = "auto", compile: bool = False, case_texts: str | None = None,
) -> None:  # fmt: skip
    """Predict a file, a folder of files or a DICOM series; label maps come on the input's own grid and values.

    --clicks and --box segment what you point at in one image. Voxels (i, j, k) are those of the image file, from 0. A
    click changes its slice and those beside it; with --background everything it corrects what the network found by
    itself, on its slice alone where the bundle's configs/corrections.json says "ask". A box is about its own slices. A
    file of clicks:
        {"labels": {"liver": {"positive": [[210, 160, 88]], "negative": [[240, 180, 88]]},
                    "spleen": {"boxes": [[300, 360, 180, 240, 88, 88]]}}}
    or, with "space": "RAS" or "LPS" in it, in mm. 3D Slicer's .mrk.json is read as it is.

    --text segments what you ask for in words, with a network that reads any text (refsam3d): label maps hold 1 where it
    answers, 0 elsewhere. Texts close to those that it was trained with are answered best.

    With --mirror, the network also answers mirror images of the scan, along one axis twice as long, along three eight
    times. It helps networks that were trained with mirroring (pgsam-plan --override mirror=[...]), hardly others.

    With --summary, summary.json and summary.csv tell of each case its structures' millilitres, pieces and places, which
    weights found them, and what of image and structures lies outside what training saw; runs into the same folder share
    them.

    Of several inputs each is tried; those that fail are listed at the end, and the exit status is 1. Nothing that was
    there before is lost: inputs are never replaced, other files only if pgsam wrote them and nobody changed them since,
    or with --overwrite. Which these are is noted in .pgsam_written beside them.

    Examples:
        pgsam predict bundles/samed_hippocampus scan.nii.gz predictions --overlays
        pgsam predict bundles/medsa_synapse scan.nii.gz predictions --clicks clicks.json
        pgsam predict drawn_tiny mr.nii.gz predictions --clicks clicks.json   # ships with this package
        pgsam predict lite_medsam ct.nii.gz predictions --box 120,210,90,180,88,88 --window=-160,240 --propagate
        pgsam predict bundles/refsam3d_btcv scan.nii.gz predictions --text "perform liver segmentation" --overlays

    Args:
        bundle: a trained bundle's folder; with --clicks or --box also a name of `pgsam weights list`, untrained.
        source: image file, folder, or DICOM series folder. Several channels: nnU-Net's _0000, _0001 endings.
        output: folder of the predictions.
        overlays: also write overlay PNGs.
        html: also write a page to look at beside each prediction, for any browser (see `pgsam view`).
        summary: also write summary.json and summary.csv, which tell of each case what was found and what is unusual.
        guide_maps: also write PNGs of where PG-SAM's prior points, a heat map per class.
        device: cpu or cuda; by default a GPU if there is one.
        clicks: file of clicks and boxes, by class.
        box: i0,i1,j0,j1,k0,k1, voxels at both ends included; a box on every slice that it covers.
        label: the class in --box; needless where there is only one.
        propagate: carry classes on to slices without prompts, to all or, given a number, to so many on each side.
        background: what slices without prompts show, "empty" or "everything".
        window: for a name of weights, low,high: grey values that become black and white; percentiles by default.
        text: what to segment, in words, instead of the bundle's classes.
        case_texts: file of texts of the images, which a network that reads texts of classes (pgsam) takes in place of
            the bundle's; pgsam describe BUNDLE --each case --images INPUT --output FILE writes one from pictures.
        format: same as the input's (NIfTI for DICOM); or dicom-seg, segmentations that refer to a DICOM series' slices.
        overwrite: replace whatever lies where results go, but inputs.
        labels_of: with a bundle of merged data sets, the one whose structures and label values results have.
        mirror: axes along which mirror images are asked as well, and the mean counts: front-back, up-down, left-right
            (never where classes are told by their side), with commas between; auto, those that training mirrored; none.
        engine: torch; openvino or onnxruntime, after pgsam export --form openvino or onnx; auto takes the faster of
            these that was seen to answer as the trained network does, unless there is a GPU. With --clicks and --box
            openvino encodes slices.
        compile: first make code of the network's blocks for this machine (torch.compile), which takes a minute or more
            and needs a C++ compiler; for many scans on a GPU.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
    """
    set_limit(max_gb)
    if format not in FORMATS:
        raise UserFault(f"--format is {' or '.join(FORMATS)}, got {format!r}.")
    options = {
        "overlays": overlays, "html": html, "summary": summary, "device": device, "format": format,
        "overwrite": overwrite,
    }  # fmt: skip
    if clicks is None and box is None:
        shown = background != "empty"
        _check_no_prompts({"label": label, "propagate": propagate, "background": shown, "window": window})
        options |= {
            "guide_maps": guide_maps,
            "text": text,
            "case_texts": case_texts,
            "labels_of": labels_of,
            "mirror": axes_typed(mirror),
            "engine": engine,
            "compile": compile,
        }
    else:
        _check_pointing(guide_maps, text, label, box)
        if case_texts is not None:
            raise UserFault("--case_texts is not for --clicks and --box; leave it out.")
        if compile:
            raise UserFault("--compile is not for --clicks and --box; leave it out.")
        if labels_of is not None:
            raise UserFault("--labels_of is not for --clicks and --box; leave it out.")
        if mirror is not None:
            raise UserFault(
                "--mirror is not for --clicks and --box, which are said of one place; leave it out."
            )
        options["engine"] = engine
        options["wishes"] = _wishes(clicks, box, label, propagate, background, window)
    if text is not None:
        _tell_what_is_understood()
    from pgsam_monai.predicting.each import SomeFailed

    try:
        written = _predict(bundle, source, output, options)
    except SomeFailed as fault:
        _print(fault.done)
        raise
    _print(written)


def _tell_what_is_understood() -> None:
    """Which classes a text means is logged, and here a user should see it."""
    logger = logging.getLogger(UNDERSTANDS_TEXTS)
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())


def _check_pointing(guide_maps: bool, text: str | None, label: object, box: object) -> None:
    if guide_maps:
        raise UserFault("--guide_maps is not for --clicks and --box; leave it out.")
    if text is not None:
        raise UserFault("--text asks in words, --clicks and --box by pointing; give one of them.")
    if label is not None and box is None:
        raise UserFault("--label says what is in --box; a file of clicks names its classes itself.")


def _check_no_prompts(given: dict[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UserFault(f"--{name} belongs to --clicks or --box; give one of them too.")


def _wishes(
    clicks: str | None, box: object, label: Any, propagate: bool | int, background: str, window: object
) -> dict[str, Any]:
    """What `PromptWishes` holds, of what was typed."""
    ends = ("i0", "i1", "j0", "j1", "k0", "k1")
    return {
        "clicks": clicks,
        "box": numbers("box", box, ends, "120,210,90,180,88,88"),
        "label": label,
        "propagate": propagate if isinstance(propagate, bool) else one_number("propagate", propagate),
        "background": background,
        "window": window_numbers(window),
    }


def _predict(bundle: str, source: str, output: str, options: dict[str, Any]) -> list[Path]:
    """By classes, or by prompts if there are `wishes`."""
    if "wishes" not in options:
        from pgsam_monai.predicting.predict import predict as run

        return run(bundle, source, output, **options)
    from pgsam_monai.predicting.prompted import PromptWishes, predict_prompted

    options["wishes"] = PromptWishes(**options["wishes"])
    return predict_prompted(bundle, source, output, **options)


def _print(files: list[Path]) -> None:
    for file in files:
        print(file)
