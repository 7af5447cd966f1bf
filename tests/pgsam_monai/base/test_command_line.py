"""What is typed, settled before python-fire sees it, and how faults end a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pgsam_monai.base.command_line import OURS, checked_words, told
from pgsam_monai.base.errors import MissingFile, UserFault


def serve(*bundles: str, port: int = 1, studies: str | None = None, train: bool = True) -> None: ...


def show(
    image: str, page: str | None = None, *, classes: list[str] | None = None, zoom: bool | int = 1
) -> None: ...


def fit(bundle: str, *, resume: bool = False, **overrides: object) -> None: ...


@pytest.mark.parametrize(
    ("command", "typed", "settled"),
    [
        (show, ["7", "a,b"], ["'7'", "'a,b'"]),
        (show, ["x", "--page", "7"], ["'x'", "--page='7'"]),
        (show, ["--zoom", "x"], ["'x'", "--zoom=True"]),
        (show, ["x", "--zoom", "3"], ["'x'", "--zoom=3"]),
        (show, ["x", "--classes", "a", "--classes=b"], ["'x'", "--classes=['a', 'b']"]),
        (show, ["-i", "x", "-p=y"], ["--image='x'", "--page='y'"]),
        (serve, ["a", "b", "--train", "False", "--port", "-1"], ["'a'", "'b'", "--train=False", "--port=-1"]),
        (
            fit,
            ["x", "--an-epoch", "3", "--resume", "--amp"],
            ["'x'", "--an-epoch", "3", "--resume=True", "--amp"],
        ),
        (show, ["--help"], ["--help"]),
        (show, ["x", "--", "--trace"], ["'x'", "--", "--trace"]),
    ],
)
def test_annotations_say_how_words_are_taken(command, typed, settled):
    assert checked_words(typed, command) == settled


@pytest.mark.parametrize(
    ("command", "typed", "said"),
    [
        (show, ["x", "--pge", "y"], "--pge is no option here. Did you mean --page?"),
        (show, ["x", "--page"], "--page needs a value"),
        (show, ["x", "--page", "--zoom"], "--page needs a value"),
        (show, ["x", "y", "z"], "One page at a time; got y, z. Quote paths with spaces."),
        (serve, ["--bundles", "x"], "--bundles is no option here"),
    ],
)
def test_what_cannot_be_meant_is_told(command, typed, said):
    with pytest.raises(UserFault) as fault:
        checked_words(typed, command)
    assert said in str(fault.value)


def wrapped(fault):
    try:
        raise fault
    except Exception as cause:
        raise RuntimeError("MONAI failed to instantiate something") from cause


def test_a_users_fault_is_one_sentence(capsys):
    with pytest.raises(SystemExit, match="^pgsam: no such folder$"), told("pgsam"):
        wrapped(UserFault("no such folder"))
    with pytest.raises(SystemExit, match="^pgsam: no such file$"), told("pgsam"):
        raise MissingFile("no such file")
    assert capsys.readouterr().err == ""


def test_a_fault_of_ours_keeps_its_traceback_and_says_where_to_report_it(capsys):
    with pytest.raises(SystemExit) as end, told("pgsam"):
        wrapped(ValueError("operands could not be broadcast"))
    assert end.value.code == f"pgsam: {OURS}" and "issue tracker" in OURS
    told_before = capsys.readouterr().err
    assert "Traceback" in told_before and "operands could not be broadcast" in told_before


def test_an_interruption_is_quiet(capsys):
    with pytest.raises(SystemExit, match="^pgsam: interrupted.$"), told("pgsam"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("module", "words", "broken"),
    [
        ("pgsam_monai", ["weights", "list"], "pgsam_monai.weights.files.find_weights"),
        ("preprocess", ["."], "preprocess.planning.find_dataset"),
    ],
)
def test_both_commands_tell_numpys_value_error_as_ours(module, words, broken, tmp_path):
    room, name = broken.rsplit(".", 1)
    code = (
        f"import {room}, numpy, {module}.commands.main as main; "
        f"{room}.{name} = lambda *a, **b: numpy.ones(2) + numpy.ones(3); main.main({words})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: operands could not be broadcast" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(OURS)
