"""A plan becomes a MONAI bundle: templates filled with the plan's values.

Dataset, class and file names enter the configs as JSON data only, class names as keys, since MONAI would evaluate a
value that starts with `$`; every `$` expression is fixed text of a template.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess import __version__
from preprocess.label_values import shown
from preprocess.large_files import LARGE_FILES, large_files
from preprocess.rules import TEXT_READERS
from preprocess.rules.encoders import TINY_VITS
from preprocess.transforms import (
    augmentation_transforms,
    cleaning_transforms,
    postprocessing_transforms,
    preprocessing_transforms,
)

TEMPLATES = Path(__file__).parent / "templates"
SCHEMA = "meta_schema_20240725.json"
SCHEMA_URL = f"https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/{SCHEMA}"
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train")
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

COMMON_SETTINGS = {
    "about": "",
    "ablation": "",
    "train_handlers": [],
    "trainer_options": {},
    "deep_supervision": "same",
    "loss_options": {},
    "slice_options": {},
}
"""A paragraph for the bundle's README, what that says of the ablations, handlers of the training engine, its further
arguments, how the loss weighs a network's outputs, that loss's further arguments, and those of training slices and
inferer alike: what a network without settings of its own has."""

NETWORK_PACKAGES = {
    "pgsam": {"open_clip_torch": "3.0"},
    "swinunetr": {"einops": "0.8"},
    "unetr": {"einops": "0.8"},
}
"""What a network requires besides."""


def bundle_name(plan: Mapping, network: str) -> str:
    return f"{network}_{plan['dataset']['name']}"


def emit_bundle(plan: Mapping, splits: Mapping, network: str, folder: Path) -> Path:
    """Write the bundle of one network of a plan; trained models and stores already in the folder stay.

    Args:
        plan: contents of plan.json.
        splits: contents of splits.json.
        network: a key of the plan's configurations.
        folder: the bundle's folder, `bundles/<network>_<dataset>`. A config that a person has edited and that
            would change is kept beside the new one as `<name>.bak`.

    Returns:
        the folder.
    """
    for name, text in bundle_files(plan, splits, network).items():
        _write(folder / name, text)
    return folder


def bundle_files(plan: Mapping, splits: Mapping, network: str) -> dict[str, str]:
    """Every file of the bundle by relative path, as text; the same plan gives the same bytes."""
    values = bundle_values(plan, network)
    files = {
        f"configs/{name}.json": _json(fill(_template(f"bundle/{name}.json"), values)) for name in CONFIGS
    }
    for overlay in sorted((TEMPLATES / "overlays" / network).glob("*.json")):
        files[f"configs/{overlay.name}"] = overlay.read_text()
    if network in TEXT_READERS:
        files["configs/texts.json"] = _json({name: values["texts"][name] for name in values["label_names"]})
    files["configs/metadata.json"] = _json(bundle_metadata(plan, network))
    files["configs/logging.conf"] = (TEMPLATES / "bundle/logging.conf").read_text()
    files["configs/splits.json"] = _json(splits)
    files["configs/plan.json"] = _json(plan)
    files[f"configs/{SCHEMA}"] = (TEMPLATES / SCHEMA).read_text()
    files["docs/README.md"] = _readme(plan, network)
    files["LICENSE"] = (TEMPLATES / "bundle/LICENSE").read_text()
    if values["weights"] in LARGE_FILES:
        files["large_files.yml"] = large_files(values["weights"])
    return files


def bundle_values(plan: Mapping, network: str) -> dict[str, Any]:
    """What the templates' {{placeholders}} stand for."""
    values = {"weights": None} | decided(plan, network)  # networks without SAM decide on none
    labels, names = values["labels"], values["label_names"]
    values |= {
        "bundle_name": bundle_name(plan, network),
        "dataset_dir": plan["dataset"]["folder"],
        "in_channels": len(plan["dataset"]["channels"]),
        "num_classes": len(labels) - 1,
        "label_values": dict(zip(names[1:], labels[1:], strict=True)),
        # Names as keys: MONAI evaluates values that start with $, never keys.
        "class_indices": {name: index for index, name in enumerate(names)},
        "protocol": values.get("protocol", "mm"),
        "preprocessing": preprocessing_transforms(values),
        "augmentation": augmentation_transforms(values["augmentation"]),
        "cleaning": cleaning_transforms(values),
        "evaluation_postprocessing": postprocessing_transforms(values, "@prediction_dir"),
        "inference_postprocessing": postprocessing_transforms(values, "@output_dir"),
    }
    for schedule in ("schedule_epochs", "stage_epochs"):
        if values.get(schedule) == values["epochs"]:
            values[schedule] = "@epochs"  # so that `--epochs N` shortens it as well
    for name, content in _settings(network).items():
        values[name] = fill(content, values)
    values["network_def"] = fill(_template(f"networks/{network}.json"), values)
    values["inferer"] = {
        "_target_": "pgsam_monai.inferers.SliceInferer",
        "image_size": "@image_size",
        "fit": "@fit",
        "batch_size": values["inference_batch_size"],
        "precision": "@precision",
        **values["slice_options"],
    }
    return values


def _settings(network: str) -> dict[str, Any]:
    """What a network alone puts into the templates: settings/<network>.json over the common contents."""
    common = {f"{config}_settings": {} for config in CONFIGS} | COMMON_SETTINGS
    own = TEMPLATES / f"settings/{network}.json"
    return common | (json.loads(own.read_text()) if own.is_file() else {})


