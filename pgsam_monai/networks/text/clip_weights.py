"""Weights of a CLIP model: random, from a file, or published and downloaded by open_clip."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn

from pgsam_monai.base.errors import UserFault, did_you_mean, nearest_few
from pgsam_monai.base.files import sha256_of
from pgsam_monai.base.weights import CLIP_WEIGHTS, OPENAI, QUICK_GELU, clip_record
from pgsam_monai.networks.text.clip_models import FOLDER, HUB, HUB_URL, ClipModel
from pgsam_monai.networks.text.hub import hub_access
from pgsam_monai.weights.files import default_weights_dir, load_weights, resolve_weights
from pgsam_monai.weights.torchscript import code_holds, is_torchscript

logger = logging.getLogger(__name__)

OWN = "pretrained"
"""What names the weights that lie in a "local-dir:" folder or an "hf-hub:" repository."""

OWN_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names under which open_clip's repositories keep their weights, the best first."""

NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""What OpenAI's archives hold beside weights: numbers of the model, and the mask that makes its text tower causal."""

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def cache_folder(weights_dir: str | None) -> Path:
    """Where open_clip's downloads are kept."""
    return (Path(weights_dir).expanduser() if weights_dir else default_weights_dir()) / "cache"


def published_tag(name: str, weights: str | None) -> str | None:
    """`weights` if open_clip knows it as a tag of the model `name`, OpenAI's if it is one of our names, else None."""
    import open_clip

    weights = OPENAI if weights in CLIP_WEIGHTS else weights
    return weights if weights and open_clip.is_pretrained_cfg(name, weights) else None


def wants_quick_gelu(name: str, weights: str | None) -> bool:
    """Whether weights were trained with OpenAI's approximate GELU (all of OpenAI's were).

    A tag or name says so, a file's hash if it is OpenAI's, and else a TorchScript archive's code. Of another file
    nobody knows; where its model is made in both ways, that is said.
    """
    import open_clip

    if clip_record(name, weights):
        return True
    if tag := published_tag(name, weights):
        return bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
    if not weights or not (file := Path(weights).expanduser()).is_file():
        return False
    if is_torchscript(file):
        return _is_openais(file) or (
            code_holds(file, "torch.sigmoid(") and not code_holds(file, "torch.gelu(")
        )
    if f"{name}{QUICK_GELU}" in open_clip.list_models():
        logger.warning(
            "CLIP: '%s' doesn't say which GELU it was trained with; %s has the exact one. If it is OpenAI's, give "
            "clip_model %s%s.", weights, name, name, QUICK_GELU,
        )  # fmt: skip
    return False


def _is_openais(file: Path) -> bool:
    """Whether a file is one that OpenAI published."""
    size = file.stat().st_size
    return any(
        record.size_bytes == size and record.sha256 == sha256_of(file) for record in CLIP_WEIGHTS.values()
    )


def load_clip_weights(network: nn.Module, model: ClipModel, weights: str | None, *, cache: Path) -> None:
    """Fill open_clip's `network` in place.

    Args:
        network: what `build_clip` built, as it came.
        model: its description.
        weights: None for the random ones it has; a file with a state dict (safetensors or torch.save) or OpenAI's own
            archive; a name of `CLIP_WEIGHTS` or the tag "openai" for the same, downloaded and checked by hash; another
            tag, that open_clip downloads, or "pretrained" for a folder's or repository's own.
        cache: the folder that keeps downloads.

    Raises:
        UserFault: no such file or tag, no connection, or the weights are another model's; the message
            names the remedy.
    """
    if weights is None:
        logger.info("CLIP: %s starts from random weights (clip_weights: null).", model.name)
        return
    file = _locate(model, weights, cache)
    _load_file(network, model, file)
    logger.info("CLIP: %s starts from %s.", model.name, file)


def _locate(model: ClipModel, weights: str, cache: Path) -> Path:
    file = Path(weights).expanduser()
    if file.is_file():
        return file
    if (record := clip_record(model.name, weights)) is not None:
        return resolve_weights(record.name, weights_dir=cache.parent)
    if weights == OWN and model.folder is not None:
        return _own_file(model.folder)
    if weights == OWN and model.name.startswith(HUB):
        return _download({"hf_hub": f"{model.name.removeprefix(HUB)}/"}, model, weights, cache)
    if published_tag(model.name, weights):
        import open_clip

        return _download(open_clip.get_pretrained_cfg(model.name, weights), model, weights, cache)
    raise _unknown(model, weights)


