"""The pretrained weights that a bundle names for MONAI's downloads, as its large_files.yml."""

from __future__ import annotations

from pgsam_monai.base.weights import KNOWN_WEIGHTS


def large_files(weights: str | None) -> str | None:
    """The large_files.yml of a bundle that starts from those weights; None where there is nothing to download: of a
    package's weights, of a file's, of none, and where no hash is known."""
    known = KNOWN_WEIGHTS.get(weights)
    if known is None or known.package or not known.sha256:
        return None
    lines = [
        "large_files:",
        f"- path: weights/{known.file_name}",
        f"  url: {known.url}",
        f"  hash_val: {known.sha256}",
        "  hash_type: sha256",
    ]
    return "\n".join(lines) + "\n"
