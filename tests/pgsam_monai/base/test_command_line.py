"""What is typed is what its parameter says, and nothing is guessed; how faults end a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from pgsam_monai.base.command_line import OURS, asks_for_help, read_words, told
from pgsam_monai.base.errors import MissingFile, UserFault


def serve(*bundles: str, port: int = 1, studies: str | None = None, train: bool = True) -> None: ...


def show(
    image: str, page: str | None = None, *, classes: list[str] | None = None, zoom: bool | int = 1
) -> None: ...


def fit(bundle: str, *, resume: bool = False, **overrides: object) -> None: ...


def measure(scan: str, *, cases: int | None = None, share: float | None = None) -> None: ...


@pytest.mark.parametrize(
    ("command", "typed", "arguments", "keywords"),
    [
        (show, ["x", "--page", "7"], ["x", "7"], {}),
        (show, ["--zoom", "x"], ["x", None], {"zoom": True}),
        (show, ["x", "--zoom", "3"], ["x", None], {"zoom": 3}),
        (show, ["x", "--zoom=False"], ["x", None], {"zoom": False}),
        (show, ["x", "--classes", "a", "--classes=b"], ["x", None], {"classes": ["a", "b"]}),
        (show, ["-i", "x", "-p=y"], ["x", "y"], {}),
        (show, ["--page", "y", "x"], ["x", "y"], {}),
        (show, ["x", "--", "--page"], ["x", "--page"], {}),
        (serve, ["a", "b", "--train", "False", "--port", "-1"], ["a", "b"], {"train": False, "port": -1}),
        (serve, ["--train", "1", "2"], ["1", "2"], {"train": True}),  # a switch leaves folders alone
        (
            fit,
            ["x", "--an-epoch", "3", "--resume", "--amp"],
            ["x"],
            {"an_epoch": "3", "resume": True, "amp": True},
        ),
        (measure, ["x", "--cases=-2", "--share", "1e-3"], ["x"], {"cases": -2, "share": 0.001}),
        (measure, ["x", "--share", "6"], ["x"], {"share": 6}),
    ],
)
def test_annotations_say_how_words_are_taken(command, typed, arguments, keywords):
    assert read_words(typed, command) == (arguments, keywords)


ODD = [
    "20240101", "0001_0002", "1e3", "2024-10-10", "Doe,John", "None", "True", "[a]", "{b}", "(1, 2)", "a b", "'q'", '"',
    "0x1f", "1_0", "-7", "$HOME", "a=b", "#1", "b'x'", "lambda: 0", "nan", "ü", "\n", " ", "...", "1j", "@device", "-",
]  # fmt: skip


@pytest.mark.parametrize("word", ODD)
def test_no_text_is_taken_for_anything_else(word):
    assert read_words([word], show) == ([word, None], {})
    assert read_words(["x", word], show) == (["x", word], {})
    assert read_words(["x", f"--page={word}"], show) == (["x", word], {})
    assert read_words(["x", "--page", word], show) == (["x", word], {})
    assert read_words(["x", "--classes", word], show) == (["x", None], {"classes": [word]})
    assert read_words([word], serve) == ([word], {})
    assert read_words(["x", "--name", word], fit) == (["x"], {"name": word})


@pytest.mark.parametrize("word", ["-x", "--page", "--", "-h"])
def test_what_looks_like_a_flag_may_be_a_name_too(word):
    assert read_words([f"--image={word}"], show) == ([word, None], {})
    assert read_words(["--", word], show) == ([word, None], {})


@pytest.mark.parametrize(
    ("command", "typed", "said"),
    [
        (show, ["x", "--pge", "y"], "--pge is no option here. Did you mean --page?"),
        (show, ["x", "--page"], "--page needs a value"),
        (show, ["x", "--page", "--zoom"], "--page needs a value"),
        (show, ["x", "y", "z"], "One page at a time; got y, z. Quote paths with spaces."),
        (show, ["x", "y", "--page", "z"], "One page at a time; got x, y."),
        (show, [], "IMAGE missing"),
        (serve, ["--bundles", "x"], "--bundles is no option here"),
        (serve, ["x", "--port", "8e3"], "--port takes a whole number, got '8e3'."),
        (serve, ["x", "--port", "1_0"], "--port takes a whole number, got '1_0'."),
        (serve, ["x", "--train=no"], "--train takes True or False, got 'no'."),
        (show, ["x", "--zoom=[1]"], "--zoom takes True or False or a whole number, got '[1]'."),
        (measure, ["x", "--share", "nan"], "--share takes a number, got 'nan'."),
        (measure, ["x", "--cases", "None"], "--cases takes a whole number, got 'None'."),
    ],
)
def test_what_cannot_be_meant_is_told(command, typed, said):
    with pytest.raises(UserFault) as fault:
        read_words(typed, command)
    assert said in str(fault.value)


def test_help_is_asked_for_before_two_hyphens():
    assert asks_for_help(["x", "--help"]) and asks_for_help(["-h"])
    assert not asks_for_help(["x", "--", "--help"]) and not asks_for_help(["--image=--help"])


def test_names_that_a_terminal_cannot_show_are_printed_all_the_same():
    code = (
        "from pgsam_monai.base.command_line import told\n"
        "with told('pgsam'):\n    print('a\\udcff', 'ü')\n    raise KeyError('\\udcff')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stdout == "a\\udcff \\xfc\n" and done.stderr.splitlines()[-1].endswith(OURS)


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


def test_what_pgsam_runtime_leaves_out_is_told(capsys):
    with pytest.raises(SystemExit) as end, told("pgsam"):
        raise ModuleNotFoundError("No module named 'monai'", name="monai")
    assert str(end.value).startswith("pgsam: monai is needed for that, which pgsam-runtime leaves out")


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


SLOW = """
import sys, time
from pgsam_monai.base.command_line import end_if_asked, told
with told("pgsam"):
    print("ready", flush=True)
    try:
        time.sleep(30)
    except BaseException as fault:
        if sys.argv[1] == "raises":
            raise
        if sys.argv[1] == "wraps":
            raise RuntimeError("a library met a fault") from fault
    end_if_asked()
