"""What clicks do in a bundle, and the file of it that says so: `configs/corrections.json`.

Written by `evaluation.interaction.choice` where both ways were measured; a person may edit it, or delete it, and then
clicks spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgsam_monai.base.json_files import read_json

if TYPE_CHECKING:
    from pgsam_monai.bundle import Bundle

FILE = "corrections.json"
SPREADING, ASKING = CORRECTIONS = ("spread", "ask")
"""See `segmenter.Segmenter`."""
REMEDY = "delete it, and clicks spread, or measure both ways again with pgsam evaluate BUNDLE --interaction"
SCHEMA = {
    "required": ["corrections"],
    "properties": {"schema_version": {"const": 1}, "corrections": {"enum": list(CORRECTIONS)}},
}


def chosen_way(bundle: Bundle) -> str:
    """One of `CORRECTIONS`: what the bundle's `FILE` says; "spread" where there is none.

    Raises:
        DamagedFile: it isn't what it must be.
    """
    file = bundle.config_file(FILE)
    return read_json(file, remedy=REMEDY, schema=SCHEMA)["corrections"] if file.is_file() else SPREADING
