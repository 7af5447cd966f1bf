"""Counts what came of the examples of one property, and says what was wrong with which."""

from __future__ import annotations

import os
import re
from collections import Counter

from fuzz.workers import RIGHT, Outcome
from hypothesis import Phase, settings

COLLECTING = bool(os.environ.get("PGSAM_FUZZ_COLLECT"))
TALLIES: list[Tally] = []


def examples(few: int) -> settings:
    """`few` examples, or as many as PGSAM_FUZZ_EXAMPLES says."""
    phases = [Phase.explicit, Phase.generate] if COLLECTING else [*Phase]
    return settings(max_examples=int(os.environ.get("PGSAM_FUZZ_EXAMPLES", few)), phases=phases)


class Tally:
    """Of one property: outcomes by kind; the slowest and the largest."""

    def __init__(self, name: str) -> None:
        self.name, self.kinds = name, Counter()
        self.faults: dict[str, str] = {}
        self.slowest_s = self.largest_mb = 0.0
        self.largest = ""
        TALLIES.append(self)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.name}: {kinds}; slowest {self.slowest_s:.1f} s, largest {self.largest_mb:.0f} MB: {self.largest}"

    def count(self, outcome: Outcome, example: object) -> None:
        """Note an outcome; a wrong one fails the example, or, while collecting, waits for `finish`."""
        self.kinds[outcome.kind] += 1
        self.slowest_s = max(self.slowest_s, outcome.time_s)
        if outcome.memory_mb > self.largest_mb:
            self.largest_mb, self.largest = outcome.memory_mb, str(example)[:300]
        if outcome.kind in RIGHT:
            return
        if not COLLECTING:
            raise AssertionError(f"{outcome.kind}: {outcome.story}\n{example}")
        self.faults.setdefault(f"{outcome.kind}: {_where(outcome.story)}", f"{example}\n{outcome.story}")

    def finish(self) -> None:
        """Fail with what was collected."""
        lines = [f"\n### {title}\n{example}" for title, example in self.faults.items()]
        assert not lines, "".join(lines)


def _where(story: str) -> str:
    """The last of our own lines in a traceback and what was raised; else the story's first line."""
    ours = re.findall(r'(?:pgsam_monai|preprocess)/[\w/]+\.py", line \d+', story)
    raised = re.findall(r"^[\w.]+(?:Error|Exception|Fault|Interrupt|Exit)\b.*", story, flags=re.M)
    return f"{ours[-1]}: {raised[-1][:150]}" if ours and raised else story.strip().splitlines()[0][:200]
