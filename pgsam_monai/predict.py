"""Predict images with a bundle: a file, a folder of files, a DICOM series or a folder of series."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.data.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from pgsam_monai.weights_table import KNOWN_WEIGHTS

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

IMAGE_SUFFIXES = VOLUME_SUFFIXES + PICTURE_SUFFIXES
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
        raise FileNotFoundError(
            f"Input '{source}' does not exist; give an image file, a folder or a DICOM series."
        )
    if source.is_file() or is_dicom_series(source):
        return [{"name": stem(source), "image": str(source)}]
    files = sorted(path for path in source.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES))
    series = sorted(folder for folder in source.iterdir() if folder.is_dir() and is_dicom_series(folder))
    if not files and not series:
        raise FileNotFoundError(
            f"Folder '{source}' holds neither images ({', '.join(IMAGE_SUFFIXES)}) nor DICOM series."
        )
    return _groupchannels_of(files, channels) + [
        {"name": folder.name, "image": str(folder)} for folder in series
    ]


def is_dicom_series(folder: Path) -> bool:
    """True when the folder's first regular file carries DICOM's magic word."""
    if not folder.is_dir():
        return False
    first = next((path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."), None)
    if first is None:
        return False
    with first.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def stem(path: Path) -> str:
    """File name without its image suffix, `.nii.gz` counting as one."""
    return path.name[: len(path.name) - len(file_suffix(path))] if path.suffix else path.name


def _groupchannels_of(files: Sequence[Path], channels: int) -> list[dict]:
    if channels == 1 or not all(CHANNEL_FILE.search(stem(path)) for path in files):
        return [{"name": stem(path), "image": str(path)} for path in files]
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(CHANNEL_FILE.sub("", stem(path)), []).append(str(path))
    for name, paths in groups.items():
        if len(paths) != channels:
            raise ValueError(
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
    guide_maps: bool = False,
    device: str | None = None,
) -> list[Path]:
    """Write one label map per input on the input's own grid, with the data set's own label values.

    Args:
        bundle: the bundle's folder; its models/model.pt must exist.
        source: see `list_inputs`.
        output: folder of the predictions.
        overlays: also write overlay pictures to output/overlays.
        guide_maps: also write pictures of the network's prior to output/guide_maps.
        device: "cpu", "cuda", …; by default a GPU if there is one.

    Returns:
        the written files, in the order of the inputs.

    Raises:
        ValueError: guide maps of a network that has none.
    """
    from pgsam_monai.guide_maps import require_guide_maps

    root = bundle_folder(bundle)
    parser = read_inference(root, device)
    cases = list_inputs(source, channels=channels_of(parser))
    parser["output_dir"] = str(output)
    parser["dataset::data"] = cases
    parser.parse()
    if guide_maps:
        require_guide_maps(parser.get_parsed_content("network"), source=f"Bundle '{root}'")
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("inferring")
    written = [prediction_file(output, case["name"]) for case in cases]
    if overlays:
        _write_overlays(root, cases, written, Path(output) / "overlays")
    if guide_maps:
        _write_guide_maps(parser, root, cases, written, Path(output) / "guide_maps")
    return written


def read_inference(root: Path, device: str | None = None) -> ConfigParser:
    """A bundle's inference.json with its folder and, unless None, the device filled in; nothing is built yet."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(root / "configs/inference.json")
    parser.read_meta(root / "configs/metadata.json")
    parser["bundle_root"] = str(root)
    if device:
        parser["device"] = f"$torch.device({device!r})" if device in ("cpu", "cuda") else device
    return parser


def channels_of(parser: ConfigParser) -> int:
    """Channels of the images that a bundle takes."""
    return parser["_meta_"]["network_data_format"]["inputs"]["image"]["num_channels"]


def bundle_folder(bundle: str | Path) -> Path:
    """The bundle's folder, checked.

    Raises:
        FileNotFoundError: no bundle there, or not trained yet.
    """
    root = Path(bundle)
    if not (root / "configs/inference.json").is_file():
        hint = " Published weights answer --clicks and --box only." if str(bundle) in KNOWN_WEIGHTS else ""
        raise FileNotFoundError(
            f"'{root}' is no bundle (no configs/inference.json); plan one with pgsam-plan.{hint}"
        )
    if not (root / "models/model.pt").is_file():
        raise FileNotFoundError(
            f"Bundle '{root}' has no models/model.pt; train it first: "
            f"python -m monai.bundle run training --config_file {root}/configs/train.json"
        )
    return root


def read_decisions(root: Path) -> dict[str, Any]:
    """What the bundle's plan decided, by name."""
    entries = json.loads((root / "configs/plan.json").read_text(encoding="utf-8"))["decisions"]
    return {name: entry["value"] for name, entry in entries.items()}


def prediction_file(folder: str | Path, name: str) -> Path:
    """The file that holds a case's prediction, whatever its format.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(path for path in Path(folder).glob(f"{name}.*") if stem(path) == name)
    if not found:
        raise FileNotFoundError(f"No prediction of case '{name}' in '{folder}'.")
    return found[0]


def _write_overlays(root: Path, cases: Sequence[dict], predictions: Sequence[Path], folder: Path) -> None:
    from pgsam_monai.overlays import write_overlays
    from pgsam_monai.transforms.labels import restored_values

    plan = read_decisions(root)
    names = dict(zip(plan["label_names"][1:], restored_values(plan["labels"])[1:], strict=True))
    scheme = plan["intensity"]
    window = (scheme["low"], scheme["high"]) if scheme["scheme"] == "window" else None
    for case, prediction in zip(cases, predictions, strict=True):
        image = case["image"][0] if isinstance(case["image"], list) else case["image"]
        write_overlays(image, prediction, folder=folder, labels=names, window=window, name=case["name"])


def _write_guide_maps(
    parser: ConfigParser, root: Path, cases: Sequence[dict], predictions: Sequence[Path], folder: Path
) -> None:
    """With the network that has just predicted."""
    from pgsam_monai.guide_maps import GuideMapWriter
    from pgsam_monai.transforms.labels import restored_values

    plan = read_decisions(root)
    network, inferer, preprocessing, device = (
        parser.get_parsed_content(name) for name in ("network", "inferer", "preprocessing", "device")
    )
    labels = dict(zip(plan["label_names"], restored_values(plan["labels"]), strict=True))
    writer = GuideMapWriter(network=network, inferer=inferer, labels=labels, device=device)
    for case, prediction in zip(cases, predictions, strict=True):
        writer.write(preprocessing(dict(case))["image"], prediction, folder=folder, name=case["name"])
