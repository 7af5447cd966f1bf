"""Faults that show only when the cases are seen together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from pgsam_monai.base.measures import to_anatomical
from preprocess.checks.duplicates import check_duplicates
from preprocess.checks.faults import FATAL, MENDED, WARNING, Fault
from preprocess.checks.labels import check_labels
from preprocess.checks.masks import check_masks
from preprocess.fingerprint.facts import CaseFacts
from preprocess.fingerprint.modality import guess_modality
from preprocess.layouts.records import Dataset

FEWEST_CASES = 2
LEAVE_ONE_OUT_BELOW = 5
INTENSITY_FACTOR = 5.0
"""A case whose contrast is this many times that of the median case, or a fifth of it, is on another scale."""
SPACING_FACTOR = 10.0


def check_across(dataset: Dataset, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Faults of the set of `cases`, those with a fatal fault of their own already left out."""
    training = [case for case in cases if case.group == "train"]
    yield from _check_count(len(training))
    yield from _check_channel_names(dataset, training)
    yield from check_labels(dataset, training)
    yield from check_masks(dataset, training)
    yield from check_duplicates(cases)
    yield from _check_orientations(cases)
    yield from _check_spacings(cases)
    yield from _check_intensities(dataset, training)


def _check_count(count: int) -> Iterator[Fault]:
    if count < FEWEST_CASES:
        usable = "no usable training case" if count == 0 else "one usable training case"
        yield Fault(
            level=FATAL,
            rule="too few cases",
            case=None,
            file=None,
            found=usable,
            consequence="the data cannot be split into training and validation",
            remedy=f"give at least {FEWEST_CASES} labelled cases, better {LEAVE_ONE_OUT_BELOW} or more",
        )
    elif count < LEAVE_ONE_OUT_BELOW:
        yield Fault(
            level=WARNING,
            rule="too few cases",
            case=None,
            file=None,
            found=f"{count} usable training cases",
            consequence=f"every fold validates on a single case ({count} folds), so scores are rough",
            remedy=f"give {LEAVE_ONE_OUT_BELOW} or more cases where you can",
        )


def _check_channel_names(dataset: Dataset, training: Sequence[CaseFacts]) -> Iterator[Fault]:
    names = dataset.channel_names
    if names and training and len(names) != training[0].channels:
        yield Fault(
            level=WARNING,
            rule="channel names do not fit",
            case=None,
            file=None,
            found=f"{len(names)} named ({', '.join(names)}), the images have {training[0].channels}",
            consequence="the files decide; the names are not used",
            remedy="correct the names in dataset.json, or add the missing channel files",
        )


def _check_orientations(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    counts = Counter(case.orientation for case in cases if case.orientation).most_common()
    if len(counts) > 1:
        yield Fault(
            level=MENDED,
            rule="mixed orientations",
            case=None,
            file=None,
            found=", ".join(f"{code} in {_cases(count)}" for code, count in counts),
            consequence="all are brought to the planned orientation, and predictions back to their image's",
            remedy="nothing needs to be done",
        )


def _check_spacings(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    spacings = {case.name: to_anatomical(case.spacing, case.orientation) for case in cases}
    if not spacings:
        return
    middle = tuple(median(axis) for axis in zip(*spacings.values(), strict=True))
    for case in cases:
        ratios = [mm / usual for mm, usual in zip(spacings[case.name], middle, strict=True) if usual > 0]
        if max(ratios) > SPACING_FACTOR or min(ratios) < 1 / SPACING_FACTOR:
            yield Fault(
                level=WARNING,
                rule="voxel size unlike the others'",
                case=case.name,
                file=case.image_files[0],
                found=f"spacing {_numbers(spacings[case.name])} mm, median {_numbers(middle)} mm",
                consequence="the volume is resampled to very few or very many voxels",
                remedy="check the header (metres or micrometres in place of millimetres?)",
            )


def _check_intensities(dataset: Dataset, training: Sequence[CaseFacts]) -> Iterator[Fault]:
    """One fault per channel, naming the cases whose contrast is far below and far above the median case's."""
    modality, _ = guess_modality(dataset, training)
    channels = min((len(case.image) for case in training), default=0)
    for channel in range(channels):
        widths = {case.name: _contrast(case, channel) for case in training}
        widths = {name: width for name, width in widths.items() if width}
        if len(widths) < 3:
            continue
        usual = median(widths.values())
        low = [name for name, width in widths.items() if width < usual / INTENSITY_FACTOR]
        high = [name for name, width in widths.items() if width > usual * INTENSITY_FACTOR]
        if low or high:
            yield _other_scale(low, high, widths, usual, channel if channels > 1 else None, modality)


def _contrast(case: CaseFacts, channel: int) -> float:
    """Width of the middle 99 % of the foreground's values; of all values where there is no foreground."""
    if case.intensity:
        return case.intensity[channel].percentile_99_5 - case.intensity[channel].percentile_00_5
    image = case.image[channel]
    return 0.0 if image.min is None else image.max - image.min


def _other_scale(
    low: list[str],
    high: list[str],
    widths: dict[str, float],
    usual: float,
    channel: int | None,
    modality: str,
) -> Fault:
    parts = []
    for names, how in (
        (low, f"less than 1/{INTENSITY_FACTOR:g} of that"),
        (high, f"over {INTENSITY_FACTOR:g} times that"),
    ):
        if names:
            spans = [widths[name] for name in names]
            shown = ", ".join(names[:4]) + (f", +{len(names) - 4} more" if len(names) > 4 else "")
            parts.append(f"{_cases(len(names))} {how} ({min(spans):.4g} to {max(spans):.4g}: {shown})")
    where = "" if channel is None else f" of channel {channel}"
    found = f"the structures' values{where} span {usual:.4g} in the median case, in {' and in '.join(parts)}"
    if modality == "CT":
        consequence = "a window in Hounsfield units does not fit them: they come out flat or clipped"
        remedy = "check the rescale slope and intercept of these cases, and leave them out if they are no CT"
    else:
        consequence = (
            "scaling each case by its own percentiles takes the difference out; one window for all would not"
        )
        remedy = "keep the percentile intensity scheme; check these cases if they should be alike"
    return Fault(
        level=WARNING,
        rule="intensity outliers",
        case=None,
        file=None,
        found=found,
        consequence=consequence,
        remedy=remedy,
    )


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
