"""Several data sets' few-case trainings in one table and one figure: where a network starts, and what that gains.

    python benchmarks/few_cases_together.py Synapse=few_synapse ACDC=few_acdc --figure few_cases.png

Each FOLDER is one of `few_cases.py`; runs that aren't finished are left out. Prints Markdown: mean ± standard deviation
over seeds of the held-out cases' Dice, and the gain of every start over random weights, pair by pair of equal seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pgsam_monai.base.command_line import told  # noqa: E402
from pgsam_monai.base.errors import UserFault  # noqa: E402
from pgsam_monai.evaluation.few_shot_results import Row, draw_panels, read_rows, spread  # noqa: E402

RANDOM = "random"
Runs = Mapping[tuple[str, str], Sequence[Row]]
"""(network, start) -> rows"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="TITLE=FOLDER", help="of few_cases.py")
    parser.add_argument("--figure", type=Path, default=Path("few_cases.png"), help="the PNG")
    arguments = parser.parse_args()
    found = dict(read(entry) for entry in arguments.folders)
    for network in dict.fromkeys(network for runs in found.values() for network, _ in runs):
        print("\n".join(table(network, found)) + "\n")
    panels = {
        title: {f"{network} from {start}": rows for (network, start), rows in runs.items()}
        for title, runs in found.items()
    }
    print(draw_panels(panels, arguments.figure, units="cases or patients"))


def read(entry: str) -> tuple[str, Runs]:
    """A data set's title, and its finished runs.

    Raises:
        UserFault: no TITLE=FOLDER, or nothing finished there.
    """
    title, _, folder = entry.partition("=")
    runs = {
        tuple(curve.name.split("_", 1)): rows
        for curve in sorted(Path(folder, "runs").glob("*_*"), key=lambda curve: _order(curve.name))
        if (rows := read_rows(curve))
    }
    if not runs:
        raise UserFault(f"'{entry}': TITLE=FOLDER with finished runs of few_cases.py is wanted.")
    return title, runs


def _order(name: str) -> tuple[bool, bool, str]:
    """SAMed before H-SAM, random weights first."""
    return not name.startswith("samed"), not name.endswith(RANDOM), name


def table(network: str, found: Mapping[str, Runs]) -> list[str]:
    """Of one network: a line per data set and number of cases."""
    starts = [start for start in _starts(found) if start != RANDOM]
    lines = [
        f"| {network}: data, training cases | {RANDOM} | " + " | ".join(starts) + " | gain of each pair |",
        "|---" * (len(starts) + 3) + "|",
    ]
    for title, runs in found.items():
        scores = {start: _scores(runs.get((network, start), ())) for start in (RANDOM, *starts)}
        for cases in sorted({cases for several in scores.values() for cases, _ in several}):
            cells = [_cell(_of(several, cases)) for several in scores.values()]
            gains = {start: _gains(scores[RANDOM], scores[start], cases) for start in starts}
            said = "; ".join(f"{start} {gain}" for start, gain in gains.items() if gain)
            lines.append(f"| {title}, {cases} | " + " | ".join(cells) + f" | {said} |")
    return lines


def _starts(found: Mapping[str, Runs]) -> list[str]:
    return list(dict.fromkeys(start for runs in found.values() for _, start in runs))


def _scores(rows: Sequence[Row]) -> dict[tuple[int, int], float]:
    """(cases, seed) -> Dice."""
    return {(row.cases, row.seed): row.dice for row in rows if row.dice is not None}


def _of(scores: Mapping[tuple[int, int], float], cases: int) -> list[float]:
    return [dice for (size, _), dice in scores.items() if size == cases]


def _cell(dice: Sequence[float]) -> str:
    return f"{mean(dice):.3f} ± {spread(dice):.3f}" if dice else ""


def _gains(before: Mapping, after: Mapping, cases: int) -> str:
    pairs = [key for key in after if key in before and key[0] == cases]
    return ", ".join(f"{after[key] - before[key]:+.3f}" for key in pairs)


if __name__ == "__main__":
    with told("few_cases_together"):
        main()
