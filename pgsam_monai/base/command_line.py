"""What `pgsam` and `pgsam-plan` do alike: read what was typed, call the command, tell faults.

A word is what the command's annotation says, and nothing is guessed: a folder may be called 20240101, None or a,b.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pgsam_monai.base.errors import UserFault, nearest, root_of, system_sentence

OURS = (
    "this is a fault of pgsam-monai, not of yours. "
    "Please report it, with the lines above and the command, to the project's issue tracker."
)
LEFT_OUT = frozenset({"torch", "monai"})
"""where networks are only asked, see docs/engines.md"""
FLAG = re.compile(r"--.|-[A-Za-z]", re.DOTALL)
HELP_WORDS = ("-h", "--help")
REST = "--"
"""What follows it are no flags, whatever it begins with."""
TRUTHS = {"True": True, "False": False, "true": True, "false": False}
WHOLE, DECIMAL = re.compile(r"[+-]?[0-9]+"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONG_WORD = re.compile(r"\S{301,}")
"""What a damaged file may hold in place of a name."""
RENAMED = {"per_image": "pictures"}
"""Flags of earlier versions -> those of this one."""
KINDS = {"bool": "True or False", "int": "a whole number", "float": "a number"}


GRACE_S = 15
"""after a signal, for what is to be put in order before the process ends"""
_signals: list[int] = []
"""that were sent to end this process; libraries swallow what is raised for them, or make another fault of it"""


@contextmanager
def told(program: str) -> Iterator[None]:
    """End the program on a fault: on a user's with its sentence, on ours with its traceback and where to report it."""
    _end_tidily(program)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what a terminal can't show
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(f"{program}: {_how_ended()}")
    except BrokenPipeError:  # who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as fault:
        root = root_of(fault)  # MONAI wraps the faults of a bundle's components
        if _signals:
            sys.exit(f"{program}: {_how_ended()}")
        if isinstance(root, UserFault):
            sys.exit(f"{program}: {LONG_WORD.sub(_shortened, str(root))}")
        if sentence := system_sentence(fault):
            sys.exit(f"{program}: {sentence}")
        if isinstance(root, ModuleNotFoundError) and root.name in LEFT_OUT:
            sys.exit(
                f"{program}: {root.name} is needed for that, which pgsam-runtime leaves out; install pgsam-monai."
            )
        traceback.print_exc()
        sys.exit(f"{program}: {OURS}")


def _shortened(word: re.Match[str]) -> str:
    return f"{word[0][:200]}…{word[0][-40:]}"


def end_if_asked() -> None:
    """Raise KeyboardInterrupt if the process was to end, and what was raised for that has been swallowed."""
    if _signals:
        raise KeyboardInterrupt


