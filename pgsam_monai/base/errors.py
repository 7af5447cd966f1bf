"""What the user can mend, told apart from what we got wrong.

A `UserFault` is one sentence: who, which rule, what was got, what to do. The commands print it and exit 2. Any other
exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserFault(ValueError):
    """Something typed, planned or lying on disk is not as it must be; the message says what and the remedy."""


class MissingFile(UserFault, FileNotFoundError):
    """A file or folder that was named, or is needed, isn't there."""


def nearest(given: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that `given` was probably meant to be; None if none comes near."""
    return next(iter(nearest_few(given, known, most=1, cutoff=cutoff)), None)


def nearest_few(given: object, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Up to `most` known names that come near `given`, the nearest first."""
    return difflib.get_close_matches(str(given), list(known), n=most, cutoff=cutoff)


def did_you_mean(given: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """ " Did you mean 'x'?", with the leading space, or nothing."""
    near = nearest(given, known, cutoff=cutoff)
    return f" Did you mean '{near}'?" if near else ""


def root_of(fault: BaseException) -> BaseException:
    """What lies below MONAI's wrappers, which are plain RuntimeErrors."""
    while type(fault) is RuntimeError and fault.__cause__ is not None:
        fault = fault.__cause__
    return fault
