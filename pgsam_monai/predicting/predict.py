"""Predict images with a bundle, by its classes or by a text: a file, a folder, a DICOM series or a folder of series."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.mirroring import LEFT_RIGHT, sided_names
from pgsam_monai.base.volume import Volume, notes_of
from pgsam_monai.bundle import ASKED, Bundle
from pgsam_monai.predicting.case_texts import texts_of_cases
from pgsam_monai.predicting.each import for_each
from pgsam_monai.predicting.inputs import list_inputs, require_channels
from pgsam_monai.predicting.products import DICOM_SEG, SAME, Answer, Legend, Products
from pgsam_monai.predicting.segmentations import require_dicom
from pgsam_monai.predicting.summary import Maker, Summary
from pgsam_monai.runtime.choosing import exported_network
from pgsam_monai.runtime.engines import AUTO
from pgsam_monai.runtime.network import ExportedNetwork
from pgsam_monai.voxels.result import LabelResult


def predict(
    bundle: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    overlays: bool = False,
    html: bool = False,
    guide_maps: bool = False,
    summary: bool = False,
    device: str | None = None,
    text: str | None = None,
    case_texts: str | Path | None = None,
    format: str = SAME,
    overwrite: bool = False,
    labels_of: str | None = None,
    mirror: Sequence[str] | str | None = None,
    engine: str = AUTO,
    compile: bool = False,
) -> list[Path]:
    """Write one label map per input on the input's own grid, with the data set's own label values.

    Args:
        bundle: the bundle's folder; its models/model.pt must exist.
        source: see `inputs.list_inputs`.
        output: folder of the predictions.
        overlays: also write overlay pictures to output/overlays.
        html: also write a page to look at beside each prediction, <name>.html.
        guide_maps: also write pictures of the network's prior to output/guide_maps.
        summary: also write output/summary.json and summary.csv, which tell of each case.
        device: "cpu", "cuda", …; by default a GPU if there is one.
        text: what is asked for in words, instead of the bundle's classes; label maps then hold 0 and 1.
        case_texts: a file of texts of cases (`texts.case_file`), which the network reads in place of the bundle's.
        format: "dicom-seg" writes <name>.seg.dcm for DICOM series, instead of label maps.
        overwrite: replace what is there, even if it is none of ours or was changed since; inputs never.
        labels_of: of a bundle for merged data sets, the one whose structures and values label maps hold.
        mirror: axes along which mirror images are asked as well, such as "up-down"; "auto": those that training
            mirrored; None: as the bundle's inference.json says.
        engine: "torch"; "openvino" or "onnxruntime", of a network that was exported for it; "auto": one of these if it
            was seen to answer as the trained network does, and nothing is wished that needs torch.
        compile: compile the network's blocks, see `networks.compiled`; pays where many images follow.

    Returns:
        the written files, in the order of the inputs.

    Raises:
        SomeFailed: of several cases; all were tried. It has the files that were written.
        UserFault: guide maps of a network that has none; a text for one that reads none, or without words; something
            that was there before would be lost; axes that can't be mirrored.
    """
    needs = {
        "--text": text, "--guide_maps": guide_maps, "--mirror": mirror, "--device": device, "--compile": compile,
        "--case_texts": case_texts,
    }  # fmt: skip
    exported = exported_network(bundle, engine, needs_torch=[flag for flag, wish in needs.items() if wish])
    overrides = {"compile": True} if compile else {}
    whole = exported.bundle if exported else _opened(bundle, device, mirror, text, overrides=overrides)
    if text is not None:
        whole.require_requests(text)
        if guide_maps:
            raise UserFault("--guide_maps show the bundle's classes, not what --text asks for; give one.")
    if guide_maps:
        whole.require_guide_maps()
    part = None if labels_of is None else whole.part(labels_of)
    if part and text is not None:
        raise UserFault(
            "--labels_of names structures of a data set, --text asks for one in words; give one of them."
        )
    cases = list_inputs(source, channels=whole.channels)
    texts = None if case_texts is None else texts_of_cases(whole, case_texts, cases)
    asked = {"text": text, "case_texts": None if case_texts is None else str(case_texts)}
    settings = {**asked, "format": format, **(exported.settings if exported else _torch_settings(whole))}
    maker = partial(Maker.of, whole, asked=text is not None, weights=exported and exported.weights)
    products = Products(
        folder=Path(output),
        format=format,
        overlays=overlays,
        html=html,
        guide_maps=guide_maps,
        overwrite=overwrite,
        summary=Summary(output, maker(), settings) if summary else None,
    )
    names, background = (whole.labels, whole.background) if text is None else ({text: ASKED}, 0)
    if part:
        values, background = part
        names = {name: values[value] for name, value in names.items() if value in values}
    legend = Legend(labels=names, background=background, window=whole.window)
    return predict_cases(
        whole, cases, products, legend=legend, text=text, texts=texts, part=part, exported=exported
    )


def _torch_settings(bundle: Bundle) -> dict[str, Any]:
    asked = list(bundle.content("mirror")) if "mirror" in bundle.parser.get() else []
    return {"device": str(bundle.device), "mirror": asked or None}


def _opened(
    folder: str | Path, device: str | None, mirror: Sequence[str] | str | None, text: str | None,
    *, overrides: Mapping[str, object],
) -> Bundle:  # fmt: skip
    """The bundle, with what it is to mirror, which is checked here."""
    if mirror is None:
        return Bundle.trained(folder, device=device, overrides=overrides)
    axes = Bundle(folder).mirror_axes(mirror)
    whole = Bundle.trained(folder, device=device, overrides={**overrides, "mirror": axes})
    if text is not None and LEFT_RIGHT in axes and sided_names([text]):
        raise UserFault(
            f"--mirror {LEFT_RIGHT}: --text asks for one side, and a mirrored left one is a right one."
        )
    whole.answering_inferer  # noqa: B018
    return whole


def predict_cases(
    bundle: Bundle,
    cases: Sequence[Mapping[str, Any]],
    products: Products,
    *,
    legend: Legend | None = None,
    text: str | None = None,
    texts: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    part: tuple[Mapping[int, int], int] | None = None,
    exported: ExportedNetwork | None = None,
) -> list[Path]:
    """Write what is wanted of `cases`, [{"name", "image": path or paths}], one after the other; returns the files.

    `texts`: case -> class name -> texts in place of the bundle's. `part`: of a bundle for merged data sets the one
    whose values label maps hold, see `Bundle.part`. `exported` answers instead of the bundle's own network.

    Raises:
        SomeFailed: of several cases; all were tried.
        UserFault: something that was there before would be lost.
    """
    if products.format == DICOM_SEG and len(cases) == 1:
        require_dicom(cases[0]["image"])
    products.prepare(cases)
    shown = legend or Legend(labels=bundle.labels, background=bundle.background, window=bundle.window)

    def one(case: Mapping[str, Any]) -> Path:
        started = time.perf_counter()
        require_channels(case, bundle.channels)
        own = None if texts is None else texts.get(case["name"])
        if products.format == DICOM_SEG:
            require_dicom(case["image"])
        if exported:
            answer, image = exported.label_map(case["image"], sure=products.summary is not None)
        else:
            answer, image = _answer_with_torch(
                bundle, case["image"], text, own, sure=products.summary is not None
            )
        answer = answer if part is None else answer.of_part(*part)
        for note in notes_of(case["image"]):  # what pgsam-plan warns of
            tqdm.write(f"note: {note}", file=sys.stderr)
        told = Answer(
            label_map=answer.voxels,
            affine=answer.affine,
            image=image,
            started=started,
            soft_dice=answer.soft_dice,
        )
        draw = partial(_draw_guide_map, bundle, case, products.folder, own) if products.guide_maps else None
        return products.write(
            case,
            lambda folder: answer.save(folder, case["name"]),
            shown,
            answer=told,
            draw=draw,
            bundle=bundle.folder,
        )

    exported.run if exported else bundle.load()  # what is wrong with the weights is wrong for every case
    return for_each(cases, one, hear=products.summary and products.summary.fail)


def _answer_with_torch(
    bundle: Bundle, image: Paths, text: str | None, texts: Mapping[str, Sequence[str]] | None, *, sure: bool
) -> tuple[LabelResult, Volume | None]:
    from pgsam_monai.inference.confidence import told
    from pgsam_monai.transforms.read import watching

    with watching() as images, told(sure):
        answer = bundle.label_map(image, text=text, texts=texts)
    return answer, images[-1] if images else None


def _draw_guide_map(
    bundle: Bundle, case: Mapping[str, Any], folder: Path, texts: Mapping[str, Sequence[str]] | None,
    label_map: Path,
) -> Path:  # fmt: skip
    """With the network that has just predicted, and the texts that it has read."""
    from pgsam_monai.pictures.guide_maps import GuideMapWriter

    labels = dict(zip(bundle.names, bundle.values, strict=True))
    image = bundle.preprocessing({"image": case["image"]})["image"]
    with bundle.reading(texts) as network:
        writer = GuideMapWriter(network=network, inferer=bundle.inferer, labels=labels, device=bundle.device)
        return writer.write(image, label_map, folder=folder / "guide_maps", name=case["name"])
