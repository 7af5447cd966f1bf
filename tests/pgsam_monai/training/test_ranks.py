import pytest
import torch
from torch import distributed

from pgsam_monai.training.ranks import is_main_process, rank_batch, rank_device


def test_ranks_are_torchruns(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert is_main_process() and rank_device() == torch.device("cuda", 0)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_main_process() and rank_device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert rank_device() == torch.device("cpu")


@pytest.mark.parametrize(("processes", "own"), [(1, 6), (2, 3), (4, 2), (8, 1)])
def test_a_batch_is_shared_out(processes, own, monkeypatch, caplog):
    monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
    assert rank_batch(6) == own
    assert ("so a step has 8; give a --batch_size" in caplog.text) is (processes > 2)
