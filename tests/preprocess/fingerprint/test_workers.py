"""Processes: how many, and what happens when one dies."""

import os
import time

import pytest
from facts_builders import four_cases

from preprocess.fingerprint.dataset import measure_dataset
from preprocess.fingerprint.workers import choose_workers, run_in_processes


@pytest.fixture
def dataset(tmp_path):
    return four_cases(tmp_path)


def _die_at_three(number):
    if number == 3:
        time.sleep(0.05)
        os._exit(9)
    return number * 10


def test_a_process_that_dies_costs_one_item():
    assert sorted(run_in_processes(_die_at_three, range(6), workers=2)) == [
        (0, 0),
        (1, 10),
        (2, 20),
        (3, None),
        (4, 40),
        (5, 50),
    ]


def test_workers_are_chosen_from_free_memory(dataset, monkeypatch):
    monkeypatch.setattr("preprocess.fingerprint.workers.usable_cores", lambda: 8)
    monkeypatch.setattr("preprocess.fingerprint.workers.free_memory_bytes", lambda: 300 << 20)
    assert choose_workers(dataset) == (2, "0.3 GB free memory at 0.1 GB a case")
    monkeypatch.setattr("preprocess.fingerprint.workers.free_memory_bytes", lambda: None)
    assert choose_workers(dataset) == (4, "4 cases")


def test_processes_give_the_same_as_one(dataset):
    assert measure_dataset(dataset, workers=2) == measure_dataset(dataset, workers=1)