def _own_file(folder: Path) -> Path:
    for name in OWN_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserFault(
        f"CLIP model '{FOLDER}{folder}': none of {', '.join(OWN_FILES)} is in that folder; copy the one of the "
        "model's repository there, or give its path as clip_weights."
    )


def _download(record: dict, model: ClipModel, weights: str, cache: Path) -> Path:
    """The file of a record of open_clip's table, from the cache or from its publisher."""
    import open_clip

    logger.info("CLIP: %s '%s' comes from %s.", model.name, weights, _source(record)[1])
    try:
        with hub_access():
            return Path(open_clip.download_pretrained(record, cache_dir=str(cache)))
    except Exception as error:  # the hub's client and urllib each raise their own kinds
        name, page = _source(record)
        raise UserFault(
            f"CLIP weights '{weights}' of '{model.name}' are not in '{cache}' and could not be downloaded "
            f"({type(error).__name__}); fetch {name} from {page} on a machine that can, copy it here and give "
            "its path as clip_weights."
        ) from error


def _source(record: dict) -> tuple[str, str]:
    """File name and page of a record of open_clip's table."""
    repository, _, name = record.get("hf_hub", "").rpartition("/")
    if repository:
        return name or OWN_FILES[0], f"{HUB_URL}/{repository}"
    return record["url"].rsplit("/", 1)[-1], record["url"]


def _unknown(model: ClipModel, weights: str) -> UserFault:
    """Neither a file nor a tag: what was meant, most likely."""
    import open_clip

    if weights.endswith(SUFFIXES) or "/" in weights:
        return UserFault(
            f"CLIP weights file '{weights}' does not exist; give the path of a state dict of '{model.name}', "
            "or null for random weights."
        )
    if model.folder is not None or model.name.startswith(HUB):
        known = [OWN]
    else:
        known = open_clip.list_pretrained_tags_by_model(model.name)
    hint = did_you_mean(weights, known)
    others = [name for name in open_clip.list_pretrained_models_by_tag(weights) if name != model.name]
    if others and not hint:
        hint = f" '{weights}' belongs to {', '.join(nearest_few(model.name, others, cutoff=0.0))}."
    return UserFault(
        f"CLIP weights '{weights}' are neither an existing file nor published for '{model.name}' "
        f"({', '.join(known) or 'which has none'}).{hint} Give the path of a file, or null for random weights."
    )


def _load_file(network: nn.Module, model: ClipModel, file: Path) -> None:
    import open_clip

    try:
        if is_torchscript(file):
            network.load_state_dict(_openai_state(file))
        else:
            open_clip.load_checkpoint(network, str(file), strict=True, weights_only=True)
    except Exception as error:  # of reading, of converting, of loading: each library has its own kinds
        if "loading state_dict" in str(error):
            fault = f"is another model's than '{model.name}' ({_differences(error)})"
        else:
            reason = " ".join(str(error).split())[:160]
            fault = f"can't be read as plain tensors of '{model.name}' ({type(error).__name__}: {reason})"
        raise UserFault(f"CLIP weights '{file}': the file {fault}. {_remedy(model)}") from error


def _openai_state(file: Path) -> dict[str, Tensor]:
    """A state dict of open_clip's CustomTextCLIP from an archive as OpenAI publishes it."""
    from open_clip.model import convert_to_custom_text_state_dict

    state = {
        name: value for name, value in load_weights(file).items() if name.rpartition(".")[2] not in NO_WEIGHTS
    }
    return convert_to_custom_text_state_dict(state)


def _differences(error: Exception) -> str:
    """The first of torch's lines, which name missing, unknown and misshapen entries."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()[1:]]
    return "; ".join(line[:120] for line in lines[:2])


def _remedy(model: ClipModel) -> str:
    """Where the right file is published."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model.name)
    if not tags:
        return "Save the state dict of this very model with torch.save or as safetensors."
    name, page = _source(open_clip.get_pretrained_cfg(model.name, tags[0]))
    return f"Take a state dict of this very model, such as {name} from {page} ('{tags[0]}')."
