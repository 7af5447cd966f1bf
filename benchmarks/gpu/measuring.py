"""Seconds and bytes, on a GPU or a CPU."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median

import torch


def seconds(call: Callable[[], object], device: torch.device, *, turns: int = 5) -> float:
    """Median of some turns after one that isn't counted, the device's work included."""
    call()
    measured = []
    for _ in range(turns):
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        measured.append(time.perf_counter() - started)
    return median(measured)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gb(call: Callable[[], object], device: torch.device) -> float:
    """GB that a call takes at most beside what was there: reserved by torch on a GPU, or by which the process grows on
    a CPU, where it never shrinks: ask once, in a fresh process."""
    if device.type != "cuda":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    call()
    synchronise(device)
    return (torch.cuda.max_memory_reserved(device) - before) / 1e9


def milliseconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 10 else f"{value:.1f} s"
