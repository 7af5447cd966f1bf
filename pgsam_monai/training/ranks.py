"""One training in several processes, which torchrun starts: who this process is, and how they work together."""

from __future__ import annotations

import logging
import os

import torch
from monai.data import DistributedSampler
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from pgsam_monai.networks.description import DescribedNetwork

logger = logging.getLogger(__name__)


def is_main_process() -> bool:
    """True in the only process, or in the first of those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def rank_device() -> torch.device:
    """This process's GPU on its machine, as torchrun numbers them; the CPU without one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def join_ranks() -> None:
    """Meet the other processes; they wait for each other from here on."""
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(rank_device())


def data_parallel(network: DescribedNetwork, device: torch.device) -> DistributedDataParallel:
    """The network on this process's device; gradients are averaged over all of them.

    Parameters without gradient are looked for only where the network says that there may be any. Gradients lie where
    they are averaged, which saves a copy of each. Buffers are those of the first process, which saves them.
    """
    own = [device] if device.type == "cuda" else None
    return DistributedDataParallel(
        network.to(device), device_ids=own, find_unused_parameters=network.leaves_unused,
        gradient_as_bucket_view=True,
    )  # fmt: skip


def rank_batch(batch_size: int) -> int:
    """This process's part of a step's batch, so that on any number of GPUs a step is what the plan or recipe says.

    Rounded up: with more processes than samples each takes one, and a step has more than `batch_size`.
    """
    processes = distributed.get_world_size()
    own = -(-batch_size // processes)
    if is_main_process() and own * processes != batch_size:
        logger.warning(
            "A batch of %d can't be shared out evenly over %d processes: each takes %d, so a step has %d; give a "
            "--batch_size that %d divides for another.", batch_size, processes, own, own * processes, processes,
        )  # fmt: skip
    return own


def rank_sampler(dataset: Dataset) -> DistributedSampler | None:
    """This process's share of the cases; all of them where there are fewer cases than processes."""
    if len(dataset) < distributed.get_world_size():
        return None
    return DistributedSampler(dataset, shuffle=False, even_divisible=False)
