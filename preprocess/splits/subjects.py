"""Whom the cases show. Several scans of one person look alike: who trains must not validate, in whatever other scan.

Who that is, is stated by the user or the data set, told by DICOM's PatientID, or guessed from folders and names. A
guess that makes one subject of everything, or groups nothing, is not taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pgsam_monai.base.errors import UserFault
from preprocess.layouts.records import Case, Dataset
from preprocess.splits.guesses import FREE_FOLDERS, by_folders, by_names

DATASET, DICOM, FOLDERS, NAMES, NONE, STATED = "dataset", "dicom", "folders", "names", "none", "stated"
RULES = {
    DATASET: "The data set itself says whom each case shows",
    DICOM: "Cases with the same PatientID, which isn't shown here, are of one subject",
    FOLDERS: "Cases whose images lie below one folder are of one subject",
    NAMES: "Cases whose names differ by phase, time point, side or series alone are of one subject",
    NONE: "Each case counts as a subject of its own",
    STATED: "As stated with --subjects",
}
"""In the order in which they are tried; what is stated counts where it was."""
EXAMPLES = 3
SHOWN_CASES = 3


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """What one rule makes of the cases."""

    rule: str
    """a key of RULES"""
    reason: str
    """the rule in a sentence, with numbers and up to three examples"""
    of: Mapping[str, str]
    """case -> subject, for every case"""

    def count(self, cases: Collection[str]) -> int:
        """How many subjects `cases` show."""
        return len({self.of.get(name, name) for name in cases})

    def groups(self, cases: Collection[str]) -> bool:
        """Whether several of `cases` show one subject."""
        return self.count(cases) < len(cases)


def find_subjects(
    dataset: Dataset,
    *,
    training: Collection[str],
    patients: Mapping[str, str] | None = None,
    copies: Sequence[Sequence[str]] = (),
    stated: Mapping[str, str] | None = None,
) -> dict[str, Subjects]:
    """Rule -> what it makes of the cases, the rules that tell something alone; the first is to be believed.

    Args:
        dataset: its cases.
        training: names of those that are to be split.
        patients: case -> digest of its DICOM PatientID.
        copies: groups of cases with the same image, which every rule keeps together.
        stated: case -> subject, as the user says.

    Raises:
        UserFault: what is stated makes one subject of all training cases.
    """
    alone = {case.name: case.name for case in dataset.cases}
    # What was measured may have gone since.
    training = [name for name in training if name in alone]
    copies = [names for group in copies if len(names := [name for name in group if name in alone]) > 1]
    found, disbelieved = {}, []
    for rule, of in _guessed(dataset.cases, dataset.layout, training, patients or {}).items():
        if of and len({of[name] for name in training}) > 1:
            found[rule] = _made(rule, of, training, copies)
        elif of:
            disbelieved.append(rule)
    found[NONE] = _made(NONE, alone, training, copies, disbelieved)
    if stated is not None:
        of = {name: stated.get(name, name) for name in alone}
        if len(training) > 1 and len({of[name] for name in training}) < 2:
            raise UserFault(
                f"--subjects makes one subject, {of[training[0]]}, of all {len(training)} training cases, and none is "
                "left to validate on; state it otherwise, or give --subjects none."
            )
        found[STATED] = _made(STATED, of, training, copies)
    return found


def _guessed(
    cases: Sequence[Case], layout: str, training: Collection[str], patients: Mapping[str, str]
) -> dict[str, dict[str, str] | None]:
    """Rule -> case -> subject; None where the rule tells nothing."""
    names = [case.name for case in cases]
    told = {case.name: case.subject or case.name for case in cases}
    # Whoever reads splits.json is not to guess the PatientIDs, as one can from digests of short numbers.
    numbers = {digest: f"patient-{place}" for place, digest in enumerate(dict.fromkeys(patients.values()), 1)}
    scanned = {name: numbers[patients[name]] if name in patients else name for name in names}
    return {
        DATASET: told if any(case.subject for case in cases) else None,
        DICOM: scanned if len(numbers) < len(patients) else None,
        FOLDERS: by_folders(cases, training) if layout in FREE_FOLDERS else None,
        NAMES: by_names(names),
    }


def _made(
    rule: str,
    of: Mapping[str, str],
    training: Collection[str],
    copies: Sequence[Sequence[str]],
    disbelieved: Sequence[str] = (),
) -> Subjects:
    joined = _joined(of, copies)
    if len({joined[name] for name in training}) < 2:  # nothing would be left to validate on
        joined = dict(of)
    reason = f"{RULES[rule]}: {_numbers(joined)}"
    if disbelieved:
        reason += f" By {' and '.join(disbelieved)} all would be one subject, which isn't taken."
    if joined != of:
        reason += " Copies of an image count as one subject."
    return Subjects(rule=rule, reason=reason, of=joined)


def _joined(of: Mapping[str, str], copies: Sequence[Sequence[str]]) -> dict[str, str]:
    """`of` with the subjects of copies made one, which bears the first one's name."""
    same_as: dict[str, str] = {}

    def first(subject: str) -> str:
        while subject in same_as:
            subject = same_as[subject]
        return subject

    for names in copies:
        kept = first(of[names[0]])
        same_as.update({other: kept for name in names[1:] if (other := first(of[name])) != kept})
    return {name: first(subject) for name, subject in of.items()}


def _numbers(of: Mapping[str, str]) -> str:
    """As "4 cases of 2 subjects, such as a (a_t0, a_t1); b (b_t0, b_t1)."."""
    cases: dict[str, list[str]] = {}
    for name, subject in of.items():
        cases.setdefault(subject, []).append(name)
    if len(cases) == len(of):
        return f"no two of {len(of)} are known to show the same one."
    fullest = sorted(cases, key=lambda subject: len(cases[subject]) == 1)[:EXAMPLES]
    shown = [f"{subject} ({_listed(cases[subject])})" for subject in fullest]
    return f"{len(of)} cases of {len(cases)} subjects, such as {'; '.join(shown)}."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_CASES
    return ", ".join(names[:SHOWN_CASES]) + (f" and {more} more" if more > 0 else "")
