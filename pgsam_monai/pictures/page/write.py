"""Writes the page of a case: one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import whole
from pgsam_monai.pictures.page.case import PageCase, read_case
from pgsam_monai.pictures.page.classes import ShownClass, class_indices, find_classes
from pgsam_monai.pictures.page.encode import pack_grey, pack_labels
from pgsam_monai.pictures.page.facts import ShownImage, page_facts, shown_image
from pgsam_monai.pictures.page.grid import reduce_labels

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("data.js", "planes.js", "draw.js", "state.js", "panel.js", "views.js", "page.js")
"""In the order in which they are put together, to one script."""
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' '{hash}'; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is ever loaded. Browsers that know hashes, all of today's, run the page's own script and no other."""


def write_page(
    image: Paths,
    prediction: Paths,
    reference: Paths | None = None,
    *,
    file: str | Path,
    labels: Mapping[str, int] | None = None,
    background: int | None = 0,
    window: tuple[float, float] | None = None,
    name: str | None = None,
) -> Path:
    """Write `file`, one HTML page that shows a label map on its image, and beside a reference; returns it.

    Args:
        image, prediction, reference: files of any format of `pgsam_monai.base.volume`, a DICOM series' folder too; of
            several channels the first is shown.
        file: replaced whole or not at all.
        labels: class names -> values in the label maps; other values are called "label 3". Not for a DICOM
            segmentation, which has names of its own.
        background: the value that is no class; None: all that `labels` does not name.
        window: (low, high), the grey values that are black and white at first; by default found by the image's values.
        name: the page's title, by default the image's name.

    Raises:
        FileNotFoundError, ValueError: see `case.read_case` and `classes.find_classes`.
    """
    case = read_case(image, prediction, reference, name=name)
    if labels and case.names:
        raise UserFault(
            f"The prediction '{case.files['prediction']}' is a DICOM segmentation, which names its classes itself; "
            "leave other names out."
        )
    classes = find_classes(case.prediction, case.reference, labels or case.names, background=background)
    shown = shown_image(case)
    pieces = _page(page_facts(case, classes, shown, window), _blocks(case, classes, shown))
    with whole(file) as partial, partial.open("w", encoding="utf-8", errors="replace", newline="\n") as page:
        page.writelines(pieces)
    return Path(file)


def _blocks(case: PageCase, classes: Sequence[ShownClass], image: ShownImage) -> Iterator[tuple[str, str]]:
    """(id, base64) of the blocks of data that the page's script unpacks."""
    values = [shown.value for shown in classes]
    maps = {"prediction": case.prediction} | ({} if case.reference is None else {"reference": case.reference})
    for role, label_map in maps.items():
        yield role, pack_labels(class_indices(reduce_labels(label_map, image.factors), values))
    for channel, volume in enumerate(image.channels):
        for slab, text in enumerate(pack_grey(volume, image.low, image.step, image.slab_slices)):
            yield f"grey-{channel}-{slab}", text


def _page(facts: dict, blocks: Iterator[tuple[str, str]]) -> Iterator[str]:
    """The page's text in pieces: a large one is never held as a whole.

    What comes from the case reaches the page as JSON in a block of data, escaped, and is put on the screen as text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    script = "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("page.html").generate(
        facts=facts,
        policy=POLICY.format(hash=f"sha256-{digest}"),
        style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        blocks=((name, Markup(text)) for name, text in blocks),
    )
