"""Where training is to run, with how much memory, and what the machine offers: found out without torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.rules.decision import Decision
from preprocess.rules.evidence import Evidence, Machine
from preprocess.rules.kind import FACTOR, choice, takes


@takes(choice("cpu", "gpu"))
def choose_target(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """ "cpu" or "gpu"."""
    return Decision(value=evidence.machine.target, reason=evidence.machine.target_reason)


@takes(FACTOR)
def choose_memory_gb(evidence: Evidence, decided: Mapping[str, Any]) -> Decision:
    """Memory for training in GB: the GPU's, or the RAM."""
    return Decision(value=evidence.machine.memory_gb, reason=evidence.machine.memory_reason)


NVIDIA_SMI_TIMEOUT_S = 10
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
UNLIMITED_GB = 1e5
ASSUMED_GPU_GB = 24


def find_machine(target: str | None = None) -> Machine:
    """A GPU if `nvidia-smi` lists one, else the CPU; memory is the smallest GPU's, or the RAM
    (container's limit).

    `target` "cpu" or "gpu" takes that side's memory; a "gpu" that isn't here is assumed to have 24 GB.
    """
    gpus = [] if target == "cpu" else read_gpus()
    if gpus:
        name, memory = min(gpus, key=lambda gpu: gpu[1])
        return Machine(
            target="gpu",
            memory_gb=memory,
            target_reason=f"nvidia-smi lists {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({name}).",
            memory_reason=f"The memory of the {name} is {memory} GB.",
        )
    ram = ram_gb()
    memory_reason = f"The machine's RAM is {ram} GB."
    if target == "gpu":
        memory_reason = f"No GPU is here to ask; {ASSUMED_GPU_GB} GB is assumed (--memory_gb tells another)."
    here = "A GPU wasn't looked for." if target == "cpu" else "No NVIDIA GPU was found (nvidia-smi)."
    return Machine(
        target="cpu",
        memory_gb=ASSUMED_GPU_GB if target == "gpu" else ram,
        target_reason=here,
        memory_reason=memory_reason,
    )


def read_gpus() -> list[tuple[str, int]]:
    """(name, memory in GB) of every NVIDIA GPU; empty where nvidia-smi is absent or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True
        ).stdout
        rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
        return [(name.strip(), round(float(memory) / 1024)) for name, memory in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def ram_gb() -> int:
    """RAM in whole GB, or the container's limit where that is lower; at least 1."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    except (AttributeError, OSError, ValueError):
        total = 8.0
    limits = [_limit_gb(Path(path)) for path in CGROUP_LIMITS]
    return max(1, round(min([total, *limits])))


def _limit_gb(path: Path) -> float:
    try:
        return float(path.read_text()) / 1024**3
    except (OSError, ValueError):
        return UNLIMITED_GB
