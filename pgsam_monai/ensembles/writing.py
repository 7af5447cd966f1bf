"""The files of an ensemble's bundle, of those of its networks' bundles."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgsam_monai import __version__
from pgsam_monai.base.capabilities import ENSEMBLE, METADATA_KEY, SEVERAL, Capabilities
from pgsam_monai.base.edits import PLANNED, planned_digests
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import visible, write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.replacing import backup_name
from pgsam_monai.base.trained_for import KEY, TrainedFor
from pgsam_monai.base.training_facts import FILE as FACTS
from pgsam_monai.ensembles.configs import TEXTS, ensemble_configs, texts_name
from pgsam_monai.ensembles.members import Source

COPIED = ("configs/splits.json", "configs/logging.conf", f"configs/{FACTS}", "LICENSE")
"""from the first network's bundle, where it has them"""
SCHEMAS = "meta_schema_*.json"
METADATA = "configs/metadata.json"
"""What tells an ensemble's folder from others, hence what is written first."""
RESULTS = "eval/out_of_fold"
"""All that lies there while networks are chosen."""


def require_place(folder: Path, read: Sequence[Path]) -> None:
    """Raise UserFault where an ensemble's bundle would lie among other files: another bundle's, or anything else."""
    place = folder.resolve()
    for source in read:
        if place.is_relative_to(source.resolve()):
            where = "one" if place == source.resolve() else "a folder of one"
            raise UserFault(
                f"--output {folder} is {where} of the bundles that are put together; choose another folder."
            )
    if (folder / METADATA).is_file():
        content = read_json(folder / METADATA, remedy="choose another --output")
        if content.get(METADATA_KEY, {}).get("network") != ENSEMBLE:
            raise UserFault(f"--output {folder} is another bundle; choose another folder, or move it away.")
        return
    begun = (folder / RESULTS).is_dir()
    if folder.is_dir() and not begun and visible(folder):
        raise UserFault(f"--output {folder} holds other files; choose a new folder.")


def ensemble_files(
    sources: Sequence[Source], name: str, text: Callable[[Mapping[str, Any]], str]
) -> dict[str, str]:
    """Every file of the bundle by relative path, but for weights and results; the same sources give the same bytes.

    Args:
        sources: the networks that are in it.
        name: the bundle's.
        text: makes a config's text.
    """
    first = sources[0].bundle
    configs = ensemble_configs(
        [source.bundle.config("inference.json") for source in sources],
        first.config("train.json"),
        first.config("evaluate.json"),
        names=[source.name for source in sources],
        members=[len(source.models) for source in sources],
        bundle_name=name,
        orientations=[source.planned.orientation for source in sources],
    )
    texts = {file: text(content) for file, content in configs.items()}
    metadata = _metadata(sources, name)
    metadata[METADATA_KEY][PLANNED] = planned_digests(texts)
    files = {METADATA: text(metadata)} | {f"configs/{file}": content for file, content in texts.items()}
    files["configs/plan.json"] = text(_plan(sources))
    for place, source in enumerate(sources):
        if TEXTS in source.bundle.config("inference.json"):
            own = Path(source.bundle.content(TEXTS))
            files[f"configs/{texts_name(place)}"] = own.read_text(encoding="utf-8")
    copied = [first.folder / file for file in COPIED] + sorted((first.folder / "configs").glob(SCHEMAS))
    for file in copied:
        if file.is_file():
            files[str(file.relative_to(first.folder))] = file.read_text(encoding="utf-8")
    files["docs/README.md"] = _readme(sources, name)
    return files


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write them; what lies there with another content is kept beside, as `base.replacing.backup_name` calls it."""
    for name, content in files.items():
        file = folder / name
        if file.is_file() and file.read_text(encoding="utf-8") != content:
            shutil.copyfile(file, backup_name(file))
        write_text(file, content)


def _metadata(sources: Sequence[Source], name: str) -> dict[str, Any]:
    """The first network's metadata.json, of the ensemble."""
    records = [source.bundle.config("metadata.json") for source in sources]
    packages: dict[str, str] = {}
    for record in records:
        packages = record["required_packages_version"] | packages
    first, can = sources[0].planned, sources[0].bundle.capabilities
    title = "Ensemble of " + ", ".join(
        _counted(source, source.bundle.capabilities.title) for source in sources
    )
    planned = TrainedFor(
        network=ENSEMBLE, dataset=first.dataset, labels=first.labels, channels=first.channels,
        orientation=first.orientation, intensity=first.intensity, size=[], spacing=None, fit=None, stack_depth=1,
    )  # fmt: skip
    capabilities = Capabilities(
        network=ENSEMBLE, title=title, input=can.input if len(sources) == 1 else SEVERAL
    )
    return {
        **records[0],
        "changelog": {records[0]["version"]: f"made by pgsam ensemble {__version__}"},
        "required_packages_version": packages,
        "name": name,
        "description": f"{title} on data set '{first.dataset}', put together by pgsam ensemble; see docs/README.md.",
        METADATA_KEY: {**capabilities.to_json(), KEY: planned.to_json()},
    }


def _plan(sources: Sequence[Source]) -> dict[str, Any]:
    """The first network's plan.json, with the ensemble as the one network, and axes that all were trained to mirror."""
    plans = [source.bundle.config("plan.json") for source in sources]
    plan = copy.deepcopy(plans[0])
    mirrored = [each["decisions"].get("mirror", {}).get("value", []) for each in plans]
    if "mirror" in plan["decisions"]:
        plan["decisions"]["mirror"]["value"] = [
            axis for axis in mirrored[0] if all(axis in each for each in mirrored)
        ]
    members = {source.name: len(source.models) for source in sources}
    reason = (
        "Networks, and how many members of each, that pgsam ensemble has put together; see ensemble.json."
    )
    decision = {"value": members, "reason": reason, "source": "pgsam ensemble"}
    return plan | {"configurations": {ENSEMBLE: {"members": decision}}}


def _counted(source: Source, title: str) -> str:
    return title if len(source.models) == 1 else f"{len(source.models)} x {title}"


def _readme(sources: Sequence[Source], name: str) -> str:
    members = "\n".join(
        f"| {source.name} | {source.bundle.capabilities.title} | {len(source.models)} |" for source in sources
    )
    return f"""# {name}

Networks that answer together, by the mean of their class probabilities: of a network's members first, then of the
networks. Put together by `pgsam ensemble`; `configs/ensemble.json` says which weights these are, by their hashes, and
how good each way to put them together was on cases that the members who answered had not been trained on. Where that
was measured, `pgsam predict … --summary` tells which Dice to expect, by `configs/confidence.json`.

| bundle | network | members |
|---|---|---|
{members}

A bundle is code: its configs name Python functions that are called. Run bundles only from people you trust.

```
pgsam predict bundles/{name} scan.nii.gz predictions
pgsam evaluate bundles/{name} --part test
python -m monai.bundle run inferring --config_file bundles/{name}/configs/inference.json
```

`models/model.pt` holds the tensors of all members. The ensemble isn't trained itself: train the bundles of its
networks, then put them together anew. `pgsam export` takes it where all members are of one network.
"""
