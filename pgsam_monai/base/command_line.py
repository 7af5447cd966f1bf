"""What `pgsam` and `pgsam-plan` do alike: settle what was typed before python-fire guesses at it, and tell faults."""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from pgsam_monai.base.errors import UserFault, nearest, root_of, system_sentence

OURS = (
    "this is a fault of pgsam-monai, not of yours. "
    "Please report it, with the lines above and the command, to the project's issue tracker."
)
FLAG = re.compile(r"--|-[A-Za-z]")
HELP_WORDS = ("-h", "--help")
SWITCHED = re.compile(r"True|False|\d+")
"""What may follow a switch as its value; any other word stands for itself."""


@contextmanager
def told(program: str) -> Iterator[None]:
    """End the program on a fault: on a user's with its sentence, on ours with its traceback and where to report it."""
    _end_tidily(program)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(f"{program}: interrupted.")
    except Exception as fault:
        root = root_of(fault)  # MONAI wraps the faults of a bundle's components
        if isinstance(root, UserFault):
            sys.exit(f"{program}: {root}")
        if sentence := system_sentence(fault):
            sys.exit(f"{program}: {sentence}")
        traceback.print_exc()
        sys.exit(f"{program}: {OURS}")


def _end_tidily(program: str) -> None:
    """Let SIGTERM end the program as a fault does, so that nothing unfinished and no child is left."""
    own = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != own:
            os._exit(128 + number)  # a forked worker
        sys.exit(f"{program}: ended by {signal.Signals(number).name}.")

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def checked_words(words: Sequence[str], command: Callable) -> list[str]:
    """The words for python-fire, which alone would run `command` first and complain of an unknown flag afterwards.

    The annotation of a parameter says how its word is taken: "str" stays text, where python-fire would make a number or
    a tuple of it; "bool" needs no value; a "list" may be given several times. Hyphens in flags become underscores. A
    command that takes keywords of any name checks these itself.

    Raises:
        UserFault: an unknown flag (the nearest is told), a flag without its value, or a word too many.
    """
    parameters = inspect.signature(command).parameters.values()
    kinds = {parameter.name: parameter.annotation for parameter in parameters if parameter.kind not in _ANY}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    positional: list[str] = []
    flags: list[str] = []
    several: dict[str, list[str]] = {}
    left = list(words)
    while left and left[0] != "--":  # what follows is python-fire's own
        word = left.pop(0)
        flag, equals, value = word.lstrip("-").partition("=")
        flag = _whole_name(flag.replace("-", "_"), kinds)
        if word in HELP_WORDS:
            flags.append(word)
        elif not FLAG.match(word):
            positional.append(word)
        elif takes_any and flag not in kinds:
            flags += [word] if equals or not _has_word(left) else [word, left.pop(0)]
        else:
            check_known(flag, kinds)
            value = value if equals else _next_value(flag, kinds[flag], left)
            if kinds[flag].startswith("list"):
                several.setdefault(flag, []).append(value)
            else:
                flags.append(f"--{flag}={value!r}" if kinds[flag].startswith("str") else f"--{flag}={value}")
    _check_count(positional, parameters)
    return [
        *map(repr, positional),
        *flags,
        *(f"--{flag}={values!r}" for flag, values in several.items()),
        *left,
    ]


def check_known(name: str, known: Collection[str]) -> None:
    """Refuse a flag that isn't one of the known ones, and tell the nearest of them."""
    if name not in known:
        near = nearest(name, known, cutoff=0.5)
        raise UserFault(f"--{name} is no option here.{f' Did you mean --{near}?' if near else ''}")


_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _has_word(left: Sequence[str]) -> bool:
    return bool(left) and not FLAG.match(left[0])


def _whole_name(flag: str, known: Iterable[str]) -> str:
    """What a single letter stands for, where it begins one name alone."""
    names = [name for name in known if name[0] == flag]
    return names[0] if len(names) == 1 else flag


def _next_value(flag: str, kind: str, left: list[str]) -> str:
    if kind.startswith("bool"):
        return left.pop(0) if left and SWITCHED.fullmatch(left[0]) else "True"
    if not _has_word(left):
        raise UserFault(f"--{flag} needs a value.")
    return left.pop(0)


def _check_count(words: Sequence[str], parameters: Collection[inspect.Parameter]) -> None:
    places = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    endless = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if len(words) > len(places) and not endless:
        surplus = ", ".join(words[len(places) - 1 :])
        raise UserFault(f"One {places[-1]} at a time; got {surplus}. Quote paths with spaces.")
