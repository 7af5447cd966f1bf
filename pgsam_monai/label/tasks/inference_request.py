"""What a client asks of a model: in words, by clicks and boxes, and how the answer is to be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.interactive.segmenter import BACKGROUNDS
from pgsam_monai.label.faults import RequestFault, short
from pgsam_monai.label.fields import choice_of, text_of
from pgsam_monai.predicting.inputs import list_inputs, require_channels
from pgsam_monai.prompts.click_files import Clicks, read_clicks
from pgsam_monai.prompts.click_names import find_class, hint

CONSECUTIVE, ORIGINAL = LABEL_VALUES = ("consecutive", "original")
"""Values of the label map: 1..K in the order of the classes (3D Slicer numbers segments so), or the data set's."""
TEXT_LIMIT = 1000
"""characters"""
TEXT_PREFIX = "text:"
CLICK_LIMIT = 1000
EMPTY, EVERYTHING = BACKGROUNDS
BACKGROUND = "background"
NO_CLICKS = (
    "model", "image", "images", "description", "device", "gpus", "label", "labels", "label_values", "texts",
    "result_extension", "result_dtype", "propagate", "background_shows", "location", "size", "spacing", "space",
    "slice", "client_id", "roi", BACKGROUND,
)  # fmt: skip
"""Parameters that may be lists and are no clicks of a class, whatever kind of task reads them."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the result is to be sent."""

    extension: str | None = None
    """".nii.gz", ".nii", ".nrrd" or ".mha"; None for what `pgsam predict` writes"""
    dtype: str | None = None
    """numpy type; None for the smallest that holds all values"""
    values: str = CONSECUTIVE
    """of `LABEL_VALUES`"""


@dataclass(frozen=True, kw_only=True)
class ClickRequest:
    """What a client says about an image by clicks and boxes."""

    clicks: Clicks | None
    """of classes, and the negative ones of `BACKGROUND`, where no class is; None: nothing"""
    label: str | None
    """the class that is to be shown alone; None: all"""
    propagate: bool | int
    """carry the classes to slices without prompts; a number: at most so many on each side"""
    background: str
    """what is shown where nothing was asked"""
    client: str | None = None
    """who asks, if clients say so: clicks of several on one image stay apart"""


def read_delivery(request: Mapping[str, Any]) -> Delivery:
    """How the result is to be sent.

    Raises:
        RequestFault: no text where text is needed, or an unknown kind of label values.
    """
    return Delivery(
        extension=text_of(request, "result_extension"),
        dtype=text_of(request, "result_dtype"),
        values=choice_of(request, "label_values", LABEL_VALUES),
    )


def read_text(request: Mapping[str, Any]) -> str | None:
    """`text` for a bundle that reads any request; None, which means its classes, where it is empty.

    Raises:
        RequestFault: no text, or a huge one.
    """
    text = request.get("text")
    return None if text is None or text == "" else _with_words(text, "text")


def read_class_texts(
    request: Mapping[str, Any], own: Mapping[str, Sequence[str]], *, source: str
) -> dict[str, Sequence[str]]:
    """`text:<class>` and `texts` {class: text or alternative texts} for a bundle that reads a text per class.

    A `text:<class>` that equals the first of the class's own texts, which clients show, means them all.

    Args:
        request: what the client sent.
        own: the bundle's texts by class name, background first.
        source: what messages call the bundle.

    Returns:
        class name -> alternative texts, where they differ from the bundle's own.

    Raises:
        RequestFault: an unknown class, no text, or a huge one.
    """
    found: dict[str, Sequence[str]] = {}
    for key, text in request.items():
        if key.startswith(TEXT_PREFIX):
            name = _class_with_text(key.removeprefix(TEXT_PREFIX), own, key=TEXT_PREFIX, source=source)
            if text != own[name][0]:
                found[name] = [_with_words(text, f"{TEXT_PREFIX}{name}")]
    given = request.get("texts") or {}
    if not isinstance(given, Mapping):
        raise RequestFault(f"texts must be an object, class name to text, got {short(given)}.")
    for key, texts in given.items():
        name = _class_with_text(key, own, key="texts", source=source)
        several = texts if isinstance(texts, list | tuple) else [texts]
        if not several:
            raise RequestFault(f"texts, '{name}': give a text, or leave the class out.")
        found[name] = [_with_words(text, f"texts, '{name}'") for text in several]
    return {name: texts for name, texts in found.items() if list(texts) != list(own[name])}


def refuse_texts(request: Mapping[str, Any], *, source: str) -> None:
    """For a bundle that reads nothing: empty fields are fine, words are not.

    Raises:
        RequestFault: the client expects words to count.
    """
    for key, text in request.items():
        words = text and isinstance(text, str | Mapping)
        if words and (key in ("text", "texts") or key.startswith(TEXT_PREFIX)):
            raise RequestFault(f"{source} reads no texts; leave {short(key)} out.", status=422)


def read_deepedit(
    request: Mapping[str, Any], names: Sequence[str], shown: Sequence[str] = (EVERYTHING, EMPTY)
) -> ClickRequest:
    """Lists of clicks by class name; `background` has those where no class is; `roi` is a box of `label`.

    Clients send an empty list for each label of each model: these mean nothing.

    Args:
        request: what the client sent.
        names: of the foreground classes.
        shown: what may be shown where nothing was asked, the usual first.

    Raises:
        RequestFault: a class that isn't there, or too many clicks.
        UserFault: something else than points.
    """
    boxed = _class_meant(request.get("label"), names, ()) if request.get("roi") else None
    clicks = _read_clicks(request, _lists_of_classes(request, names), boxed, names)
    return _click_request(request, clicks, None, shown)


