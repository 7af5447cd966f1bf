"""A table in Markdown that is there as far as it goes, whenever the machine is taken away."""

from __future__ import annotations

from pathlib import Path


class Table:
    """Prints rows and appends them to a file, each at once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        self._write("| step | what | result | s |\n|---|---|---|---|")

    def add(self, step: str, what: str, result: str, seconds: float) -> None:
        cells = (step, what, result, f"{seconds:.0f}")
        self._write("| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |")

    def _write(self, lines: str) -> None:
        print(lines, flush=True)
        with self.file.open("a") as out:
            out.write(lines + "\n")
