"""The CLIP models that open_clip can build: finding one by name, and building its parts without weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pgsam_monai.base.errors import UserFault, nearest_few
from pgsam_monai.base.json_files import read_json
from pgsam_monai.networks.text.hub import hub_access
from pgsam_monai.networks.text.tokens import Tokenizer

TINY = "clip_tiny"
FOLDER = "local-dir:"
HUB = "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
HUB_URL = "https://huggingface.co"
BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
DEFAULT_CONTEXT = 77


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """One model, described but not built."""

    name: str
    """as the user wrote it"""
    config: Mapping[str, Any]
    """open_clip's description of both towers"""
    pixel_mean: tuple[float, float, float]
    """of the images that it was trained on, on the 0..1 scale"""
    pixel_std: tuple[float, float, float]
    """likewise"""
    folder: Path | None = None
    """where a "local-dir:" model's files lie"""


def find_clip_model(name: str, *, tag: str | None = None, cache: Path) -> ClipModel:
    """Describe the model called `name`.

    Args:
        name: an open_clip name, "clip_tiny", "local-dir:FOLDER" or "hf-hub:ORGANISATION/NAME".
        tag: the published weights that it will get, whose pixel statistics it then takes; without one, those
            that all its published weights share, else OpenAI's.
        cache: the folder that keeps downloads.

    Raises:
        UserFault: unknown name, or a folder's or a repository's description is not there or can't be downloaded.
    """
    import open_clip

    if name.startswith(FOLDER):
        folder = Path(name.removeprefix(FOLDER)).expanduser()
        return _described_by(_folder_config(folder), name=name, folder=folder)
    if name.startswith(HUB):
        return _described_by(_hub_config(name.removeprefix(HUB), cache), name=name)
    if name == TINY:
        config = json.loads(Path(__file__).with_name(f"{TINY}.json").read_text(encoding="utf-8"))
    else:
        config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        near = nearest_few(name, [TINY, *open_clip.list_models()])
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserFault(
            f"clip_model must be {TINY}, a name in open_clip.list_models() such as ViT-B-32-quickgelu, "
            f"{FOLDER}FOLDER or {HUB}ORGANISATION/NAME, got '{name}'.{hint}"
        )
    mean, std = _published_statistics(name, tag)
    return ClipModel(name=name, config=config, pixel_mean=mean, pixel_std=std)


