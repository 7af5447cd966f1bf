"""`pgsam predict`: images through a trained bundle, by its classes, by clicks and boxes, or by a text."""

from __future__ import annotations

from pathlib import Path

from pgsam_monai.cli_values import asked_text, box_numbers, propagation, typed_text, window_numbers


def predict(
    bundle: str,
    source: str,
    output: str,
    overlays: bool = False,
    guide_maps: bool = False,
    device: str | None = None,
    clicks: str | None = None,
    box: object = None,
    label: str | int | None = None,
    propagate: bool | int = False,
    background: str = "empty",
    window: object = None,
    text: object = None,
) -> None:
    """Predict a file, a folder of files or a DICOM series; label maps come on the input's own grid and values.

    --clicks and --box segment what you point at in one image instead, with a network that takes prompts (medsa). Voxels
    (i, j, k) are those of the image file, counted from 0. Slices without a prompt stay empty, unless --propagate
    carries the structure on from slice to slice, or --background everything shows what the network finds by itself.

    A file of clicks:
        {"labels": {"liver": {"positive": [[210, 160, 88]], "negative": [[240, 180, 88]]},
                    "spleen": {"boxes": [[300, 360, 180, 240, 88, 88]]}}}
    Voxels are meant unless it also says "space": "RAS" or "LPS" (mm). 3D Slicer's .mrk.json is read as it is.

    --text segments what you ask for in words, with a network that reads any text (refsam3d): label maps hold 1 where it
    answers, 0 elsewhere. Texts close to those that it was trained with are answered best.

    Examples:
        pgsam predict bundles/samed_hippocampus scan.nii.gz predictions --overlays
        pgsam predict bundles/pgsam_synapse scans predictions --guide_maps
        pgsam predict bundles/medsa_synapse scan.nii.gz predictions --clicks clicks.json
        pgsam predict bundles/medsa_synapse scan.nii.gz predictions --box 120,210,90,180,88,88 --label liver --propagate
        pgsam predict lite_medsam ct.nii.gz predictions --box 120,210,90,180,88,88 --window=-160,240 --propagate
        pgsam predict bundles/refsam3d_btcv scan.nii.gz predictions --text "perform liver segmentation" --overlays

    Args:
        bundle: a trained bundle's folder; with --clicks or --box also a name of `pgsam weights list`, untrained.
        source: image file, folder, or DICOM series folder. Several channels: nnU-Net's _0000, _0001 endings.
        output: folder of the predictions.
        overlays: also write overlay PNGs.
        guide_maps: also write PNGs of where PG-SAM's prior points, a heat map per class.
        device: cpu or cuda; by default a GPU if there is one.
        clicks: file of clicks and boxes, by class.
        box: i0,i1,j0,j1,k0,k1, voxels at both ends included; a box on every slice that it covers.
        label: the class in --box; needless where there is only one.
        propagate: carry classes on to slices without prompts, to all or, given a number, to so many on each side.
        background: what slices without prompts show, "empty" or "everything".
        window: for a name of weights, low,high: grey values that become black and white; percentiles by default.
        text: what to segment, in words, instead of the bundle's classes.
    """
    asked = asked_text(text)
    if clicks is not None or box is not None:
        if guide_maps:
            raise ValueError("--guide_maps is not for --clicks and --box; leave it out.")
        if asked is not None:
            raise ValueError("--text asks in words, --clicks and --box by pointing; give one of them.")
        wishes = {
            "clicks": typed_text(clicks), "box": box_numbers(box), "label": label, "propagate": propagation(propagate),
            "background": background, "window": window_numbers(window),
        }  # fmt: skip
        written = _predict_prompted(bundle, source, output, wishes, overlays=overlays, device=device)
    else:
        from pgsam_monai.predict import predict as run

        shown = background != "empty"
        given = {"label": label, "propagate": propagate, "background": shown, "window": window}
        for name in (name for name, value in given.items() if value):
            raise ValueError(f"--{name} belongs to --clicks or --box; give one of them too.")
        wishes = {"overlays": overlays, "guide_maps": guide_maps, "device": device, "text": asked}
        written = run(bundle, source, output, **wishes)
    for path in written:
        print(path)


def _predict_prompted(
    bundle: str, source: str, output: str, wishes: dict, *, overlays: bool, device: str | None
) -> list[Path]:
    from pgsam_monai.interactive.predict import PromptWishes, predict_prompted

    if wishes["label"] is not None and wishes["box"] is None:
        raise ValueError("--label says what is in --box; a file of clicks names its classes itself.")
    return predict_prompted(
        str(bundle), source, output, wishes=PromptWishes(**wishes), overlays=overlays, device=device
    )
