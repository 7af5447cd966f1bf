"""What the system refuses is told in a sentence, however libraries wrap it."""

import errno

import pytest

from pgsam_monai.base.errors import UserFault, causes, system_sentence


class SafetensorError(Exception):
    """As safetensors has it, which is no OSError."""


def wrapped(fault):
    try:
        try:
            raise fault
        except Exception as inner:
            raise ValueError("a library's own words") from inner
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(errno.ENOSPC, "full", "a/b"), "'a/b': there is no room left"),
        (FileExistsError(errno.EEXIST, "there", "a"), "a file lies where a folder is needed"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no room left"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), "no room left"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "rename it"),
    ],
)
def test_what_a_user_can_mend_is_found_below_wrappers(fault, said):
    assert said in system_sentence(fault) and said in system_sentence(wrapped(fault))


@pytest.mark.parametrize(
    "fault",
    [KeyError("memory"), RuntimeError("shapes differ"), OSError("odd"), UserFault("no space left on device")],
)
def test_other_faults_are_none_of_the_systems(fault):
    assert system_sentence(fault) is None


def test_circles_of_causes_end():
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert list(causes(one)) == [one, two]
