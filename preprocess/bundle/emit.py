"""A plan becomes a MONAI bundle: templates filled with the plan's values.

What the plan says enters the configs as data (`base.config_values`): every expression and every component of a config
is fixed text of a template, or made by `bundle.transforms` and `bundle.augmentation` of numbers and checked words.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pgsam_monai.base.capabilities import METADATA_KEY, PATCHES, REQUESTS, Capabilities
from pgsam_monai.base.config_values import as_data
from pgsam_monai.base.edits import PLANNED, planned_digests
from pgsam_monai.base.files import write_text
from pgsam_monai.base.labels import shown
from pgsam_monai.base.replacing import backup_name
from pgsam_monai.base.trained_for import planned_in, stamp_in
from pgsam_monai.base.training_facts import FILE
from pgsam_monai.base.weights import asks_with_maps, clip_record
from preprocess.bundle.augmentation import patch_augmentation
from preprocess.bundle.json_text import json_text
from preprocess.bundle.metadata import SCHEMA, bundle_metadata, large_files
from preprocess.bundle.partial import FULL, is_partial, partial_values
from preprocess.bundle.transforms import (
    augmentation_transforms,
    cleaning_transform,
    evaluation_postprocessing,
    mirrored_inferer,
    postprocessing_transforms,
    preprocessing_transforms,
    with_mirroring,
)
from preprocess.networks.declared import FOLDER as NETWORKS
from preprocess.networks.declared import capabilities
from preprocess.networks.declared import settings as declared_settings
from preprocess.rules.mirroring import is_sided

TEMPLATES = Path(__file__).parent / "templates"
FACTS = f"configs/{FILE}"
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train")
COMMON_SETTINGS = {
    "about": "",
    "ablation": "",
    "train_handlers": [],
    "trainer_options": {},
    "evaluator_options": {},
    "item_options": {},
    "loss": "deep_supervision_loss",
    "deep_supervision": "same",
    "loss_options": {},
    "slice_options": {},
    "kept_towers": "both towers",
}
"""A paragraph for the bundle's README, what that says of the ablations, handlers of the training engine, its further
arguments and those of the evaluators, what else the items of datasets hold, the loss (a file of templates/parts), how
it weighs a network's outputs, its further arguments, those of training slices and inferer alike, and what a checkpoint
holds of CLIP: what a network without such settings has."""


def bundle_name(plan: Mapping, network: str) -> str:
    return f"{network}_{plan['dataset']['name']}"


def emit_bundle(
    plan: Mapping, splits: Mapping, network: str, folder: Path, facts: Mapping | None = None
) -> Path:
    """Write the bundle of one network of a plan; trained models and stores already in the folder stay.

    Args:
        plan: contents of plan.json.
        splits: contents of splits.json.
        network: a key of the plan's configurations.
        folder: the bundle's folder, `bundles/<network>_<dataset>`. A config that a person has edited and that
            would change is kept beside the new one as `<name>.bak`, `.bak2`, ….
        facts: contents of training_facts.json; None where nothing was measured, and then none is left there.

    Returns:
        the folder.
    """
    files = bundle_files(plan, splits, network, facts)
    for name, text in files.items():
        _write(folder / name, text)
    former = folder / FACTS
    if FACTS not in files and former.is_file():
        former.rename(backup_name(former))
    _tell_of_other_weights(folder)
    return folder


def _tell_of_other_weights(folder: Path) -> None:
    """Weights of another plan stay where they are, and answer nothing."""
    planned = planned_in(folder)
    for file in sorted((folder / "models").glob("*.pt")):
        trained = stamp_in(file)
        if trained and (differing := trained.differences(planned)):
            told = "; ".join(f"{name} {before}, now {now}" for name, before, now in differing)
            print(
                f"'{file}' was trained for another plan ({told}) and won't be used; train the bundle again."
            )


def bundle_files(
    plan: Mapping, splits: Mapping, network: str, facts: Mapping | None = None
) -> dict[str, str]:
    """Every file of the bundle by relative path, as text; the same plan gives the same bytes."""
    values = bundle_values(plan, network, partial=is_partial(plan, splits))
    files = {f"configs/{name}.json": json_text(fill(_template(f"{name}.json"), values)) for name in CONFIGS}
    for overlay in sorted((NETWORKS / network / "ablations").glob("*.json")):
        files[f"configs/{overlay.name}"] = overlay.read_text()
    planned = decided(plan, network)
    if capabilities(network).texts:
        files["configs/texts.json"] = json_text(
            {name: planned["texts"][name] for name in planned["label_names"]}
        )
    metadata = bundle_metadata(plan, network, name=bundle_name(plan, network), values=planned)
    written = {f"{name}.json": files[f"configs/{name}.json"] for name in CONFIGS}
    metadata[METADATA_KEY][PLANNED] = planned_digests(written)
    files["configs/metadata.json"] = json_text(metadata)
    files["configs/logging.conf"] = (TEMPLATES / "logging.conf").read_text()
    files["configs/splits.json"] = json_text(splits)
    files["configs/plan.json"] = json_text(plan)
    if facts is not None:
        files[FACTS] = json_text(facts)
    files[f"configs/{SCHEMA}"] = (TEMPLATES / SCHEMA).read_text()
    files["docs/README.md"] = _readme(plan, splits, network)
    files["LICENSE"] = (TEMPLATES / "LICENSE").read_text()
    clip = (
        None if _reader(planned) else clip_record(planned.get("clip_model", ""), planned.get("clip_weights"))
    )
    if downloads := large_files(planned.get("weights"), clip):
        files["large_files.yml"] = downloads
    return files


def bundle_values(plan: Mapping, network: str, *, partial: bool = False) -> dict[str, Any]:
    """What the templates' {{placeholders}} stand for; `partial`: there are cases with partial labels."""
    planned, settings, can = decided(plan, network), _settings(network), capabilities(network)
    values = {name: as_data(value) for name, value in _data(plan, network, planned).items()}
    sided = is_sided(planned["label_names"], plan["dataset"])
    values |= {
        "preprocessing": preprocessing_transforms(planned | {"ignore": plan["dataset"].get("ignore")}),
        "augmentation": with_mirroring(
            _augmentation(planned, can, sided=sided), planned, seen=can.input, sided=sided
        ),
        "mirrored_inferer": mirrored_inferer(planned, sided),
        "cleaning": cleaning_transform(planned),
        "sentence_encoder": _sentence_encoder(values),
        "prompt_maps": {"prompt_maps": True} if asks_with_maps(planned.get("weights")) else {},
        "evaluation_postprocessing": evaluation_postprocessing(planned, values["label_names"]),
        "inference_postprocessing": postprocessing_transforms(planned, "@output_dir"),
    }
    for schedule in ("schedule_epochs", "stage_epochs"):
        if planned.get(schedule) == planned["epochs"]:
            values[schedule] = "@epochs"  # so that `--epochs N` shortens it as well
    for name, content in settings.items():
        values[name] = fill(content, values)
    values["dice_ce"] = _template("parts/dice_ce.json")
    values["loss"] = fill(_template(f"parts/{settings['loss']}.json"), values)
    values |= FULL
    if partial:
        values |= partial_values(values, can, ignore=plan["dataset"].get("ignore"))
    values |= fill(_template(f"parts/{can.input}.json"), values)
    values["network_def"] = fill(json.loads((NETWORKS / network / "network.json").read_text()), values)
    return values


