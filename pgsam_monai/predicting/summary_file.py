"""summary.json and summary.csv of a folder of predictions: what stands in them, and how it is laid out."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pgsam_monai.base.files import time_and_size, write_text
from pgsam_monai.base.json_files import DamagedFile, made_of, read_json
from pgsam_monai.base.replacing import keep_aside, note_written

JSON_FILE, CSV_FILE = FILES = ("summary.json", "summary.csv")
SCHEMA_VERSION = 1
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
POINT = {"type": ["array", "null"], "items": {"type": "number"}}
SCHEMA = {
    "required": ["schema_version", "runs", "cases", "failed"],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "runs": {
            "type": "array",
            "items": {"type": "object", "required": ["run", "weights_sha256"], "properties": {"run": TEXT}},
        },
        "cases": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["case", "run", "output", "warnings", "structures"],
                "properties": {
                    "case": TEXT,
                    "run": TEXT,
                    "output": TEXT,
                    "warnings": TEXTS,
                    "structures": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["structure", "warnings"],
                            "properties": {"structure": TEXT, "warnings": TEXTS, "centroid_mm": POINT},
                        },
                    },
                },
            },
        },
        "failed": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["case", "run", "reason"],
                "properties": {"case": TEXT, "run": TEXT, "reason": TEXT},
            },
        },
    },
}
ANEW = "it is begun anew"
JSON = {"ensure_ascii": False, "allow_nan": False}
COLUMNS = ("case", "structure", "value", "millilitres", "voxels", "pieces", "mean_intensity", "x_mm", "y_mm", "z_mm",
           "expected_dice", "expected_dice_error", "warnings", "image_warnings", "seconds", "output",
           "weights_sha256")  # fmt: skip


class SummaryFile:
    """What both files tell, kept in memory: read again only where another command has written, laid out as cases
    change."""

    def __init__(self, folder: str | Path) -> None:
        self.json, self.csv = (Path(folder) / name for name in FILES)
        self.runs: dict[str, dict[str, Any]] = {}
        self.cases: dict[str, dict[str, Any]] = {}
        """by name"""
        self.failed: dict[str, dict[str, Any]] = {}
        """likewise"""
        self._known: dict[Path, tuple[int, int]] = {}
        """both files as this command wrote them last"""
        self._laid_out: dict[str, tuple[str, str]] = {}

    def read(self) -> None:
        """What summary.json tells; what is damaged is kept aside, and all begins anew."""
        if self._is_known(self.json):
            return
        content = self._content() if self.json.exists() else {"runs": [], "cases": [], "failed": []}
        self.runs = {run["run"]: run for run in content["runs"]}
        self.cases, self.failed = (
            {entry["case"]: entry for entry in content[kind]} for kind in ("cases", "failed")
        )
        self._laid_out.clear()

    def set(self, case: str, entry: dict[str, Any] | None) -> None:
        """Replace what is told of a case that was predicted; None: nothing more."""
        self._laid_out.pop(case, None)
        if entry is None:
            self.cases.pop(case, None)
        else:
            self.cases[case] = entry

    def write(self) -> None:
        """Both files; what isn't as we wrote it last is kept aside. Runs of which nothing is told any more go."""
        told = {entry["run"] for entries in (self.cases, self.failed) for entry in entries.values()}
        self.runs = {name: run for name, run in self.runs.items() if name in told}
        for case, entry in self.cases.items():
            if case not in self._laid_out:
                self._laid_out[case] = _object(entry), self._rows(entry)
        laid_out = [self._laid_out[case] for case in self.cases]
        cases, rows = ([each[n] for each in laid_out] for n in (0, 1))
        runs = [json.dumps(run, indent=1, **JSON).replace("\n", "\n ") for run in self.runs.values()]
        parts = {"runs": runs, "cases": cases, "failed": [_object(entry) for entry in self.failed.values()]}
        body = ",\n".join(f'"{name}": {_list(entries)}' for name, entries in parts.items())
        self._replace(self.json, f'{{\n"schema_version": {SCHEMA_VERSION},\n{body}\n}}\n')
        self._replace(self.csv, ",".join(COLUMNS) + "\n" + "".join(rows))

    def _content(self) -> dict[str, Any]:
        try:
            content = read_json(self.json, remedy=ANEW, schema=SCHEMA)
            made_of(content, lambda whole: json.dumps(whole, **JSON), file=self.json, remedy=ANEW)
            return content
        except DamagedFile as fault:
            kept = keep_aside(self.json, ours_too=True)
            tqdm.write(f"note: {fault} What was there is kept as {kept}.", file=sys.stderr)
            return {"runs": [], "cases": [], "failed": []}

    def _replace(self, file: Path, text: str) -> None:
        if not self._is_known(file) and (kept := keep_aside(file)):
            tqdm.write(
                f"note: '{file}' is not what pgsam wrote there last; it is kept as {kept}.", file=sys.stderr
            )
        whole = text.encode("utf-8", "backslashreplace").decode("utf-8")  # of names that are no text
        note_written(write_text(file, whole))
        self._known[file] = time_and_size(file)

    def _is_known(self, file: Path) -> bool:
        return file in self._known and file.is_file() and time_and_size(file) == self._known[file]

    def _rows(self, entry: Mapping[str, Any]) -> str:
        """Of summary.csv, a line per structure."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="", lineterminator="\n")
        run = self.runs.get(entry["run"], {})
        shared = {
            **entry,
            "weights_sha256": run.get("weights_sha256"),
            "image_warnings": "; ".join(entry["warnings"]),
        }
        for each in entry["structures"]:
            place = dict(zip(("x_mm", "y_mm", "z_mm"), each.get("centroid_mm") or (), strict=False))
            means = " ".join(map(str, each.get("mean_intensity") or ()))
            row = {
                **shared,
                **each,
                **place,
                "mean_intensity": means,
                "warnings": "; ".join(each["warnings"]),
            }
            writer.writerow({name: "" if cell is None else cell for name, cell in row.items()})
        return text.getvalue()


def _object(entry: Mapping[str, Any]) -> str:
    """An entry in a line, but for its structures, which have one each."""
    line = json.dumps({name: item for name, item in entry.items() if name != "structures"}, **JSON)
    if not entry.get("structures"):
        return line
    structures = [json.dumps(each, **JSON) for each in entry["structures"]]
    return f'{line[:-1]}, "structures": {_list(structures, 2)}}}'


def _list(entries: list[str], spaces: int = 0) -> str:
    """Of entries that are JSON, each on a line of its own."""
    inside = ",\n".join(" " * (spaces + 1) + entry for entry in entries)
    return f"[\n{inside}\n{' ' * spaces}]" if entries else "[]"
