"""Which trained networks an ensemble can be made of, and which cases each member didn't see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.splits import by_subject, read_splits
from pgsam_monai.base.trained_for import TrainedFor, planned_by
from pgsam_monai.base.trained_on import trained_on
from pgsam_monai.bundle import Bundle
from pgsam_monai.data.splits import REMEDY
from pgsam_monai.evaluation.folds import FOLDER

AT = "@"
MOST_NETWORKS = 4
"""15 ways to put them together; more would be chosen by chance"""
ALIKE = ("labels", "channels", "intensity")
"""of `TrainedFor`, what all networks of an ensemble must have in common; a data set may have been planned under several
names, its cases are compared"""
AXES = "axcodes"
"""of preprocessing, by which axes a volume is read: each network may have its own"""


@dataclass(frozen=True)
class Source:
    """One network with its trained members: folds, seeds."""

    bundle: Bundle
    """opened with inference.json"""
    models: tuple[Path, ...]
    """their weights"""

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def planned(self) -> TrainedFor:
        return planned_by(self.bundle.config("metadata.json"), self.bundle.folder)

    @cached_property
    def splits(self) -> dict[str, Any]:
        """The content of its splits.json."""
        return read_splits(self.bundle.config_file("splits.json"), remedy=REMEDY)

    def read(self) -> None:
        """Read all that an ensemble is made of but the weights, so that what is missing shows before any work.

        Raises:
            UserFault: a config is missing or damaged.
        """
        for name in ("train.json", "evaluate.json", "plan.json"):
            self.bundle.config(name)
        self.splits  # noqa: B018

    def seen(self, model: Path) -> frozenset[str] | None:
        """The cases that a member was trained on, and all that show a subject of these; None where it isn't known."""
        cases = self.splits["cases"]
        learnt = trained_on(model, cases)
        if learnt is None:
            return None
        subjects = by_subject(cases, learnt)
        return frozenset(name for name, case in cases.items() if case.get("subject", name) in subjects)

    def unseen(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Case → places of the members that didn't train on it."""
        seen = [self.seen(model) for model in self.models]
        return {
            name: tuple(place for place, cases in enumerate(seen) if cases is not None and name not in cases)
            for name in names
        }


def read_sources(
    words: Sequence[str], *, device: str | None = None, dataset_dir: str | None = None
) -> list[Source]:
    """The networks that were named.

    Args:
        words: "BUNDLE", whose members are the models of the finished folds of its cross-validation or, where there is
            none, models/model.pt; or "BUNDLE@FOLDER", with another cross-validation's or a checkpoint folder, as it is
            or below the bundle's. Several words of one bundle are one network.
        device: where they compute; None: a GPU if there is one.
        dataset_dir: where the data set lies now; None: as planned.

    Raises:
        MissingFile: no bundle, or no weights.
        UserFault: too many networks, the same weights twice, an ensemble, or networks that differ in what they are for.
    """
    found: dict[Path, list[Path]] = {}
    for word in words:
        folder, place = _parted(word)
        found.setdefault(folder.resolve(), []).extend(find_models(folder, place))
    overrides = {} if dataset_dir is None else {"dataset_dir": dataset_dir}
    sources = [
        Source(Bundle(folder, device=device, overrides=overrides), tuple(models))
        for folder, models in found.items()
    ]
    for source in sources:
        source.read()
    _check(sources)
    return sources


def find_models(folder: Path, place: str | None = None) -> list[Path]:
    """The weights of a bundle's members, by `read_sources`' rule."""
    if place is None:
        single = folder / "models/model.pt"
        models = fold_models(folder / FOLDER) or ([single] if single.is_file() else [])
        if not models and (folder / "configs").is_dir():
            raise MissingFile(
                f"Bundle '{folder}' has neither finished folds nor models/model.pt; train it first: pgsam train "
                f"{folder} --folds all"
            )
        return models
    for there in (Path(place), folder / place):
        if (there / "model.pt").is_file():
            return [there / "model.pt"]
        if models := fold_models(there):
            return models
    raise MissingFile(
        f"'{folder}{AT}{place}': '{place}' holds neither model.pt nor finished folds; give the folder of a "
        "cross-validation or of checkpoints."
    )


def fold_models(folder: Path) -> list[Path]:
    """The weights of a cross-validation's finished folds, in their order."""
    done = [result.parent for result in folder.glob("fold_*/result.json")]
    models = [fold / "models/model.pt" for fold in sorted(done, key=lambda fold: (len(fold.name), fold.name))]
    return [model for model in models if model.is_file()]


def _parted(word: str) -> tuple[Path, str | None]:
    """A folder may have an @ in its name."""
    if Path(word).is_dir() or AT not in word:
        return Path(word), None
    folder, _, place = word.rpartition(AT)
    return Path(folder), place


def _check(sources: Sequence[Source]) -> None:
    if not sources:
        raise UserFault("ensemble: name at least one trained bundle.")
    if len(sources) > MOST_NETWORKS:
        raise UserFault(
            f"ensemble: {len(sources)} networks are too many to choose from, at most {MOST_NETWORKS}; leave out the "
            "weakest."
        )
    for source in sources:
        if not source.bundle.capabilities.trains:
            raise UserFault(
                f"{source.bundle} is an ensemble itself; name the bundles of its networks instead."
            )
        if len({model.resolve() for model in source.models}) < len(source.models):
            raise UserFault(f"ensemble: the same weights of '{source.name}' are named twice; name them once.")
    names = [source.name for source in sources]
    for name in (name for name in names if names.count(name) > 1):
        raise UserFault(f"ensemble: two bundles are called '{name}'; rename the folder of one.")
    for other in sources[1:]:
        _check_alike(sources[0], other)


def _check_alike(first: Source, other: Source) -> None:
    differing = [
        f"{name} ({ours}; {theirs})"
        for name, ours, theirs in first.planned.differences(other.planned)
        if name in ALIKE
    ]
    if not differing:
        configs = [
            _without_axes(source.bundle.config("inference.json"), source.planned.orientation)
            for source in (first, other)
        ]
        differing = [name for name in ("preprocessing", "labels", "mirror") if _differ(configs, name)]
        parts = [source.splits for source in (first, other)]
        listed = {"cases": "cases", "test": "test cases"}
        differing += [f"the {told} of splits.json" for name, told in listed.items() if _differ(parts, name)]
    if differing:
        raise UserFault(
            f"ensemble: '{first.name}' and '{other.name}' differ in {', '.join(differing)}; networks that answer "
            "together must see the same data set in the same way: plan them at once, pgsam-plan … --networks a,b."
        )


def _without_axes(content: Any, planned: str) -> Any:
    """Without the orientation that the stamp tells; a config edited to another keeps it, and differs."""
    if isinstance(content, Mapping):
        return {
            key: _without_axes(item, planned)
            for key, item in content.items()
            if (key, item) != (AXES, planned)
        }
    return [_without_axes(item, planned) for item in content] if isinstance(content, list) else content


def _differ(contents: Sequence[Mapping[str, Any]], entry: str) -> bool:
    # bundles of older versions lack what is empty since
    one, other = (content.get(entry) or None for content in contents)
    return one != other
