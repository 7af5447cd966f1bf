"""A file of texts of cases: `configs/case_texts.json` of a bundle, or one for images to predict.

    {"case_1": {"spleen": "Enlarged, …", "liver": ["…", "…"]}, "case_1/12": {"spleen": "…"}}

An entry is a case, or a slice of it: its index from 0 along the last axis of the preprocessed volume. What a slice
leaves out is as its case has it; what that leaves out, as the bundle's texts.json has it for the class.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault, did_you_mean
from pgsam_monai.base.files import write_text
from pgsam_monai.base.json_files import read_json
from pgsam_monai.base.replacing import backup_name

CASE_TEXTS_FILE = "configs/case_texts.json"
TEXT = {"type": "string", "pattern": r"\S"}
TEXTS = {"anyOf": [TEXT, {"type": "array", "minItems": 1, "items": TEXT}]}
SCHEMA = {"additionalProperties": {"type": "object", "additionalProperties": TEXTS}}
REMEDY = "correct it, or write it anew with pgsam describe --each"

CaseTexts = dict[str, dict[str, list[str]]]
"""entry -> class name -> alternative texts"""


def entry_name(case: str, index: int | None = None) -> str:
    """Of a case, or of its slice `index`. Names of cases hold no slash."""
    return case if index is None else f"{case}/{index}"


def read_case_file(file: str | Path, names: Sequence[str]) -> CaseTexts:
    """The texts of a file; `names` are those of the bundle's classes, background first.

    Raises:
        MissingFile: there is none.
        DamagedFile: it holds something else.
        UserFault: a class that the bundle doesn't have.
    """
    content = read_json(file, remedy=REMEDY, schema=SCHEMA)
    for entry, texts in content.items():
        for name in texts:
            if name not in names:
                raise UserFault(
                    f"File of texts '{file}', '{entry}': the bundle has no class '{name}'.{did_you_mean(name, names)} "
                    f"It has: {', '.join(names)}."
                )
    return {
        entry: {name: [given] if isinstance(given, str) else list(given) for name, given in texts.items()}
        for entry, texts in content.items()
    }


def write_case_file(file: str | Path, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Write it, whole or not at all; what was there stays beside it as .bak, .bak2, …

    Entries without texts are left out.
    """
    content = {
        entry: {name: given[0] if len(given) == 1 else list(given) for name, given in of_classes.items()}
        for entry, of_classes in texts.items()
        if of_classes
    }
    if Path(file).exists():
        shutil.copyfile(file, backup_name(file))
    write_text(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def merged(
    old: CaseTexts, new: Mapping[str, Mapping[str, str]], *, asked: Sequence[str], append: bool
) -> CaseTexts:
    """The file's texts with new ones in.

    Args:
        old: of the file.
        new: entry -> class name -> text, of what was described now.
        asked: classes that were asked about; of described entries they lose their old texts,
        append: unless these are to stay, beside the new ones.
    """
    whole = {entry: dict(texts) for entry, texts in old.items()}
    for entry, texts in new.items():
        before = whole.get(entry, {})
        kept = {name: given for name, given in before.items() if append or name not in asked}
        whole[entry] = kept | {
            name: list(dict.fromkeys([*kept.get(name, ()), text])) for name, text in texts.items()
        }
    return {entry: texts for entry, texts in whole.items() if texts}
