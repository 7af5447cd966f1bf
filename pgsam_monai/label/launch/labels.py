"""What `--labels` says, checked: the structures that are clicked on where no bundle knows them yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgsam_monai.base.planes import PLANES
from pgsam_monai.label.own_bundles import WEIGHTS

BOTH_WAYS = (
    "Nothing to serve was named. With trained bundles: pgsam label bundles/samed_spleen --studies /data/studies. From "
    "nothing, by clicks and boxes, naming what you are going to label: pgsam label --studies /data/studies --labels "
    "liver,spleen."
)
LONGEST = 100
"""characters of a name"""


def faults_of_labels(
    labels: Sequence[str],
    window: tuple[float, ...] | None,
    bundles: Iterable[str],
    plane: str | None = None,
) -> list[str]:
    """Faults of `--labels`, `--window` and `--plane`, in sentences.

    Args:
        labels: names of the structures.
        window: low and high grey value.
        bundles: names of the bundles that are served, too.
        plane: of the slices.
    """
    if not labels:
        given = {"--window": window, "--plane": plane}
        return [
            f"{name} goes with --labels; a bundle knows its own."
            for name, one in given.items()
            if one is not None
        ]
    faults = [fault for name in labels if (fault := _fault_of_name(name))]
    plain = [name.casefold() for name in labels]
    twice = [name for place, name in enumerate(labels) if name.casefold() in plain[:place]]
    faults += [f"--labels names '{name}' twice, capitals don't count; leave one out." for name in twice]
    if window is not None and window[0] >= window[1]:
        faults.append(
            f"--window takes the lower grey value first, as in -160,240; got {window[0]:g},{window[1]:g}."
        )
    if plane is not None and plane not in PLANES[:-1]:
        faults.append(f"--plane is {', '.join(PLANES[:-1])}; got {plane!r}.")
    if WEIGHTS in bundles:
        faults.append(
            f"With --labels the models of our weights are called {WEIGHTS}, as one of the bundles is; link that one "
            "under another name: ln -s BUNDLE OTHER_NAME."
        )
    return faults


def _fault_of_name(name: str) -> str | None:
    """Why clients couldn't say what they mean by it."""
    from pgsam_monai.label.tasks.inference_request import NO_CLICKS  # late: it brings torch

    if not name.isprintable() or len(name) > LONGEST or not any(letter.isalnum() for letter in name):
        return (
            f"--labels: {name!r} is no name; give letters, at most {LONGEST} signs, as in liver,left kidney."
        )
    if name.casefold() in NO_CLICKS or "scribbles" in name.casefold():
        return f"--labels: '{name}' means something else to viewers; call the structure otherwise."
    return None
