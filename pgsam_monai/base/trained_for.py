"""What a network is trained for: written by planning into the bundle, by training into the weights, compared on load.

Weights of another data set's classes, or of another view of the images, would answer all the same, and wrongly.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pgsam_monai.base.capabilities import METADATA_KEY
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.labels import shown

KEY = "trained_for"
"""in metadata.json below METADATA_KEY, and in the description that a network keeps in its state dict"""
SMALL = 1 << 18
"""bytes of an entry of a weights file that may be a description"""
REMEDY = "train the bundle again, or plan under another --name and leave these weights to theirs"


@dataclass(frozen=True, kw_only=True)
class TrainedFor:
    """All that decides what a network's input and output mean; nothing of how long, how fast or on which disk."""

    network: str
    """its name in plans"""
    dataset: str
    """the data set's name"""
    labels: list[str]
    """value and name of each class, in order, the background first: "0 = background" """
    channels: list[str]
    """number and name of each of the images', numbered so that no name begins the text"""
    orientation: str
    """axis codes of rows, columns and slices; "" for pictures"""
    intensity: dict[str, Any]
    """how grey values come to 0…1"""
    size: list[int]
    """pixels of the square slices, or voxels of the patch, that the network sees"""
    spacing: list[float] | None
    """mm per voxel of patches; None for slices"""
    fit: str | None
    """how slices come to their size; None for patches"""
    stack_depth: int
    """slices that see each other"""
    sampling: str = "linear"
    """how grey values are found at that size, as `voxels.frame.VIA` has it for slices"""

    @classmethod
    def planned(cls, plan: Mapping[str, Any], network: str, values: Mapping[str, Any]) -> TrainedFor:
        """By the contents of plan.json and the values that were decided for the network."""
        patch = values.get("patch")
        return cls.from_json(
            {
                "network": network,
                "dataset": plan["dataset"]["name"],
                "labels": [
                    f"{shown(v)} = {n}" for v, n in zip(values["labels"], values["label_names"], strict=True)
                ],
                "channels": [f"{number} = {name}" for number, name in enumerate(plan["dataset"]["channels"])],
                "orientation": values["orientation"] or "",
                "intensity": dict(values["intensity"]),
                "size": list(patch) if patch else [values["image_size"]] * 2,
                "spacing": values["spacing"] if patch else None,
                "fit": None if patch else values["fit"],
                "stack_depth": values.get("stack_depth", 1),
                "sampling": values.get("sampling", "linear"),
            }
        )

    @classmethod
    def from_json(cls, content: Any) -> TrainedFor:
        """As `to_json` gave it. Raises TypeError for anything else."""
        return cls(**json.loads(json.dumps(content)))

    def seeing(
        self, *, image_size: int | None = None, patch: Sequence[int] | None = None,
        fit: str | None = None, sampling: str = "linear", spacing: Sequence[float] | None = None,
    ) -> TrainedFor:  # fmt: skip
        """The same with what a config, which may be edited or overridden, says of slices (`image_size`, `fit`,
        `sampling`) or of patches (`patch`, `spacing`)."""
        square = [] if image_size is None else [image_size] * 2
        size = square if patch is None else list(patch)
        own = None if spacing is None else list(spacing)
        return replace(self, size=size, fit=fit, sampling=sampling, spacing=own)

    def to_json(self) -> dict[str, Any]:
        """As it stands in files."""
        return asdict(self)

    def differences(self, other: TrainedFor) -> list[tuple[str, str, str]]:
        """What `other` has otherwise: field, its content here, its content there, both for people."""
        own, others = self.to_json(), other.to_json()
        return [
            (name, _told(own[name], others[name]), _told(others[name], own[name]))
            for name in own
            if own[name] != others[name]
        ]


class OtherPlan(UserFault):
    """Weights were trained for something else than the bundle is planned for."""


def check_trained_for(planned: TrainedFor, weights: TrainedFor | None, *, source: str) -> None:
    """Raise OtherPlan, naming what differs, unless the weights were trained for what is planned.

    Args:
        planned: of the bundle.
        weights: of the weights; None if they don't say.
        source: what messages call the weights, at the beginning of a sentence.
    """
    if weights is None:
        raise OtherPlan(f"{source} doesn't say what it was trained for, so it may answer wrongly; {REMEDY}.")
    if differing := weights.differences(planned):
        told = "; ".join(f"{name} {theirs} (the bundle: {ours})" for name, theirs, ours in differing)
        raise OtherPlan(f"{source} was trained for another plan: {told}; {REMEDY}.")


def planned_in(bundle: str | Path) -> TrainedFor:
    """What a bundle's network is planned for, by its metadata.json; see `planned_by`."""
    file = Path(bundle) / "configs" / "metadata.json"
    return planned_by(read_json(file, remedy=_write_again(bundle)), bundle)


def planned_by(metadata: Mapping[str, Any], bundle: str | Path) -> TrainedFor:
    """What a bundle's network is planned for, by the content of its metadata.json.

    Raises:
        UserFault: the bundle is damaged, or of an older version.
    """
    content = metadata.get(METADATA_KEY)
    if not isinstance(content, Mapping) or KEY not in content:
        if not (Path(bundle) / "configs" / "plan.json").is_file():
            config = Path(bundle) / "configs" / "train.json"
            raise OtherPlan(
                f"Bundle '{bundle}' is of no plan: it segments no data set's structures. It trains by `python -m "
                f"monai.bundle run training --config_file {config}`."
            )
        raise OtherPlan(f"Bundle '{bundle}' was planned by an older version; {_write_again(bundle)}.")
    file = Path(bundle) / "configs" / "metadata.json"
    return made_of(content[KEY], TrainedFor.from_json, file=file, remedy=_write_again(bundle))


def _write_again(bundle: str | Path) -> str:
    return f"write the bundle again with pgsam-plan --from_plan {Path(bundle) / 'configs' / 'plan.json'}"


def stamp_in(weights: Path) -> TrainedFor | None:
    """What a weights file says that it was trained for, read without torch; None if it says nothing readable."""
    try:
        return TrainedFor.from_json((description_in(weights) or {})[KEY])
    except (KeyError, TypeError):
        return None


def description_in(weights: Path) -> dict[str, Any] | None:
    """What a network wrote of itself into a weights file, read without torch; None if nothing readable."""
    with suppress(OSError, ValueError, zipfile.BadZipFile), zipfile.ZipFile(weights) as archive:
        for entry in archive.infolist():
            if entry.file_size < SMALL and (content := archive.read(entry)).startswith(b'{"'):
                return json.loads(content)
    return None


def _told(content: Any, other: Any) -> str:
    """For people: of a list what `other` lacks, or all of it where only the order differs; of the rest everything."""
    if isinstance(content, list):
        return ", ".join(map(str, [each for each in content if each not in (other or [])] or content))
    if isinstance(content, Mapping):
        return " ".join(map(str, content.values()))
    return "none" if content in (None, "") else str(content)
