"""What the user can mend, told apart from what we got wrong.

A `UserFault` is one sentence: who, which rule, what was got, what to do. The commands print it and exit 2. Any other
exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator

WORKER = "Original Traceback (most recent call last)"


class UserFault(ValueError):
    """Something typed, planned or lying on disk is not as it must be; the message says what and the remedy."""

    def __str__(self) -> str:
        """The sentence; torch's loaders put the traceback of their worker process before it."""
        text = super().__str__()
        return text.rpartition(f".{type(self).__name__}: ")[2].strip() if WORKER in text else text


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


REMEDIES = {
    errno.ENOSPC: "there is no room left on the disk; make room and run the same command again",
    errno.EDQUOT: "your quota of the disk is used up; make room and run the same command again",
    errno.EROFS: "the disk can't be written to; choose another folder",
    errno.EACCES: "you may not do that there; change the rights, or choose another folder",
    errno.EPERM: "you may not do that there; change the rights, or choose another folder",
    errno.ENAMETOOLONG: "the name is too long for the disk; choose a shorter one",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EIO: "the disk fails; copy the data to another one",
    errno.ESTALE: "the network drive is gone; mount it again",
    errno.EEXIST: "a file lies where a folder is needed; move it, or choose another folder",
    errno.ENOTDIR: "a part of the path is a file; correct the path, or choose another folder",
    errno.EISDIR: "a folder lies where a file should be; move it, or choose another folder",
    errno.ELOOP: "links lead in a circle; correct them",
}
"""What the user can do about what the system refused."""


TOO_LARGE = "there is not enough memory for it; end other programs, or take a machine with more"
NO_MEMORY = re.compile(
    r"out of memory|can.t allocate memory|not enough memory|bad allocation|failed to allocate", re.I
)
"""How libraries say it that raise RuntimeErrors."""
NO_ROOM = re.compile(
    r"no space left on device|os error 28|disk quota exceeded|PytorchStreamWriter failed", re.I
)
"""How libraries say it that raise errors of their own."""


def system_sentence(fault: BaseException) -> str | None:
    """What to tell the user of a fault of the system: a full disk, missing rights or memory; None if it is none.

    Libraries wrap such faults, or lose them: causes and contexts are looked through.
    """
    for inner in causes(fault):
        if isinstance(inner, OSError) and inner.errno in REMEDIES:
            where = f"'{inner.filename}': " if inner.filename else ""
            return f"{where}{REMEDIES[inner.errno]}."
        if isinstance(inner, MemoryError) or (
            isinstance(inner, RuntimeError) and NO_MEMORY.search(str(inner))
        ):
            return f"{TOO_LARGE}."
        if not isinstance(inner, UserFault) and NO_ROOM.search(str(inner)):
            return f"{REMEDIES[errno.ENOSPC]}."
        if isinstance(inner, UnicodeEncodeError) and "surrogate" in inner.reason:
            return "a file's name is no text (UTF-8), and a library can't open it; rename it."
    return None


def causes(fault: BaseException) -> Iterator[BaseException]:
    """A fault, and what it was raised from or while handling, the latest first."""
    seen: set[int] = set()
    inner: BaseException | None = fault
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = inner.__cause__ or inner.__context__
