"""How many trainings at a time, and who may begin."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from pgsam_monai.evaluation import sharing
from pgsam_monai.evaluation.sharing import Admission, share_machine


@pytest.fixture
def machine(monkeypatch):
    """Eight cores and no GPU, unless a test says otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(sharing, "usable_cores", lambda: 8)
    monkeypatch.setattr(sharing, "visible_gpus", lambda: [])
    return monkeypatch


@pytest.mark.parametrize(
    ("wanted", "parallel", "number", "threads", "why"),
    [
        (5, None, 5, 1, "5 at a time, bound by the 5 trainings, each with 1 of 8 cores"),
        (20, None, 8, 1, "bound by the 8 cores"),
        (2, None, 2, 4, "each with 4 of 8 cores"),
        (5, 1, 1, 8, "1 at a time, bound by --parallel, each with 8 of 8 cores"),
        (5, 9, 5, 1, "5 at a time"),
    ],
)
def test_cores_are_shared(machine, wanted, parallel, number, threads, why):
    shares = share_machine(wanted, device=None, parallel=parallel)
    assert [place.threads for place in shares.places] == [threads] * number and why in shares.why
    assert shares.waits is (parallel is None) and {place.gpu for place in shares.places} == {None}


def test_what_the_environment_says_of_threads_holds(machine):
    machine.setenv("OMP_NUM_THREADS", "3")
    shares = share_machine(2, device="cpu", parallel=None)
    assert {place.threads for place in shares.places} == {None} and "3 of 8 cores" in shares.why


def test_each_training_has_a_gpu_of_its_own(machine):
    machine.setattr(sharing, "visible_gpus", lambda: ["2", "5"])
    shares = share_machine(5, device=None, parallel=None)
    assert [place.gpu for place in shares.places] == [
        "2",
        "5",
    ] and "the 2 GPUs, each with one GPU" in shares.why
    assert share_machine(5, device="cpu", parallel=None).places[0].gpu is None


def test_the_next_begins_when_the_one_before_shows_what_it_takes_and_that_is_free(machine, tmp_path):
    free, said = [4e9], []
    machine.setattr(sharing, "LOOK_S", 0.01)
    machine.setattr(sharing, "running_bytes", lambda: [2e9, 4e9])
    machine.setattr(sharing, "free_memory_bytes", lambda: free[0])
    first, second = (SimpleNamespace(checkpoint=tmp_path / name) for name in "ab")
    admission = Admission(said.append)
    admission.wait(first)
    waiting = threading.Thread(target=admission.wait, args=(second,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive() and not said  # no epoch has ended
    first.checkpoint.touch()
    waiting.join(0.1)
    assert waiting.is_alive() and said == [
        "Bound by memory: a training takes 4.0 GB, and 4.0 GB are free; the next begins when there is room."
    ]
    free[0] = 6e9
    waiting.join(5)
    assert not waiting.is_alive()


def test_who_ended_leaves_room(machine, tmp_path):
    machine.setattr(sharing, "LOOK_S", 0.01)
    first, second = (SimpleNamespace(checkpoint=tmp_path / name) for name in "ab")
    admission = Admission(print)
    admission.wait(first)
    admission.ended(first)
    admission.wait(second)