"""


@pytest.mark.parametrize("library", ["raises", "wraps", "swallows"])
@pytest.mark.parametrize(
    ("sent", "said"), [(signal.SIGINT, "interrupted."), (signal.SIGTERM, "ended by SIGTERM.")]
)
def test_a_signal_ends_with_a_sentence_whatever_a_library_makes_of_it(sent, said, library):
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, library], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        _, told_last = process.communicate(timeout=20)
    assert process.returncode == 1 and told_last == f"pgsam: {said}\n"


DEAF = """
import subprocess, sys, time
import pgsam_monai.base.command_line as command_line
command_line.GRACE_S = 1
with command_line.told("pgsam"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    said = False
    while True:
        try:
            if not said:
                said = True
                print(child.pid, flush=True)
            time.sleep(30)
        except KeyboardInterrupt:
            pass
"""


def test_who_hears_no_signal_is_ended_after_a_while_and_its_children_too():
    """What is raised in a library's hook, at a fork, is lost."""
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert said == "pgsam: ended by SIGTERM.\n" and process.returncode == 128 + signal.SIGTERM
    assert wait_until(lambda: is_gone(child))  # killed, but an ending process is still seen for a moment


def is_gone(number: int) -> bool:
    """No process has this number, or one that nobody has buried."""
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds, limit_s=10.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + limit_s
    while not (done := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def test_a_sentence_with_an_endless_name_is_short():
    with pytest.raises(SystemExit) as end, told("pgsam"):
        raise UserFault(f"Class '{'x' * 9000}' is unknown.")
    assert len(end.value.code) < 400 and end.value.code.endswith("xxx' is unknown.")


LOST = """
import sys, time
import pgsam_monai.base.command_line as command_line
command_line.GRACE_S = 1
class Slow:
    def __del__(self):
        print("ready", flush=True)
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            if sys.argv[1] == "wraps":
                raise RuntimeError("a worker is gone")
            raise
with command_line.told("pgsam"):
    Slow()
    time.sleep(30)
"""


@pytest.mark.parametrize("library", ["raises", "wraps"])
def test_what_is_lost_in_a_callback_shows_no_traceback(library):
    with subprocess.Popen(
        [sys.executable, "-c", LOST, library], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert said == "pgsam: ended by SIGTERM.\n"


def test_who_reads_may_stop_reading():
    code = "from pgsam_monai.base.command_line import told\nwith told('pgsam'):\n    print('x' * 999999)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize("length", [3, 999999])
def test_a_full_disk_below_the_output_is_a_sentence(length):
    code = f"from pgsam_monai.base.command_line import told\nwith told('pgsam'):\n    print('x' * {length})"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr.startswith("pgsam: there is no room left") and "Traceback" not in done.stderr
    assert done.returncode != 0


def test_sigterm_ends_a_command_with_a_sentence_and_leaves_nothing_unfinished(tmp_path):
    program = (
        "import sys, time\nfrom pgsam_monai.base.command_line import told\nfrom pgsam_monai.base.files import whole\n"
        "with told('pgsam'), whole(sys.argv[1]) as partial:\n"
        "    partial.write_text('half')\n    print('begun', flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "result.txt")], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert said == "pgsam: ended by SIGTERM.\n" and process.returncode == 1
    assert list(tmp_path.iterdir()) == []
