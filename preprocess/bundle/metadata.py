"""A bundle's metadata.json, and its large_files.yml: what it requires, what it is for, the tensors of its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsam_monai.base.capabilities import METADATA_KEY, PATCHES, Capabilities
from pgsam_monai.base.config_values import SYNTAX
from pgsam_monai.base.labels import shown
from pgsam_monai.base.trained_for import KEY, TrainedFor
from pgsam_monai.base.weights import KNOWN_WEIGHTS, Weights
from preprocess import __version__
from preprocess.networks.declared import capabilities, settings
from preprocess.rules.encoders import TINY_VITS

SCHEMA = "meta_schema_20240725.json"
SCHEMA_URL = f"https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/{SCHEMA}"
MINIMUM_VERSIONS = {"monai_version": "1.6.1", "pytorch_version": "2.10.0", "numpy_version": "2.0.0"}
REQUIRED_PACKAGES = {
    "pgsam-monai": __version__,
    "segment-anything": "1.0",
    "peft": "0.18",
    "nibabel": "5.3",
    "SimpleITK": "2.4",
    "blosc2": "3.0",
    "pytorch-ignite": "0.5",
    "tensorboard": "2.18",
}
SAM_PACKAGES = ("segment-anything", "peft")
"""Those of REQUIRED_PACKAGES that networks without SAM do without."""

TINY_VIT_PACKAGES = {"timm": "1.0"}
"""What TinyViT's backbones require besides."""


def bundle_metadata(
    plan: Mapping[str, Any], network: str, *, name: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """metadata.json: versions, texts, the tensors that go in and come out, what the network can do and is trained for.

    Args:
        plan: contents of plan.json.
        network: a key of its configurations.
        name: the bundle's.
        values: what was decided for the network, shared decisions included.
    """
    dataset, names, can = plan["dataset"], values["label_names"], capabilities(network)
    shape, is_patch = _shape(can, values), can.input == PATCHES
    structures = ", ".join(names[1:])
    return {
        "schema": SCHEMA_URL,
        "version": __version__,
        "changelog": {__version__: f"planned by {plan['created_by']}"},
        **MINIMUM_VERSIONS,
        "required_packages_version": _required_packages(network, values.get("backbone")),
        "name": name,
        "task": f"Segmentation of {structures} ({values['modality']})",
        "description": f"{network} on data set '{dataset['name']}', configured by its fingerprint; see docs/README.md.",
        "authors": "the person who planned this bundle with pgsam-monai",
        "copyright": "see LICENSE; the data set's own terms apply to the data and to what is learnt from it",
        "data_source": f"data set '{dataset['name']}', layout {dataset['layout']}",
        "data_type": dataset["file_format"],
        "image_classes": _quoted(", ".join(dataset["channels"])),
        "label_classes": ", ".join(f"{shown(v)} = {n}" for v, n in zip(values["labels"], names, strict=True)),
        "pred_classes": ", ".join(f"{i} = {n}" for i, n in enumerate(names)),
        "eval_metrics": {},
        "intended_use": "Research; not a medical device.",
        "references": [],
        "network_data_format": {
            "inputs": {"image": _tensor("image", shape, dataset["channels"], is_patch=is_patch)},
            "outputs": {"pred": _tensor("segmentation", shape, names, is_patch=is_patch)},
        },
        METADATA_KEY: {**can.to_json(), KEY: TrainedFor.planned(plan, network, values).to_json()},
    }  # fmt: skip


def _required_packages(network: str, backbone: str | None) -> dict[str, str]:
    needed = {
        name: least for name, least in REQUIRED_PACKAGES.items() if backbone or name not in SAM_PACKAGES
    }
    tiny = TINY_VIT_PACKAGES if backbone in TINY_VITS else {}
    return needed | settings(network).get("packages", {}) | tiny


def _shape(can: Capabilities, values: Mapping[str, Any]) -> list[int | str]:
    """Rows, columns and slices that go in: a patch, or squares, however many."""
    if can.input == PATCHES:
        return list(values["patch"])
    return [values["image_size"]] * 2 + [_slices(values["stack_depth"] if can.stacks else 1)]


def _slices(stack_depth: int) -> str:
    """How many slices a network takes, in MONAI's words: any number, or full stacks."""
    return "*" if stack_depth == 1 else f"{stack_depth} * n"


def _tensor(kind: str, shape: list[int | str], channels: list[str], *, is_patch: bool) -> dict[str, Any]:
    return {
        "type": "image" if kind == "image" else "probabilities",
        "format": kind,
        "num_channels": len(channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": is_patch,
        "channel_def": {str(index): _quoted(name) for index, name in enumerate(channels)},
    }


def _quoted(name: str) -> str:
    """MONAI looks up a text of the metadata that begins with % as it does in configs."""
    return f"'{name}'" if SYNTAX.search(name) else name


def large_files(weights: str | None, clip: Weights | None = None) -> str | None:
    """The large_files.yml of a bundle that starts from those weights of SAM's, and of CLIP's; None where there is
    nothing to download: of weights that ship with this package or come with another, of a file's, of none, and where no
    hash is known."""
    named = (KNOWN_WEIGHTS.get(str(weights)), clip)
    known = [
        record for record in named if record and record.sha256 and not (record.shipped or record.package)
    ]
    lines = ["large_files:"] if known else []
    for record in known:
        lines += [
            f"- path: weights/{record.file_name}",
            f"  url: {record.url}",
            f"  hash_val: {record.sha256}",
            "  hash_type: sha256",
        ]
    return "\n".join(lines) + "\n" if lines else None