def build_clip(model: ClipModel, *, quick_gelu: bool = False) -> nn.Module:
    """open_clip's network with random weights, its towers as `visual` and `text`.

    Args:
        model: what `find_clip_model` found.
        quick_gelu: use OpenAI's approximate GELU even where the model's description does not.

    Raises:
        UserFault: the text tower's own description is on the Hugging Face hub, and can't be downloaded.
    """
    import open_clip

    config = {key: value for key, value in model.config.items() if key != "custom_text"}
    text, vision = dict(config["text_cfg"]), dict(config["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    source = text.get("hf_model_name")
    if source is not None:
        source = str(model.folder) if _holds_text_tower(model.folder) else source
        text |= {"hf_model_name": source, "hf_model_pretrained": False}
    config |= {"text_cfg": text, "vision_cfg": vision}
    config["quick_gelu"] = bool(config.get("quick_gelu")) or quick_gelu
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    if source is None:
        return kind(**config)
    try:
        with hub_access():
            return kind(**config)
    except OSError as error:  # transformers' own, when it finds no description of the text tower
        raise _missing_text_files(model, source, "config.json") from error


def load_tokenizer(model: ClipModel, *, cache: Path) -> Tokenizer:
    """The model's own tokenizer, with its own context length.

    Raises:
        UserFault: its files are neither here nor can they be downloaded.
    """
    import open_clip

    text = model.config["text_cfg"]
    context_length = int(text.get("context_length", DEFAULT_CONTEXT))
    if model.name == TINY:
        return Tokenizer(_clips_vocabulary(), context_length)
    name = f"{FOLDER}{model.folder}" if model.folder else model.name
    try:
        if "hf_tokenizer_name" not in text:
            return Tokenizer(open_clip.get_tokenizer(name), context_length)
        with hub_access():
            encode = open_clip.get_tokenizer(name, cache_dir=str(cache))
    except Exception as error:  # transformers, tokenizers and the hub's client each raise their own kinds
        source = text.get("hf_tokenizer_name") or model.name
        raise _missing_text_files(model, source, "tokenizer.json and tokenizer_config.json") from error
    return Tokenizer(encode, context_length)


@functools.cache
def _clips_vocabulary() -> Any:
    """open_clip's tokenizer for CLIP's own models, one for all networks: reading it takes a good part of a second."""
    import open_clip

    return open_clip.SimpleTokenizer()


def _described_by(content: Mapping[str, Any], *, name: str, folder: Path | None = None) -> ClipModel:
    """A model from the content of its open_clip_config.json."""
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    config, pixels = content.get("model_cfg", {}), content.get("preprocess_cfg", {})
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise UserFault(
            f"CLIP model '{name}': its {CONFIG_FILE} lacks model_cfg with embed_dim, vision_cfg and "
            f"text_cfg; take the file of an open_clip model, such as {HUB_URL}/{BIOMEDCLIP}."
        )
    return ClipModel(
        name=name,
        config=config,
        pixel_mean=tuple(pixels.get("mean", OPENAI_DATASET_MEAN)),
        pixel_std=tuple(pixels.get("std", OPENAI_DATASET_STD)),
        folder=folder,
    )


def _folder_config(folder: Path) -> Mapping[str, Any]:
    file = folder / CONFIG_FILE
    try:
        return read_json(file, remedy="fetch it again")
    except (OSError, ValueError) as error:
        raise UserFault(
            f"CLIP model '{FOLDER}{folder}': '{file}' can't be read ({type(error).__name__}); put the files "
            f"of an open_clip repository, such as {HUB_URL}/{BIOMEDCLIP}, into that folder."
        ) from error


def _hub_config(repository: str, cache: Path) -> Mapping[str, Any]:
    from open_clip.pretrained import download_pretrained_from_hf

    try:
        with hub_access():
            file = download_pretrained_from_hf(repository, filename=CONFIG_FILE, cache_dir=str(cache))
        return read_json(file, remedy="fetch it again")
    except Exception as error:  # the hub's client raises many kinds
        raise UserFault(
            f"CLIP model '{HUB}{repository}': {CONFIG_FILE} could not be downloaded ({type(error).__name__}); "
            f"fetch the files of {HUB_URL}/{repository} on a machine that can, copy them into a folder here "
            f"and give clip_model '{FOLDER}FOLDER'."
        ) from error


def _published_statistics(name: str, tag: str | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels for the tag, or for all tags where they agree."""
    import open_clip

    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(name)
    records = [open_clip.get_pretrained_cfg(name, each) for each in tags]
    found = {(tuple(record["mean"]), tuple(record["std"])) for record in records}
    if len(found) == 1:
        return found.pop()
    return tuple(open_clip.OPENAI_DATASET_MEAN), tuple(open_clip.OPENAI_DATASET_STD)


def _holds_text_tower(folder: Path | None) -> bool:
    """Whether a "local-dir:" folder describes its own Hugging Face text tower."""
    return folder is not None and (folder / "config.json").is_file()


def _missing_text_files(model: ClipModel, source: str, files: str) -> UserFault:
    repository = source.removeprefix(HUB)
    where = f"into '{model.folder}'" if model.folder else f"beside the model's {CONFIG_FILE} in a folder"
    then = "" if model.folder else f", and give clip_model '{FOLDER}FOLDER'"
    return UserFault(
        f"CLIP model '{model.name}': the text tower's {files} ({repository}) are neither here nor could they "
        f"be downloaded; fetch them from {HUB_URL}/{repository} on a machine that can, copy them {where}{then}."
    )
