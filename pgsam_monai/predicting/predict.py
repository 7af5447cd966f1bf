"""Predict images with a bundle: a file, a folder of files, a DICOM series or a folder of series."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.cases import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from pgsam_monai.base.dicom.headers import is_dicom_file
from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.weights import KNOWN_WEIGHTS

if TYPE_CHECKING:
    from monai.bundle import ConfigParser
    from torch import nn

IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, ".dcm", *PICTURE_SUFFIXES)
CHANNEL_FILE = re.compile(r"_(\d{4})$")
ASKED = 1
"""Value, in label maps, of what was asked for."""


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
    return _groupchannels_of(files, channels) + [
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


def _groupchannels_of(files: Sequence[Path], channels: int) -> list[dict]:
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
    from pgsam_monai.pictures.guide_maps import require_guide_maps

    root = bundle_folder(bundle)
    source_name = f"Bundle '{root}'"
    parser = read_inference(root, device)
    if text is not None:
        expect_answer(parser, text, source=source_name)
        if guide_maps:
            raise UserFault("--guide_maps show the bundle's classes, not what --text asks for; give one.")

    def ready(network: nn.Module) -> None:
        if guide_maps:
            require_guide_maps(network, source=source_name)
        if text is not None:
            network.request = text

    cases = list_inputs(source, channels=channels_of(parser))
    written = infer(parser, cases, output, ready=ready)
    names = {}
    if overlays or html:
        names = class_values(root) if text is None else {text: ASKED}
    if overlays:
        _write_overlays(root, cases, written, names, Path(output) / "overlays")
    if html:
        from pgsam_monai.pictures.page.write import write_pages

        background = background_value(root) if text is None else 0
        write_pages(cases, written, names, window=planned_window(root), background=background)
    if guide_maps:
        _write_guide_maps(parser, root, cases, written, Path(output) / "guide_maps")
    return written


def expect_answer(parser: ConfigParser, text: str, *, source: str) -> None:
    """Prepare a bundle's inference.json for the answer to a text: classes 0 and 1, `ASKED`, nothing cleaned away.

    The text itself does not enter the config, where MONAI would evaluate one that starts with $.

    Raises:
        ValueError: the bundle's network reads no texts, or there are no words; `source` says whose it is.
    """
    if "request" not in parser.get():
        raise UserFault(
            f"{source} takes no text: --text is for networks that read any text (refsam3d); leave it out."
        )
    if not text.strip():
        raise UserFault('--text is empty; say what to segment, as in --text "perform liver segmentation".')
    transforms = []
    for transform in parser["postprocessing"]["transforms"]:
        name = transform["_target_"].rpartition(".")[2]
        if name == "RestoreLabelsd":
            transform = {**transform, "labels": [0, ASKED]}
        if name != "KeepLargestConnectedComponentd":  # planned for classes that weren't asked for
            transforms.append(transform)
    parser["postprocessing::transforms"] = transforms


def infer(
    parser: ConfigParser,
    cases: Sequence[Mapping[str, Any]],
    output: str | Path,
    *,
    ready: Callable[[nn.Module], None] | None = None,
) -> list[Path]:
    """Run a bundle's inference.json on `cases`; returns the label maps in `output`, in their order.

    Args:
        parser: of `read_inference`.
        cases: [{"name", "image": path or paths}].
        output: folder of the predictions.
        ready: sees the network before it predicts.
    """
    # A tuple, which MONAI hands on as it is: in a list it would evaluate a case that is called "$…".
    parser["dataset::data"] = tuple(dict(case) for case in cases)
    parser["output_dir"] = str(output)
    parser.parse()
    if ready is not None:
        ready(parser.get_parsed_content("network"))
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("inferring")
    return [prediction_file(output, case["name"]) for case in cases]


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
        raise MissingFile(
            f"'{root}' is no bundle (no configs/inference.json); plan one with pgsam-plan.{hint}"
        )
    if not (root / "models/model.pt").is_file():
        raise MissingFile(
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
    beside = sorted(path for path in Path(folder).glob(f"{name}.*") if stem(path) == name)
    found = [path for path in beside if path.suffix != ".html"]  # the page that --html writes
    if not found:
        raise MissingFile(f"No prediction of case '{name}' in '{folder}'.")
    return found[0]


def class_values(root: Path) -> dict[str, int]:
    """The foreground classes of a bundle and their values in its predictions."""
    from pgsam_monai.base.labels import restored_values

    plan = read_decisions(root)
    return dict(zip(plan["label_names"][1:], restored_values(plan["labels"])[1:], strict=True))


def background_value(root: Path) -> int:
    """What a bundle's predictions hold where there is no class."""
    from pgsam_monai.base.labels import restored_values

    return restored_values(read_decisions(root)["labels"])[0]


def planned_window(root: Path) -> tuple[float, float] | None:
    """The grey values between which a bundle's network sees, None where they depend on the image."""
    scheme = read_decisions(root)["intensity"]
    return (scheme["low"], scheme["high"]) if scheme["scheme"] == "window" else None


def _write_overlays(
    root: Path, cases: Sequence[dict], predictions: Sequence[Path], names: Mapping[str, int], folder: Path
) -> None:
    from pgsam_monai.pictures.overlays import write_overlays

    window = planned_window(root)
    for case, prediction in zip(cases, predictions, strict=True):
        image = case["image"][0] if isinstance(case["image"], list) else case["image"]
        write_overlays(image, prediction, folder=folder, labels=names, window=window, name=case["name"])


def _write_guide_maps(
    parser: ConfigParser, root: Path, cases: Sequence[dict], predictions: Sequence[Path], folder: Path
) -> None:
    """With the network that has just predicted."""
    from pgsam_monai.base.labels import restored_values
    from pgsam_monai.pictures.guide_maps import GuideMapWriter

    plan = read_decisions(root)
    network, inferer, preprocessing, device = (
        parser.get_parsed_content(name) for name in ("network", "inferer", "preprocessing", "device")
    )
    labels = dict(zip(plan["label_names"], restored_values(plan["labels"]), strict=True))
    writer = GuideMapWriter(network=network, inferer=inferer, labels=labels, device=device)
    for case, prediction in zip(cases, predictions, strict=True):
        writer.write(preprocessing(dict(case))["image"], prediction, folder=folder, name=case["name"])