def read_deepgrow(
    request: Mapping[str, Any],
    names: Sequence[str],
    values: Sequence[int],
    shown: Sequence[str] = (EMPTY, EVERYTHING),
) -> ClickRequest:
    """`foreground` and `background` are clicks of the class `label` (name or value), `roi` is a box of it.

    Args:
        request: what the client sent.
        names: of the foreground classes.
        values: of these, as the client knows them.
        shown: as of `read_deepedit`.

    Raises:
        RequestFault: no clicks, no such class, none said where there are several, or too many clicks.
        UserFault: something else than points.
    """
    label = _class_meant(request.get("label"), names, values)
    lists = {label: request["foreground"]} if request.get("foreground") else {}
    if not lists and not request.get("roi"):
        raise RequestFault(
            "Give at least one click in 'foreground', [[i, j, k]], or a box in 'roi', [i0, i1, j0, j1, k0, k1].",
            status=422,
        )
    clicks = _read_clicks(request, lists, label, names)
    return _click_request(request, clicks, label, shown)


def _click_request(
    request: Mapping[str, Any], clicks: Clicks | None, label: str | None, shown: Sequence[str]
) -> ClickRequest:
    propagate = request.get("propagate")
    propagate = False if propagate in (None, "") else propagate
    if not isinstance(propagate, bool) and not (isinstance(propagate, int) and propagate >= 1):
        raise RequestFault(
            f"propagate must be true, false or how many slices a side, 1 or more; got {short(propagate)}."
        )
    return ClickRequest(
        clicks=clicks,
        label=label,
        propagate=propagate,
        background=choice_of(request, "background_shows", shown),
        client=text_of(request, "client_id"),
    )


def _lists_of_classes(request: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    lists = {}
    for key, given in request.items():
        if key in NO_CLICKS or given in (None, "", []):
            continue
        name = find_class(key, names)
        if name in lists:
            raise RequestFault(f"Class '{name}' has two lists of clicks; join them.")
        if name is not None:
            lists[name] = given
        elif isinstance(given, list):
            raise RequestFault(
                f"{short(key)} has clicks and is no class of this model; it has {', '.join(names)}.",
                status=422,
            )
    return lists


def _read_clicks(
    request: Mapping[str, Any], lists: Mapping[str, Any], boxed: str | None, names: Sequence[str]
) -> Clicks | None:
    """Clicks by class, the box of one, and those of no class; None where there is none."""
    roi, negative = request.get("roi"), request.get(BACKGROUND)
    said = {name: {"positive": given} for name, given in lists.items()}
    if roi:
        said.setdefault(boxed, {})["boxes"] = [roi]
    if negative:
        said[BACKGROUND] = {"negative": negative}
    if not said:
        return None
    count = sum(len(given) for given in [*lists.values(), negative] if isinstance(given, list))
    if count > CLICK_LIMIT:
        raise RequestFault(f"{count} clicks are too many; a request takes at most {CLICK_LIMIT}.", status=422)
    content = {"labels": said, "space": request.get("space") or "voxel"}
    return read_clicks(content, names=[*names, BACKGROUND])


def _class_meant(given: Any, names: Sequence[str], values: Sequence[int]) -> str:
    """The class of a name or, where there are `values`, of one of them; of nothing, the only one."""
    by_value = dict(zip(values, names, strict=False))
    listed = ", ".join(f"'{name}' ({value})" for value, name in by_value.items()) or ", ".join(names)
    if given in (None, ""):
        if len(names) == 1:
            return names[0]
        raise RequestFault(f"'label' must say which class is meant: {listed}.", status=422)
    if isinstance(given, int) and not isinstance(given, bool) and given in by_value:
        return by_value[given]
    found = find_class(given, names) if isinstance(given, str) else None
    if found is None:
        raise RequestFault(f"label {short(given)} is no class of this model; it has {listed}.", status=422)
    return found


def _with_words(text: Any, key: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise RequestFault(f"{key} must be a text with words, got {short(text)}.", status=422)
    if len(text) > TEXT_LIMIT:
        raise RequestFault(f"{key} has {len(text)} characters; a text has at most {TEXT_LIMIT}.", status=413)
    return text.strip()


def _class_with_text(given: Any, own: Mapping[str, Any], *, key: str, source: str) -> str:
    if given not in own:
        raise RequestFault(
            f"{key.rstrip(':')}: {source} has no class {short(given)}; {hint(given, list(own))}", status=422
        )
    return given


def find_image(image: object, *, channels: int) -> str | list[str]:
    """What a client calls an image, as what a bundle reads.

    Args:
        image: path of a file, of a DICOM series folder, or of a folder with one file per channel; or a list of files.
        channels: that the bundle takes.

    Raises:
        RequestFault: no paths, nothing there, or more than one image.
        UserFault: no image, or not so many channels.
    """
    given = image if isinstance(image, list | tuple) else [image]
    if not given or not all(isinstance(path, str | Path) and str(path) for path in given):
        raise RequestFault("The image must be named by its id, or by the path of a file or DICOM folder.")
    missing = [path for path in given if not Path(path).exists()]
    if missing:
        raise RequestFault(f"There is no image '{missing[0]}' here.", status=404)
    if len(given) > 1:
        return [str(path) for path in given]
    cases = list_inputs(given[0], channels=channels)
    if len(cases) != 1:
        raise RequestFault(
            f"'{given[0]}' holds {len(cases)} images; name one image file or one DICOM series.", status=422
        )
    require_channels(cases[0], channels)
    return cases[0]["image"]
