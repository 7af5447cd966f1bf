"""The configs of an ensemble's bundle, made of those of its networks' bundles.

What all share (preprocessing, labels, cases) stands where every bundle has it. What a network has for itself stands as
an entry of the list `networks`, word for word but for its references: "@image_size" becomes "@networks#0#image_size".
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pgsam_monai.base.config_values import as_data
from pgsam_monai.bundle import SEEN
from pgsam_monai.metrics.cases import without_papers

ENTRY = re.compile(r"@(\w+)")
"""what a reference begins with, at the beginning of a text or within an expression"""
PARTS = ("network_def", "inferer")
"""of a bundle's inference.json, what a network has for itself, with all that they refer to"""
INFERENCE_ALONE = (
    "dataset", "dataloader", "postprocessing", "handlers", "evaluator", "initialize", "inferring", "run", "mirror",
    "mirrored_inferer",
)  # fmt: skip
"""of inference.json, what evaluating has of its own"""
NO_TRAINING = "pgsam_monai.ensembles.no_training.refuse_training"
TURNED = "pgsam_monai.inference.turning.TurnedInferer"
TEXTS, PRETRAINED = "texts_file", "weights"
SHARED = (
    "bundle_name", "bundle_root", "dataset_dir", "device", "precision", "labels", "num_classes", "weights_dir",
    "class_indices",
)  # fmt: skip
"""what a network refers to and bundles of any network have: where it is the same as the first one's, it stands once"""

Config = Mapping[str, Any]


def ensemble_configs(
    inference: Sequence[Config], train: Config, evaluate: Config, *, names: Sequence[str], members: Sequence[int],
    bundle_name: str, orientations: Sequence[str],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """train.json, evaluate.json and inference.json of an ensemble, by name.

    Args:
        inference: each network's inference.json.
        train, evaluate: the first one's.
        names: of the networks' bundles.
        members: of each network how many there are.
        bundle_name: of the ensemble.
        orientations: axis codes that each network sees; volumes are read in the first one's.
    """
    networks = [
        {"bundle": as_data(name), **_along(_own(config, inference[0], place), own, orientations[0])}
        for place, (name, config, own) in enumerate(zip(names, inference, orientations, strict=True))
    ]
    numbers = range(len(networks))
    whole = {
        "network_def": {
            "_target_": "pgsam_monai.networks.ensemble.Ensemble",
            "networks": [f"@networks#{place}#network_def" for place in numbers],
            "members": list(members),
        },
        "inferer": {
            "_target_": "pgsam_monai.inference.ensemble.EnsembleInferer",
            "members": [f"@networks#{place}#inferer" for place in numbers],
        },
    }
    placed = _placed(inference[0], networks, whole) | {"bundle_name": as_data(bundle_name)}
    evaluating = copy.deepcopy(dict(evaluate))
    evaluating["protocol"] = without_papers(evaluating["protocol"])
    evaluating["evaluate"]["handlers"] = _without_sizes(evaluating["evaluate"]["handlers"])
    for name in [name for name, value in evaluating.items() if value is None and name not in placed]:
        del evaluating[name]  # such as pretrained weights, which only training looks for
    common = {name: content for name, content in placed.items() if name not in INFERENCE_ALONE}
    training = common | {
        "output_dir": train["output_dir"], "seed": train["seed"], "training": [{"_target_": NO_TRAINING}],
        "run": ["$@training"],
    }  # fmt: skip
    return {"train.json": training, "evaluate.json": evaluating, "inference.json": placed}


def texts_name(place: int) -> str:
    """The file of the texts that a network of an ensemble reads, by the network's place."""
    return f"texts_{place}.json"


def _placed(first: Config, networks: Sequence[Config], whole: Config) -> dict[str, Any]:
    """The first network's inference.json with the ensemble's entries, and without what is a network's own."""
    own = {name for network in networks for name in network} - {*PARTS, *SHARED} | {PRETRAINED}
    placed: dict[str, Any] = {}
    for name, content in first.items():
        if name == "network_def":
            placed["networks"] = list(networks)
        if name not in own:
            placed[name] = copy.deepcopy(whole.get(name, content))
    placed["handlers"] = _without_sizes(placed["handlers"])
    return placed


def _own(config: Config, first: Config, place: int) -> dict[str, Any]:
    """A network's part, its references to what it has for itself turned there."""
    used = _closure(config, PARTS)
    own = [
        entry
        for entry in config
        if entry in (*PARTS, *SEEN) or (entry in used and _is_own(entry, config, first))
    ]
    content = {entry: config[entry] for entry in own}
    if TEXTS in content:
        content[TEXTS] = f"$@bundle_root + '/configs/{texts_name(place)}'"
    return {entry: _turned(value, place, own) for entry, value in content.items()}


def _along(network: dict[str, Any], own: str, volume: str) -> dict[str, Any]:
    """A network's part, its inferer turned where it sees other axes than the volumes that are read."""
    if own == volume:
        return network
    turned = {"_target_": TURNED, "inferer": network["inferer"], "own": own, "volume": volume}
    return network | {"inferer": turned}


def _is_own(entry: str, config: Config, first: Config) -> bool:
    return entry not in SHARED or config[entry] != first.get(entry)


def _closure(config: Config, begin: Collection[str]) -> set[str]:
    """All entries that these refer to, directly or through others."""
    found: set[str] = set()
    left = set(begin)
    while left:
        entry = left.pop()
        found.add(entry)
        left |= {name for name in _references(config[entry]) if name in config} - found
    return found


def _references(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from _references(item)
    elif isinstance(content, str) and content.startswith(("@", "$")):
        yield from ENTRY.findall(content)


def _turned(content: Any, place: int, own: Collection[str]) -> Any:
    if isinstance(content, Mapping):
        return {key: _turned(item, place, own) for key, item in content.items()}
    if isinstance(content, list):
        return [_turned(item, place, own) for item in content]
    if not isinstance(content, str) or not content.startswith(("@", "$")):
        return content
    return ENTRY.sub(lambda found: f"@networks#{place}#{found[1]}" if found[1] in own else found[0], content)


def _without_sizes(handlers: Sequence[Config]) -> list[dict[str, Any]]:
    """The handlers that load the weights, whose stamp says nothing of sizes: each network has its own."""
    return [dict(handler) | ({"seen": {}} if "seen" in handler else {}) for handler in handlers]
