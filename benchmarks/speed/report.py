"""The tables of a run, and which aims it missed."""

from __future__ import annotations

from statistics import median

from speed.timing import ENCODER
from speed.turns import EVALUATION, MERGED, SINGLE, STEP, Seconds

CEILING = 1.6
"""How many times SAMed's evaluation PG-SAM's may take."""
EVALUATION_AIM, TRAINING_AIM = 4.0, 2.0
"""How many times faster than the reference evaluation and training are to be."""
TOLERANCE = 1e-2
"""How far a probability may be from the reference's."""


def print_rows(rows: Seconds, ours: str, beside: str, reference: str) -> None:
    """Seconds of all; ours over SAMed's; the reference's over ours."""
    plain = {row: median(values[reference]) for row, values in rows.items() if reference in values}
    titles = [ours, beside, f"{ours} / {beside}", *([reference, f"{reference} / {ours}"] if plain else [])]
    print("| seconds | " + " | ".join(titles) + " |\n|---" + "|---" * len(titles) + "|")
    for row, values in rows.items():
        if row == SINGLE:  # shown in every row of an evaluation
            continue
        own, other = median(values[ours]), median(values[beside])
        cells = [f"{own:.4f}", f"{other:.4f}", f"{own / other:.2f}"]
        if plain:
            seconds = plain.get(row, plain[SINGLE])
            cells += [f"{seconds:.4f}", f"{seconds / own:.2f}"]
        print(f"| {row} | " + " | ".join(cells) + " |")


def print_parts(parts: Seconds, rows: Seconds, titles: list[str], slices: int) -> None:
    """Seconds of each part per slice, as in the evaluation of `slices` at a time, and the image encoder's share."""
    print(f"\n| seconds per slice, {slices} at a time | " + " | ".join(titles) + " |")
    print("|---" * (1 + len(titles)) + "|")
    for part, values in parts.items():
        cells = [f"{median(values[title]):.4f}" if title in values else "" for title in titles]
        print(f"| {part} | " + " | ".join(cells) + " |")
    whole = [median((rows[MERGED.format(slices)] | rows.get(SINGLE, {}))[title]) for title in titles]
    shares = [median(parts[ENCODER][title]) / total for title, total in zip(titles, whole, strict=True)]
    print(f"| share of the {ENCODER} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")


def missed_ceiling(rows: Seconds, ours: str, beside: str) -> list[str]:
    """Evaluations that take too many times SAMed's."""
    ratios = {
        row: median(values[ours]) / median(values[beside])
        for row, values in rows.items()
        if row.startswith(EVALUATION) and ours in values
    }
    return [
        f"{row}: {ratio:.2f} times {beside}'s, ceiling {CEILING:g}"
        for row, ratio in ratios.items()
        if ratio >= CEILING
    ]


def missed_aims(
    rows: Seconds, ours: str, reference: str, *, slices: int, step_batch: int, difference: float
) -> list[str]:
    """What is not as much faster than the reference as it should be, or doesn't agree with it."""
    plain = median(rows[SINGLE][reference]) / median(rows[MERGED.format(slices)][ours])
    step = STEP.format(step_batch)
    training = median(rows[step][reference]) / median(rows[step][ours])
    return [
        *(_slow(f"evaluation, merged, {slices} at a time", plain, EVALUATION_AIM, reference)),
        *(_slow(step, training, TRAINING_AIM, reference)),
        *(
            [f"a probability differs by {difference:.4f}, limit {TOLERANCE:g}"]
            if difference > TOLERANCE
            else []
        ),
    ]


def _slow(what: str, times: float, aim: float, reference: str) -> list[str]:
    return [f"{what}: {times:.2f} times faster than {reference}, aim {aim:g}"] if times < aim else []
