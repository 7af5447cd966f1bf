"""Faults that one case has by itself."""

from __future__ import annotations

from collections.abc import Iterator

from pgsam_monai.base.cases import IN_THE_IMAGES
from pgsam_monai.base.volume.finite import REMEDY, found_not_finite
from preprocess.checks.faults import FATAL, WARNING, Fault
from preprocess.checks.geometry import check_geometry
from preprocess.fingerprint.facts import CaseFacts


def check_case(case: CaseFacts, *, expected_channels: int | None, is_picture: bool) -> Iterator[Fault]:
    """All faults of one measured case. `expected_channels`: what most cases have."""
    if case.error is not None:
        yield _unreadable(case)
        return
    yield from _check_notes(case)
    yield from _check_channels(case, expected_channels)
    yield from _check_values(case)
    yield from _check_contrast(case, is_picture)
    yield from check_geometry(case)
    yield from _check_label(case)


def _unreadable(case: CaseFacts) -> Fault:
    return Fault(
        level=FATAL,
        rule="unreadable file",
        case=case.name,
        file=case.error_file,
        found=case.error,
        consequence="the case cannot be used",
        remedy="copy or export the file again",
    )


def _check_notes(case: CaseFacts) -> Iterator[Fault]:
    for note in case.notes:
        yield Fault(
            level=WARNING,
            rule="odd header",
            case=case.name,
            file=case.image_files[0],
            found=note,
            consequence="the file is used as described",
            remedy="mend the header if that is not what was meant",
        )


def _check_channels(case: CaseFacts, expected: int | None) -> Iterator[Fault]:
    if expected is not None and case.channels != expected:
        yield Fault(
            level=FATAL,
            rule="wrong number of channels",
            case=case.name,
            file=case.image_files[0],
            found=f"{_many(case.channels, 'channel')} where most cases have {expected}",
            consequence="one network takes one number of channels",
            remedy="add the missing channel files, or export the image with the channels of the others",
        )


def _check_values(case: CaseFacts) -> Iterator[Fault]:
    for number, channel in enumerate(case.image):
        if channel.nan_count or channel.inf_count:
            found = found_not_finite(channel.nan_count, channel.inf_count)
            yield Fault(
                level=FATAL,
                rule="NaN or infinite values",
                case=case.name,
                file=_file_of(case, number),
                found=f"{found} voxels{_in_channel(case, number)}",
                consequence="one of them makes the loss NaN and ends the training",
                remedy=REMEDY,
            )


def _check_contrast(case: CaseFacts, is_picture: bool) -> Iterator[Fault]:
    flat = [number for number, channel in enumerate(case.image) if channel.is_constant]
    useless = len(flat) == len(case.image) and not is_picture
    for number in flat:
        yield Fault(
            level=FATAL if useless else WARNING,
            rule="constant image",
            case=case.name,
            file=_file_of(case, number),
            found=f"every voxel is {case.image[number].min:g}{_in_channel(case, number)}",
            consequence="there is nothing to see in it"
            + ("" if useless else ", and little to learn from it"),
            remedy="export the image again, or leave the case out",
        )


def _check_label(case: CaseFacts) -> Iterator[Fault]:
    if case.label_problem is not None:
        yield Fault(
            level=FATAL,
            rule="label is no class map",
            case=case.name,
            file=_label_file(case),
            found=case.label_problem,
            consequence="it is no map of classes",
            remedy="export the label as integers from 0 on without interpolation",
        )
    elif case.label_shape is not None and not case.labels:
        yield Fault(
            level=WARNING,
            rule="empty label",
            case=case.name,
            file=_label_file(case),
            found=f"all {case.label_voxels} voxels are background",
            consequence="the case teaches only what background looks like, and has no Dice of its own",
            remedy="leave it if nothing is there to be seen; else add the missing segmentation",
        )
    if case.unsought:
        shown = ", ".join(map(str, case.unsought[:10])) + (", ..." if len(case.unsought) > 10 else "")
        yield Fault(
            level=WARNING,
            rule="labelled, though not looked for",
            case=case.name,
            file=_label_file(case),
            found=f"it holds the values {shown}, of structures that nobody looked for, as it is said",
            consequence="these voxels count as background, which such structures may hide in",
            remedy="name them among those that were looked for, if they are complete",
        )


def _label_file(case: CaseFacts) -> str:
    return case.image_files[0] if case.label_file == IN_THE_IMAGES else case.label_file


def _file_of(case: CaseFacts, channel: int) -> str:
    return case.image_files[channel] if len(case.image_files) == len(case.image) else case.image_files[0]


def _in_channel(case: CaseFacts, number: int) -> str:
    return f" in channel {number}" if len(case.image) > 1 else ""


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
