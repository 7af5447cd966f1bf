"""Tables of measured prompts, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from pgsam_monai.evaluation.interaction.measure import clicks_title
from pgsam_monai.evaluation.interaction.scores import OVERALL, CaseScores, clicks_obeyed, mean_dice

AT_ONCE = ("3 points", "box 0.5", "box 0.75", "box")
RISES = 5e-4
"""of Dice: what a further click has to add to count as better, half of a table's last digit"""


def dice_table(rows: Mapping[str, Sequence[CaseScores]], clicks: Sequence[int]) -> str:
    """A line per weights: cases, mean Dice of the structures by prompts, and what further clicks did.

    Args:
        rows: weights -> measured cases; weights without any are left out.
        clicks: numbers of clicks per slice that were measured, rising.
    """
    prompts = [*map(clicks_title, clicks), *AT_ONCE]
    lines = _head(["weights", "cases", *prompts, "each further click helps"])
    for label, cases in _measured(rows).items():
        dice = {row.prompts: row.mean for row in mean_dice(cases) if row.label == OVERALL}
        scores = [f"{dice[what]:.3f}" for what in prompts]
        lines.append(_line([label, str(len(cases)), *scores, what_clicks_did(dice, clicks)]))
    return "\n".join(lines)


def obeyed_table(rows: Mapping[str, Sequence[CaseScores]], clicks: Sequence[int]) -> str:
    """A line per weights: the share of clicks so far that the answer obeys; arguments as of `dice_table`."""
    heads = [f"after {clicks_title(number)}" for number in clicks]
    lines = _head(["weights: clicks obeyed", "cases", *heads, "overall"])
    for label, cases in _measured(rows).items():
        pooled = clicks_obeyed(cases)[-1]
        shares = [*(pooled.share(number) for number in clicks), pooled.overall]
        lines.append(_line([label, str(len(cases)), *(f"{100 * share:.0f} %" for share in shares)]))
    return "\n".join(lines)


def what_clicks_did(dice: Mapping[str, float], clicks: Sequence[int]) -> str:
    """ "yes" where each further click measured raised the mean Dice, else between which numbers it didn't."""
    harm = [
        f"{fewer} → {more}"
        for fewer, more in pairwise(clicks)
        if dice[clicks_title(more)] - dice[clicks_title(fewer)] < RISES
    ]
    return f"not {', '.join(harm)}" if harm else "yes"


def structure_table(rows: Mapping[str, Sequence[CaseScores]], clicks: Sequence[int]) -> str:
    """A line per weights and structure: Dice by prompts, and clicks obeyed; arguments as of `dice_table`."""
    prompts = [*map(clicks_title, clicks), *AT_ONCE]
    lines = _head(["weights", "structure", "cases", *prompts, "clicks obeyed"])
    for label, cases in _measured(rows).items():
        found = mean_dice(cases)
        dice = {(row.label, row.prompts): row for row in found}
        obeyed = {one.label: one.overall for one in clicks_obeyed(cases)}
        for name in dict.fromkeys(row.label for row in found):
            scores = [f"{dice[name, what].mean:.3f}" for what in prompts]
            held = str(dice[name, prompts[0]].cases)
            lines.append(_line([label, name, held, *scores, f"{100 * obeyed[name]:.0f} %"]))
    return "\n".join(lines)


def _measured(rows: Mapping[str, Sequence[CaseScores]]) -> dict[str, Sequence[CaseScores]]:
    return {label: cases for label, cases in rows.items() if any(case.scores for case in cases)}


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