def _end_tidily(program: str) -> None:
    """Let Ctrl-C and SIGTERM end the program as a fault does, so that nothing unfinished and no child is left."""
    own = os.getpid()
    _signals.clear()

    def end(number: int, frame: object) -> None:
        if os.getpid() != own:
            os._exit(128 + number)  # a forked worker
        _signals.append(number)
        if hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, partial(_end_at_once, program))
            signal.alarm(GRACE_S)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        sys.unraisablehook = _tell_unraisable
        signal.signal(signal.SIGTERM, end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the shell ignores it
            signal.signal(signal.SIGINT, end)


def _tell_unraisable(lost: Any) -> None:
    """What a signal raised while Python called back from an import, say, is no news: `_end_at_once` comes after it. Nor
    is what others make of the end, such as a DataLoader that is deleted and misses its workers."""
    if not _signals:
        sys.__unraisablehook__(lost)


def _end_at_once(program: str, number: int, frame: object) -> None:
    """What was raised was swallowed, or it came where a library was not to be interrupted and now waits for ever."""
    import psutil  # here, for planning starts without it

    for child in psutil.Process().children(recursive=True):
        child.kill()
    os.write(2, f"{program}: {_how_ended()}\n".encode())
    os._exit(128 + _signals[0])


def _how_ended() -> str:
    terminated = signal.SIGTERM in _signals
    return "ended by SIGTERM." if terminated else "interrupted."


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether there is a help word before a `--`."""
    own = words[: list(words).index(REST)] if REST in words else words
    return any(word in HELP_WORDS for word in own)


def read_words(words: Sequence[str], command: Callable) -> tuple[list[Any], dict[str, Any]]:
    """The arguments and keywords that `command` is called with.

    The annotation of a parameter says how its word is taken: as "bool", which needs no value, "int" or "float"; "list"
    may be given several times; everything else stays text. Hyphens in flags are underscores, and a letter that begins
    one flag alone stands for it. A command that takes keywords of any name gets them as text, True where no word
    follows, and checks them itself.

    Raises:
        UserFault: an unknown flag (the nearest is told), a flag without its value, a value of another kind, a word too
            many or too few.
    """
    parameters = inspect.signature(command).parameters.values()
    kinds = {
        parameter.name: str(parameter.annotation) for parameter in parameters if parameter.kind not in _ANY
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    positional: list[str] = []
    named: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word == REST:
            positional += left
            break
        if not FLAG.match(word):
            positional.append(word)
            continue
        flag, equals, value = word.lstrip("-").partition("=")
        flag = _whole_name(flag.replace("-", "_"), kinds)
        if takes_any and flag not in kinds:
            named[flag] = value if equals else left.pop(0) if _has_word(left) else True
            continue
        check_known(flag, kinds)
        taken = _typed(flag, value if equals else _next_value(flag, kinds[flag], left), kinds[flag])
        named[flag] = [*named.get(flag, []), taken] if kinds[flag].startswith("list") else taken
    _check_count(positional, named, parameters)
    return _placed(positional, named, parameters), named


def check_known(name: str, known: Collection[str]) -> None:
    """Refuse a flag that isn't one of the known ones, and tell what it is called now, or the nearest of them."""
    if name not in known:
        if RENAMED.get(name) in known:
            raise UserFault(f"--{name} is called --{RENAMED[name]} now; --help shows what to give.")
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
        taken = left and (left[0] in TRUTHS or ("int" in kind and WHOLE.fullmatch(left[0])))
        return left.pop(0) if taken else "True"
    if not _has_word(left):
        raise UserFault(f"--{flag} needs a value.")
    return left.pop(0)


def _typed(flag: str, word: str, annotation: str) -> Any:
    kinds = [kind for kind in annotation.split(" | ") if kind in KINDS]
    if not kinds:
        return word
    if "bool" in kinds and word in TRUTHS:
        return TRUTHS[word]
    if ("int" in kinds or "float" in kinds) and WHOLE.fullmatch(word):
        return int(word)
    if "float" in kinds and DECIMAL.fullmatch(word):
        return float(word)
    raise UserFault(f"--{flag} takes {' or '.join(KINDS[kind] for kind in kinds)}, got '{word}'.")


def _check_count(
    words: Sequence[str], named: Mapping[str, Any], parameters: Collection[inspect.Parameter]
) -> None:
    places = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    free = [name for name in places if name not in named]
    endless = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if len(words) > len(free) and not endless:
        surplus = ", ".join(words[max(len(free) - 1, 0) :])
        raise UserFault(f"One {places[-1]} at a time; got {surplus}. Quote paths with spaces.")
    needed = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    missing = [name.upper() for name in free[len(words) :] if name in needed]
    if missing:
        raise UserFault(f"{' and '.join(missing)} missing; --help shows what to give.")


def _placed(
    words: Sequence[str], named: dict[str, Any], parameters: Collection[inspect.Parameter]
) -> list[Any]:
    """Words for the places that no flag has taken, in their order, as the annotations say."""
    places = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    left, values = list(words), []
    for place in places:
        if place.name in named:
            values.append(named.pop(place.name))
        elif left:
            values.append(_typed(place.name, left.pop(0), str(place.annotation)))
        else:
            values.append(place.default)
    return [*values, *left]
