"""Predict images with a bundle: a file, a folder of files, a DICOM series or a folder of series."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.bundle import ASKED, Bundle

IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, ".dcm", *PICTURE_SUFFIXES)
CHANNEL_FILE = re.compile(r"_(\d{4})$")


def list_inputs(source: str | Path, *, channels: int = 1) -> list[dict]:
    """Cases of a file or folder, in natural order: [{"name", "image": path or one path per channel}].

    A folder of DICOM files is one case; so is each sub-folder of DICOM files. For several channels, files that
    differ only by nnU-Net's `_0000` endings make one case.

    Raises:
        FileNotFoundError: nothing there, or no image in it.
        ValueError: a case has not as many channel files as the bundle takes.
    """
    source = Path(source)
    if not source.exists():
        raise MissingFile(f"Input '{source}' does not exist; give an image file, a folder or a DICOM series.")
    if source.is_file() or is_dicom_series(source):
        return [{"name": stem(source), "image": str(source)}]
    files = sorted(path for path in source.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES))
    series = sorted(folder for folder in source.iterdir() if folder.is_dir() and is_dicom_series(folder))
    if not files and not series:
        raise MissingFile(
            f"Folder '{source}' holds neither images ({', '.join(IMAGE_SUFFIXES)}) nor DICOM series."
        )
    return _group_channels(files, channels) + [
        {"name": folder.name, "image": str(folder)} for folder in series
    ]


def is_dicom_series(folder: Path) -> bool:
    """True when the folder's first image carries DICOM's magic word."""
    if not folder.is_dir():
        return False
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != "."):
        if is_dicom_file(path):
            return True
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            return False
    return False


def stem(path: Path) -> str:
    """File name without its image suffix, `.nii.gz` counting as one."""
    return path.name[: len(path.name) - len(file_suffix(path))] if path.suffix else path.name


def _group_channels(files: Sequence[Path], channels: int) -> list[dict]:
    if channels == 1 or not all(CHANNEL_FILE.search(stem(path)) for path in files):
        return [{"name": stem(path), "image": str(path)} for path in files]
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(CHANNEL_FILE.sub("", stem(path)), []).append(str(path))
    for name, paths in groups.items():
        if len(paths) != channels:
            raise UserFault(
                f"Case '{name}': the bundle takes {channels} channels, got {len(paths)} files; "
                f"give {name}_0000 … {name}_{channels - 1:04d}."
            )
    return [{"name": name, "image": paths} for name, paths in groups.items()]


def predict(
    bundle: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    overlays: bool = False,
    html: bool = False,
    guide_maps: bool = False,
    device: str | None = None,
    text: str | None = None,
) -> list[Path]:
    """Write one label map per input on the input's own grid, with the data set's own label values.

    Args:
        bundle: the bundle's folder; its models/model.pt must exist.
        source: see `list_inputs`.
        output: folder of the predictions.
        overlays: also write overlay pictures to output/overlays.
        html: also write a page to look at beside each prediction, <name>.html.
        guide_maps: also write pictures of the network's prior to output/guide_maps.
        device: "cpu", "cuda", …; by default a GPU if there is one.
        text: what is asked for in words, instead of the bundle's classes; label maps then hold 0 and 1.

    Returns:
        the written files, in the order of the inputs.

    Raises:
        ValueError: guide maps of a network that has none; a text for one that reads none, or without words.
    """
    whole = Bundle.trained(bundle, device=device)
    if text is not None:
        whole.require_requests(text)
        if guide_maps:
            raise UserFault("--guide_maps show the bundle's classes, not what --text asks for; give one.")
    if guide_maps:
        whole.require_guide_maps()
    cases = list_inputs(source, channels=whole.channels)
    written = predict_cases(whole, cases, output, text=text)
    names, background = (whole.labels, whole.background) if text is None else ({text: ASKED}, 0)
    if overlays:
        _write_overlays(cases, written, names, whole.window, Path(output) / "overlays")
    if html:
        from pgsam_monai.pictures.page.write import write_pages

        write_pages(cases, written, names, window=whole.window, background=background)
    if guide_maps:
        _write_guide_maps(whole, cases, written, Path(output) / "guide_maps")
    return written


def predict_cases(
    bundle: Bundle, cases: Sequence[Mapping[str, Any]], output: str | Path, *, text: str | None = None
) -> list[Path]:
    """Write the label maps of `cases`, [{"name", "image": path or paths}], one after the other; returns the files.

    Raises:
        UserFault: two cases have one name.
    """
    named: dict[str, Any] = {}
    for case in cases:
        if named.setdefault(case["name"], case["image"]) != case["image"]:
            raise UserFault(
                f"{case['image']} and {named[case['name']]} would both be written as '{case['name']}'; rename one."
            )
    return [
        bundle.label_map(case["image"], text=text).save(output, case["name"])
        for case in tqdm(cases, desc="predicting", disable=None)
    ]


def prediction_file(folder: str | Path, name: str) -> Path:
    """The file that holds a case's prediction, whatever its format.

    Raises:
        FileNotFoundError: there is none.
    """
    beside = sorted(path for path in Path(folder).glob(f"{name}.*") if stem(path) == name)
    found = [path for path in beside if path.suffix != ".html"]  # the page that --html writes
    if not found:
        raise MissingFile(f"No prediction of case '{name}' in '{folder}'.")
    return found[0]


def _write_overlays(
    cases: Sequence[dict],
    predictions: Sequence[Path],
    names: Mapping[str, int],
    window: tuple[float, float] | None,
    folder: Path,
) -> None:
    from pgsam_monai.pictures.overlays import write_overlays

    for case, prediction in zip(cases, predictions, strict=True):
        image = case["image"][0] if isinstance(case["image"], list) else case["image"]
        write_overlays(image, prediction, folder=folder, labels=names, window=window, name=case["name"])


def _write_guide_maps(
    bundle: Bundle, cases: Sequence[dict], predictions: Sequence[Path], folder: Path
) -> None:
    """With the network that has just predicted."""
    from pgsam_monai.pictures.guide_maps import GuideMapWriter

    labels = dict(zip(bundle.names, bundle.values, strict=True))
    writer = GuideMapWriter(
        network=bundle.network, inferer=bundle.inferer, labels=labels, device=bundle.device
    )
    for case, prediction in zip(cases, predictions, strict=True):
        image = bundle.preprocessing({"image": case["image"]})["image"]
        writer.write(image, prediction, folder=folder, name=case["name"])
