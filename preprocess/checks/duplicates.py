"""Cases that hold the same image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preprocess.checks.faults import WARNING, Fault
from preprocess.fingerprint.facts import CaseFacts

ENOUGH_BINS = 8
"""Images whose values fill fewer histogram bins (black pictures, drawings) may agree by chance."""


def check_duplicates(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """One fault per group of copies."""
    yield from map(_duplicates, copies_among(cases))


def copies_among(cases: Sequence[CaseFacts]) -> list[list[CaseFacts]]:
    """Groups of cases with identical files, or with identical intensities (the same scan saved again, under another
    type or flipped)."""
    groups: dict[tuple, list[CaseFacts]] = {}
    for case in cases:
        signature = _signature(case)
        if signature is not None:
            groups.setdefault(signature, []).append(case)
    return [members for members in groups.values() if len(members) > 1]


def _signature(case: CaseFacts) -> tuple | None:
    """What two copies of an image share: sorted shape, and range, mean and histogram of every channel."""
    if all(channel.is_constant for channel in case.image):
        return None
    if sum(count > 0 for channel in case.image for count in channel.histogram) < ENOUGH_BINS:
        return _image_digests(case)
    values = tuple(
        (channel.min, channel.max, f"{channel.mean:.5g}", channel.histogram) for channel in case.image
    )
    return tuple(sorted(case.shape)), values


def _duplicates(members: list[CaseFacts]) -> Fault:
    names = [f"{case.name} ({case.image_files[0]})" for case in members]
    same_files = len({_image_digests(case) for case in members}) == 1
    labels = {case.files.get(case.label_file) for case in members if case.label_file}
    what = "the same file" if same_files else "the same intensities (range, mean, histogram)"
    found = f"{', '.join(names[:6])}{f', +{len(names) - 6} more' if len(names) > 6 else ''} hold {what}"
    found += ", with different labels" if len(labels) > 1 and not labels == {None} else ""
    across = len({case.group for case in members}) > 1
    return Fault(
        level=WARNING,
        rule="duplicate images",
        case=None,
        file=None,
        found=found + (", in training and test" if across else ""),
        consequence="a copy in training makes the score of the other copy too good",
        remedy="keep one of them",
    )


def _image_digests(case: CaseFacts) -> tuple[str | None, ...]:
    return tuple(case.files.get(name) for name in case.image_files)
