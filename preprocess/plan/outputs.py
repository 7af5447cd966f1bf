"""Where a plan's files lie, and how their JSON is laid out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgsam_monai.base.files import write_text
from pgsam_monai.base.training_facts import FILE


@dataclass(frozen=True)
class PlanFolder:
    """plans/<data set>/"""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def pristine(self) -> Path:
        """The plan as it was written, by which later edits by hand are recognised."""
        return self.path / ".plan_as_written.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def training_facts(self) -> Path:
        """What training will have seen, in ranges; with it a plan makes the same bundles where the data aren't."""
        return self.path / FILE

    @property
    def fingerprint(self) -> Path:
        return self.path / "fingerprint.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def measured(self) -> Path:
        """Facts of single cases, by which a killed run resumes."""
        return self.path / ".facts"


def write_json(path: Path, content: Any) -> None:
    """Writes `path` whole or not at all; short lists stay on one line."""
    write_text(path, dump_json(content) + "\n")


def dump_json(content: Any, indent: int = 0) -> str:
    """JSON indented by 2, containers that fit into 100 characters on one line; the same content gives
    the same text."""
    flat = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, dict | list) or not content or len(flat) + indent <= 100:
        return flat
    inner = " " * (indent + 2)
    if isinstance(content, dict):
        lines = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {dump_json(v, indent + 2)}"
            for key, v in content.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    return (
        "[\n"
        + ",\n".join(inner + dump_json(item, indent + 2) for item in content)
        + "\n"
        + " " * indent
        + "]"
    )
