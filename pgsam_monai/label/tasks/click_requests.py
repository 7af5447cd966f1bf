"""Clicks and boxes as MONAI Label's clients send them, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.tasks.requests import cut, short, text_of
from pgsam_monai.prompts.click_files import Clicks, read_clicks
from pgsam_monai.prompts.click_names import find_class

CLICK_LIMIT = 1000
EVERYTHING, EMPTY = "everything", "empty"
BACKGROUND = "background"
NO_CLICKS = (
    "model", "image", "images", "description", "device", "gpus", "label", "labels", "label_values", "texts",
    "result_extension", "result_dtype", "propagate", "background_shows", "location", "size", "spacing", "space",
    "slice", "client_id",
)  # fmt: skip
"""Parameters that may be lists and are no clicks, whatever kind of task reads them."""


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """What a client says about an image."""

    clicks: Clicks | None
    """of classes, and the negative ones of ``BACKGROUND``, where no class is; None: nothing"""
    label: str | None
    """the class that is to be shown alone; None: all"""
    propagate: bool | int
    """carry the classes to slices without prompts; a number: at most so many on each side"""
    background: str
    """what is shown where nothing was asked"""


def read_deepedit(request: Mapping[str, Any], names: Sequence[str]) -> Prompting:
    """Lists of clicks by class name; `background` has those where no class is; `roi` is a box of `label`.

    Clients send an empty list for each label of each model: these mean nothing.

    Args:
        request: what the client sent.
        names: of the foreground classes.

    Raises:
        RequestFault: a class that isn't there, something else than points, or too many of them.
    """
    return _prompting(request, _lists_of_classes(request, names), names, shown=(EVERYTHING, EMPTY))


def read_deepgrow(request: Mapping[str, Any], names: Sequence[str], values: Sequence[int]) -> Prompting:
    """`foreground` and `background` are clicks of the class `label` (name or value), `roi` is a box of it.

    Args:
        request: what the client sent.
        names: of the foreground classes.
        values: of these, as the client knows them.

    Raises:
        RequestFault: no clicks, no such class, none said where there are several, or as ``read_deepedit``.
    """
    label = _class_meant(request.get("label"), names, values)
    lists = {label: request["foreground"]} if request.get("foreground") else {}
    if not lists and not request.get("roi"):
        raise RequestFault(
            "Give at least one click in 'foreground', [[i, j, k]], or a box in 'roi', [i0, i1, j0, j1, k0, k1].",
            status=422,
        )
    return _prompting(request, lists, names, label=label, shown=(EMPTY, EVERYTHING))


def _lists_of_classes(request: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    lists = {}
    for key, given in request.items():
        if key in (*NO_CLICKS, "roi", BACKGROUND) or given in (None, "", []):
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


def _prompting(
    request: Mapping[str, Any],
    lists: Mapping[str, Any],
    names: Sequence[str],
    *,
    label: str | None = None,
    shown: Sequence[str],
) -> Prompting:
    background = text_of(request, "background_shows") or shown[0]
    if background not in shown:
        raise RequestFault(f"background_shows must be one of {', '.join(shown)}, got {short(background)}.")
    return Prompting(
        clicks=_read_clicks(request, lists, names, label),
        label=label,
        propagate=_read_propagate(request.get("propagate")),
        background=background,
    )


def _read_clicks(
    request: Mapping[str, Any], lists: Mapping[str, Any], names: Sequence[str], label: str | None
) -> Clicks | None:
    roi, negative = request.get("roi"), request.get(BACKGROUND)
    said = {name: {"positive": given} for name, given in lists.items()}
    if roi:
        boxed = label or _class_meant(request.get("label"), names, ())
        said.setdefault(boxed, {})["boxes"] = [roi]
    if negative:
        said[BACKGROUND] = {"negative": negative}
    if not said:
        return None
    _refuse_many([*lists.values(), negative])
    try:
        content = {"labels": said, "space": request.get("space") or "voxel"}
        return read_clicks(content, names=[*names, BACKGROUND])
    except ValueError as error:
        raise RequestFault(cut(str(error), 300), status=422) from error


def _refuse_many(lists: Sequence[Any]) -> None:
    count = sum(len(given) for given in lists if isinstance(given, list))
    if count > CLICK_LIMIT:
        raise RequestFault(f"{count} clicks are too many; a request takes at most {CLICK_LIMIT}.", status=422)


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


def _read_propagate(given: Any) -> bool | int:
    if given in (None, ""):
        return False
    if isinstance(given, bool) or (isinstance(given, int) and given >= 1):
        return given
    raise RequestFault(
        f"propagate must be true, false or how many slices a side, 1 or more; got {short(given)}."
    )