def decided(plan: Mapping, network: str) -> dict[str, Any]:
    """The plan's bare values: those shared by all networks, then the network's own."""
    entries = {**plan["decisions"], **plan["configurations"][network]}
    return {name: entry["value"] for name, entry in entries.items()}


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Replace every string that is exactly "{{name}}" by that value, anywhere in a JSON structure.

    An entry "{{name}}": "{{name}}" becomes the entries of that value, a dict; a "{{name}}" in a list becomes the
    items of that value, if that is a list.

    Raises:
        KeyError: the template names a value that the plan does not hold.
    """
    if isinstance(template, dict):
        filled: dict[str, Any] = {}
        for key, item in template.items():
            content = fill(item, values)
            filled |= content if _is_placeholder(key) else {key: content}
        return filled
    if isinstance(template, list):
        items = [(item, fill(item, values)) for item in template]
        spliced = [
            content if _is_placeholder(item) and isinstance(content, list) else [content]
            for item, content in items
        ]
        return [item for several in spliced for item in several]
    return values[template[2:-2]] if _is_placeholder(template) else template


def _is_placeholder(text: Any) -> bool:
    return isinstance(text, str) and text.startswith("{{") and text.endswith("}}")


def bundle_metadata(plan: Mapping, network: str) -> dict[str, Any]:
    """metadata.json: versions, texts and the tensors that go in and come out."""
    values, dataset = decided(plan, network), plan["dataset"]
    names = values["label_names"]
    shape = [values["image_size"]] * 2 + [_slices(values.get("stack_depth", 1))]
    structures = ", ".join(names[1:])
    return {
        "schema": SCHEMA_URL,
        "version": __version__,
        "changelog": {__version__: f"planned by {plan['created_by']}"},
        **MINIMUM_VERSIONS,
        "required_packages_version": _required_packages(network, values.get("backbone")),
        "name": bundle_name(plan, network),
        "task": f"Segmentation of {structures} ({values['modality']})",
        "description": f"{network} on data set '{dataset['name']}', configured by its fingerprint; see docs/README.md.",
        "authors": "the person who planned this bundle with pgsam-monai",
        "copyright": "see LICENSE; the data set's own terms apply to the data and to what is learnt from it",
        "data_source": f"data set '{dataset['name']}', layout {dataset['layout']}",
        "data_type": dataset["file_format"],
        "image_classes": ", ".join(dataset["channels"]),
        "label_classes": ", ".join(f"{shown(v)} = {n}" for v, n in zip(values["labels"], names, strict=True)),
        "pred_classes": ", ".join(f"{i} = {n}" for i, n in enumerate(names)),
        "eval_metrics": {},
        "intended_use": "Research; not a medical device.",
        "references": [],
        "network_data_format": {
            "inputs": {"image": _tensor("image", shape, dataset["channels"])},
            "outputs": {"pred": _tensor("segmentation", shape, names)},
        },
    }  # fmt: skip


def _ablations(network: str) -> dict[str, dict[str, Any]]:
    """Overlay -> part of the network -> what the overlay sets it to."""
    overlays = sorted((TEMPLATES / "overlays" / network).glob("*.json"))
    return {
        overlay.stem: {
            key.partition("#")[2].replace("_", " "): value
            for key, value in json.loads(overlay.read_text()).items()
        }
        for overlay in overlays
    }


def _required_packages(network: str, backbone: str | None) -> dict[str, str]:
    needed = {
        name: least for name, least in REQUIRED_PACKAGES.items() if backbone or name not in SAM_PACKAGES
    }
    tiny = TINY_VIT_PACKAGES if backbone in TINY_VITS else {}
    return needed | NETWORK_PACKAGES.get(network, {}) | tiny


def _slices(stack_depth: int) -> str:
    """How many slices a network takes, in MONAI's words: any number, or full stacks."""
    return "*" if stack_depth == 1 else f"{stack_depth} * n"


def _tensor(kind: str, shape: list[int | str], channels: list[str]) -> dict[str, Any]:
    return {
        "type": "image" if kind == "image" else "probabilities",
        "format": kind,
        "num_channels": len(channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(channels)},
    }


def _readme(plan: Mapping, network: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "bundle"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"cell": _table_cell, "values": shown}
    entries = {**plan["decisions"], **plan["configurations"][network]}
    return environment.get_template("README.md.j2").render(
        plan=plan,
        network=network,
        name=bundle_name(plan, network),
        entries=entries,
        about=_settings(network)["about"],
        ablation=_settings(network)["ablation"],
        ablations=_ablations(network),
        values=decided(plan, network),
        texts=plan["decisions"]["texts"]["value"] if network in TEXT_READERS else None,
    )


def _table_cell(texts: str | list[str]) -> str:
    lines = texts if isinstance(texts, list) else [texts]
    return "<br>".join(line.replace("|", "/").replace("\n", " ") for line in lines)


def _template(name: str) -> Any:
    return json.loads((TEMPLATES / name).read_text())


def _json(content: Any) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    if path.is_file():
        if path.read_text(encoding="utf-8") == text:
            return
        shutil.copyfile(path, path.with_name(path.name + ".bak"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
