"""`pgsam predict … --clicks` and `--box`: one image, by what a user asks of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.bundle import Bundle
from pgsam_monai.interactive.segmenter import Segmenter
from pgsam_monai.predicting.inputs import list_inputs, require_channels
from pgsam_monai.predicting.products import DICOM_SEG, SAME, Answer, Legend, Products
from pgsam_monai.predicting.segmentations import require_dicom
from pgsam_monai.predicting.summary import Maker, Summary
from pgsam_monai.prompts.click_files import Clicks, read_clicks
from pgsam_monai.runtime.engines import AUTO, TORCH
from pgsam_monai.transforms import ReadCased
from pgsam_monai.transforms.read import watching
from pgsam_monai.voxels.saving import prediction_suffix

UNNAMED = "object"
"""The class that published weights are asked about where the user names none."""


@dataclass(frozen=True, kw_only=True)
class PromptWishes:
    """What a user asks of one image."""

    clicks: str | Path | None = None
    """a file of clicks and boxes (`prompts.click_files`)"""
    box: Sequence[float] | None = None
    """i0, i1, j0, j1, k0, k1 in voxels of the image, both ends included"""
    label: str | int | None = None
    """name or value of the class in the box; None where there is only one"""
    propagate: bool | int = False
    """carry the classes to slices without prompts; a number: at most so many on each side"""
    background: str = "empty"
    """what is shown where nothing was asked: "empty" or "everything" """
    window: tuple[float, float] | None = None
    """grey values that become 0 and 1, for published weights, which have no plan; None for percentiles"""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        several = {
            name: given and list(given) for name, given in (("box", self.box), ("window", self.window))
        }
        return {**asdict(self), **several, "clicks": self.clicks and str(self.clicks)}


def predict_prompted(
    bundle: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    wishes: PromptWishes,
    overlays: bool = False,
    html: bool = False,
    summary: bool = False,
    device: str | None = None,
    format: str = SAME,
    overwrite: bool = False,
    engine: str = AUTO,
) -> list[Path]:
    """As `predicting.predict.predict` for one image, by clicks and boxes.

    Args:
        bundle: the folder of a trained bundle; or a name of `pgsam weights list`, whose weights answer as they were
            published.
        source: one image file or DICOM series; for several channels a folder with the files of one case.
        output: folder of the prediction.
        wishes: what is asked.
        overlays: also write an overlay picture to output/overlays.
        html: also write a page to look at beside the prediction, <name>.html.
        summary: also write output/summary.json and summary.csv, which tell of it.
        device: "cpu", "cuda", …; by default a GPU if there is one.
        format, overwrite: as of `predicting.predict.predict`.
        engine: what encodes slices: "torch", "openvino", or "auto", the latter if its encoder was exported, found to be
            as exact, and no device is named.

    Returns:
        the one written file.

    Raises:
        ValueError: the network takes no prompts, several images, or prompts that don't fit.
    """
    started, published = time.perf_counter(), is_published(bundle)
    trained = None if published else Bundle.trained(bundle, device=device)
    case = _one_case(source, channels=trained.channels if trained else 1)
    if format == DICOM_SEG:
        require_dicom(case["image"])
    maker = Maker.of(trained, asked=True) if trained else Maker.published(str(bundle))
    if device is not None and engine not in (AUTO, TORCH):
        raise UserFault(f"--engine {engine} can't do --device; leave either out.")
    engine = TORCH if device is not None else engine
    asked = {**wishes.to_json(), "device": device, "format": format}
    products = Products(
        folder=Path(output),
        format=format,
        overlays=overlays,
        html=html,
        overwrite=overwrite,
        summary=Summary(output, maker, asked) if summary else None,
    )
    products.prepare([case], also_read=[wishes.clicks] if wishes.clicks else [])
    if trained and wishes.window is not None:
        raise UserFault("--window belongs to published weights; a bundle's plan has its own intensities.")
    segmenter, clicks, window = _segmenter(trained or str(bundle), case["image"], wishes, device, engine)
    with watching() as images:
        segmenter.set_image(case["image"])
    _ask(segmenter, wishes, clicks)
    file = f"{case['name']}{prediction_suffix(segmenter.volume.source)}"
    # None: what lies between classes may have any value, the names tell
    legend = Legend(labels=segmenter.model.labels, background=None, window=window)
    told = Answer(
        label_map=segmenter.prediction, affine=segmenter.volume.grid.affine, image=images[-1], started=started
    )
    return [
        products.write(
            case,
            lambda folder: segmenter.save(folder / file),
            legend,
            answer=told,
            bundle=bundle,
            guided=True,
        )
    ]


def _segmenter(
    network: Bundle | str,
    image: str | list[str],
    wishes: PromptWishes,
    device: str | None,
    engine: str,
) -> tuple[Segmenter, Clicks | None, tuple[float, float] | None]:
    """Of a bundle, or of published weights by their name; what is clicked; the grey values that are seen."""
    if isinstance(network, Bundle):
        segmenter = Segmenter.of(network, engine=engine, background=wishes.background)
        clicks = read_clicks(wishes.clicks, names=segmenter.model.names) if wishes.clicks else None
        return segmenter, clicks, network.window
    clicks, window = read_clicks(wishes.clicks) if wishes.clicks else None, wishes.window
    names = named_classes(clicks, wishes)
    channels = ReadCased("image")({"image": image})["image"].shape[0]
    # weights that know no classes: those that the user names, valued 1, 2, … in the order of their names
    segmenter = Segmenter.from_weights(
        network, names, background=wishes.background, window=window, channels=channels, device=device, engine=engine
    )  # fmt: skip
    return segmenter, clicks, window


def _ask(segmenter: Segmenter, wishes: PromptWishes, clicks: Clicks | None) -> None:
    if wishes.box is not None:
        unnamed = UNNAMED if UNNAMED in segmenter.model.names else None
        segmenter.add_box(wishes.box, unnamed if wishes.label is None else wishes.label)
    if clicks is not None:
        segmenter.add_prompts(clicks)
    if wishes.propagate:
        segmenter.propagate(slices=None if wishes.propagate is True else wishes.propagate)


def is_published(bundle: str | Path) -> bool:
    """Whether what was named are published weights, and no bundle's folder."""
    return str(bundle) in KNOWN_WEIGHTS and not Path(bundle).is_dir()


def named_classes(clicks: Clicks | None, wishes: PromptWishes) -> list[str]:
    """The classes that a user names in clicks and box, sorted."""
    names = set(clicks.labels) if clicks else set()
    if wishes.box is not None:
        names.add(str(wishes.label or UNNAMED))
    return sorted(names)


def _one_case(source: str | Path, *, channels: int) -> dict:
    cases = list_inputs(source, channels=channels)
    if len(cases) > 1:
        raise UserFault(
            f"predict: clicks and boxes belong to one image, '{source}' holds {len(cases)}; name one."
        )
    require_channels(cases[0], channels)
    return cases[0]
