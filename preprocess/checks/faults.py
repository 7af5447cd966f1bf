"""A fault of a data set, and how a list of them is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgsam_monai.base.errors import UserFault

FATAL = "fatal"
"""Training would fail or learn nonsense; the case must be mended or left out."""
WARNING = "warning"
"""Training goes on; the person should know."""
MENDED = "mended"
"""Set right on the way, without a change to the files."""

_HEADINGS = {
    FATAL: ("FATAL", "must be mended, or the cases skipped (--skip_faulty)"),
    WARNING: ("WARNING", "goes on, but have a look"),
    MENDED: ("MENDED", "set right on the way, files untouched"),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong."""

    level: str
    """FATAL, WARNING or MENDED"""
    rule: str
    """the kind of fault, in a few words; faults of one kind are told together"""
    case: str | None
    """the case to leave out to be rid of it; None where the data set as a whole is at fault"""
    file: str | None
    """relative to the data set"""
    found: str
    """what was found, with its numbers"""
    consequence: str
    remedy: str

    def __str__(self) -> str:
        who = f"Case '{self.case}'" if self.case else "The data set"
        where = f" ({self.file})" if self.file else ""
        return f"{who}{where}: {self.found}; {self.consequence}. {self.remedy[:1].upper()}{self.remedy[1:]}."


class DatasetFaults(UserFault):
    """A data set that cannot be planned as it is; `faults` holds every fault, fatal or not."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(format_faults(self.faults))

    def __reduce__(self) -> tuple:
        return type(self), (self.faults,)


def faulty_cases(faults: Iterable[Fault]) -> dict[str, str]:
    """Case -> why, for every case with a fatal fault: what --skip_faulty leaves out and records."""
    reasons: dict[str, list[str]] = {}
    for fault in faults:
        if fault.level == FATAL and fault.case is not None:
            reasons.setdefault(fault.case, []).append(f"{fault.rule}: {fault.found}")
    return {case: "; ".join(texts) for case, texts in reasons.items()}


def format_faults(faults: Sequence[Fault], *, most: int = 20) -> str:
    """The faults as text: fatal, warnings, mended apart; each once, those of one rule under one heading.

    Of more than `most` cases under one heading the rest is counted.
    """
    if not faults:
        return "No faults found."
    blocks = [_count(faults)]
    for level, (heading, meaning) in _HEADINGS.items():
        groups: dict[tuple, list[Fault]] = {}
        for fault in faults:
            if fault.level == level:
                groups.setdefault((fault.rule, fault.consequence, fault.remedy), []).append(fault)
        if groups:
            blocks.append(f"{heading}: {meaning}")
            blocks.extend(_format_group(*key, members, most) for key, members in groups.items())
    return "\n\n".join(blocks)


def _format_group(rule: str, consequence: str, remedy: str, faults: list[Fault], most: int) -> str:
    lines = [f"  {rule}" + (f" ({len(faults)})" if len(faults) > 1 else "")]
    for fault in faults[:most]:
        who = [text for text in (fault.case, fault.file) if text]
        lines.append(f"    {', '.join(who)}: {fault.found}" if who else f"    {fault.found}")
    if len(faults) > most:
        lines.append(f"    ... and {len(faults) - most} more")
    return "\n".join([*lines, f"    -> {consequence}.", f"    -> {remedy}."])


def _count(faults: Sequence[Fault]) -> str:
    counts = {level: sum(fault.level == level for fault in faults) for level in _HEADINGS}
    names = {
        FATAL: ("fatal fault", "fatal faults"),
        WARNING: ("warning", "warnings"),
        MENDED: ("mended", "mended"),
    }
    return ", ".join(f"{n} {names[level][n != 1]}" for level, n in counts.items() if n) + "."