def _augmentation(planned: Mapping[str, Any], can: Capabilities, *, sided: bool) -> dict[str, Any]:
    if can.input == PATCHES:
        return patch_augmentation(planned["augmentation"], planned["patch"], sided=sided)
    return augmentation_transforms(planned["augmentation"], planned["image_size"])


def _data(plan: Mapping, network: str, planned: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates are told of the plan, none of it a component or an expression."""
    labels, names = planned["labels"], planned["label_names"]
    return {
        "weights": None,  # networks without SAM decide on none
        "protocol": "mm",
        "sampling": "linear",  # networks that take prompts, and those of patches, decide on none
        **planned,
        "bundle_name": bundle_name(plan, network),
        "dataset_dir": plan["dataset"]["folder"],
        "in_channels": len(plan["dataset"]["channels"]),
        "num_classes": len(labels) - 1,
        "label_values": plan["dataset"].get("regions") or dict(zip(names[1:], labels[1:], strict=True)),
        "class_indices": {name: index for index, name in enumerate(names)},
    }


def _sentence_encoder(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a network whose texts another model than CLIP reads."""
    if values.get("text_encoder") is None:
        return {}
    file = "$@bundle_root + '/configs/text_embeddings.safetensors'"
    return {"text_encoder": values["text_encoder"], "embeddings_file": file}


def _reader(planned: Mapping[str, Any]) -> str | None:
    """What reads a network's texts where CLIP does nothing."""
    looks = planned.get("image_prior", "none") != "none"
    return None if looks else planned.get("text_encoder")


def _settings(network: str) -> dict[str, Any]:
    """What a network alone puts into the templates: networks/<network>/settings.json over the common contents."""
    return {f"{config}_settings": {} for config in CONFIGS} | COMMON_SETTINGS | declared_settings(network)


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


def _ablations(network: str) -> dict[str, dict[str, Any]]:
    """Overlay -> part of the network -> what the overlay sets it to."""
    overlays = sorted((NETWORKS / network / "ablations").glob("*.json"))
    return {
        overlay.stem: {
            key.partition("#")[2].replace("_", " "): value
            for key, value in json.loads(overlay.read_text()).items()
        }
        for overlay in overlays
    }


def _readme(plan: Mapping, splits: Mapping, network: str) -> str:
    settings, values = _settings(network), decided(plan, network)
    entries = {**plan["decisions"], **plan["configurations"][network]}
    return _readme_template().render(
        plan=plan,
        subjects=splits.get("subjects"),
        network=network,
        name=bundle_name(plan, network),
        entries=entries,
        about=settings["about"],
        ablation=settings["ablation"],
        kept_towers=settings["kept_towers"],
        answers_requests=capabilities(network).texts == REQUESTS,
        reader=_reader(values),
        ablations=_ablations(network),
        values=values,
        texts=plan["decisions"]["texts"]["value"] if capabilities(network).texts else None,
    )


@cache
def _readme_template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, finalize=_inert,
    )  # fmt: skip
    environment.filters |= {"cell": _table_cell, "values": shown}
    return environment.get_template("README.md.j2")


def _inert(value: Any) -> Any:
    """What a plan says shows as text in any viewer of Markdown, which would take `<` for markup."""
    from markupsafe import Markup

    return value.replace("<", "&lt;") if isinstance(value, str) and not isinstance(value, Markup) else value


def _table_cell(texts: str | list[str]) -> Any:
    """Alternatives of a text, one below the other, in one cell of a table."""
    from markupsafe import Markup

    lines = texts if isinstance(texts, list) else [texts]
    cells = [_inert(re.sub(r"\s*\n\s*", " ", line.replace("|", "/"))) for line in lines]
    return Markup("<br>".join(cells))


def _template(name: str) -> Any:
    return json.loads((TEMPLATES / name).read_text())


def _write(path: Path, text: str) -> None:
    if path.is_file():
        if path.read_text(encoding="utf-8") == text:
            return
        shutil.copyfile(path, backup_name(path))
    write_text(path, text)
