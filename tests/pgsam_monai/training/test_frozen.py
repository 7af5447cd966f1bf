"""What training leaves as it is is written once, comes back by its hash, and never as something else."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.training import checkpoints as module
from pgsam_monai.training.checkpoints import LAST_CHECKPOINT, TrainingCheckpoints
from pgsam_monai.training.frozen import PREFIX, digest_of, frozen_file, split_state, with_frozen
from pgsam_monai.training.starting import start_from


class Adapted(nn.Module):
    """A frozen layer of 4 MB, a trained one of 8 bytes, and a count."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder, self.head = nn.Linear(1000, 1000, bias=False), nn.Linear(1, 1)
        self.encoder.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(()))


class Run:
    """A training that adds 1 to the trained weight, and to the count, in each epoch."""

    def __init__(self, folder, *, epochs, seed=0, seconds=0.0):
        self.network = network = Adapted(seed)
        optimizer = torch.optim.AdamW(network.head.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

        def step(engine, batch):
            network.head.weight.data += 1
            network.seen += 1

        self.trainer = Engine(step)
        self.trainer.state.max_epochs, self.trainer.state.epoch_length = epochs, 1
        self.checkpoints = TrainingCheckpoints(
            str(folder), network=network, optimizer=optimizer, lr_scheduler=schedule, selection="last",
            seconds=seconds,
        )  # fmt: skip
        self.checkpoints.attach(self.trainer, Engine(lambda engine, batch: None))

    def __call__(self):
        self.trainer.run([0])
        return self

    def resume(self):
        self.checkpoints.resume(self.trainer)
        return self


def frozen_files(folder):
    return sorted(folder.glob(f"{PREFIX}*.pt"))


def test_the_frozen_part_is_what_has_no_gradient_and_buffers_are_not_in_it():
    changing, frozen = split_state(Adapted())
    assert set(changing) == {"head.weight", "head.bias", "seen"} and set(frozen) == {"encoder.weight"}
    assert digest_of({}) is None
    digest = digest_of(frozen)
    frozen["encoder.weight"][3, 4] += 1e-7
    assert digest_of(frozen) != digest
    assert digest_of({"a": torch.zeros(2, 3)}) != digest_of({"a": torch.zeros(3, 2)})
    assert digest_of({"a": torch.tensor(1.0), "b": torch.ones(1, dtype=torch.bfloat16)})


def test_an_epoch_writes_what_training_changes(tmp_path):
    Run(tmp_path, epochs=1)()
    (frozen,) = frozen_files(tmp_path)
    assert frozen.stat().st_size > 4_000_000 > 100_000 > (tmp_path / LAST_CHECKPOINT).stat().st_size
    first = frozen.stat()
    Run(tmp_path, epochs=3).resume()()
    assert frozen.stat() == first  # neither written nor renamed again
    assert (tmp_path / "model.pt").stat().st_size > 4_000_000


def test_a_resumed_training_has_the_frozen_part_that_it_was_trained_with(tmp_path):
    first = Run(tmp_path, epochs=2)()
    second = Run(tmp_path, epochs=3, seed=1).resume()
    assert torch.equal(second.network.encoder.weight, first.network.encoder.weight)
    second()
    assert second.network.seen == 3 and second.trainer.state.epoch == 3


@pytest.mark.parametrize("harm", ["missing", "other", "damaged"])
def test_without_it_nothing_is_resumed_or_started_from(tmp_path, harm):
    Run(tmp_path, epochs=1)()
    (file,) = frozen_files(tmp_path)
    if harm == "missing":
        file.unlink()
    elif harm == "other":
        torch.save(split_state(Adapted(seed=1))[1], file)
    else:
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserFault, match=f"{file.name}.*; delete checkpoint_last.pt to train anew"):
        Run(tmp_path, epochs=2).resume()
    with pytest.raises(UserFault, match=file.name):
        start_from(Adapted(), tmp_path / LAST_CHECKPOINT)
    Run(tmp_path, epochs=1)()  # anew: it is written again
    Run(tmp_path, epochs=2).resume()


def test_checkpoints_of_earlier_versions_hold_everything_and_go_on(tmp_path):
    first = Run(tmp_path, epochs=2)()
    (file,) = frozen_files(tmp_path)
    state = with_frozen(torch.load(tmp_path / LAST_CHECKPOINT, weights_only=True), tmp_path / LAST_CHECKPOINT)
    del state["frozen"]
    torch.save(state, tmp_path / LAST_CHECKPOINT)
    file.unlink()
    second = Run(tmp_path, epochs=3, seed=1).resume()()
    assert torch.equal(second.network.encoder.weight, first.network.encoder.weight)
    assert second.network.seen == 3 and frozen_files(tmp_path) == [file]


def test_a_training_can_start_from_such_a_checkpoint(tmp_path):
    first, other = Run(tmp_path, epochs=2)(), Adapted(seed=1)
    start_from(other, tmp_path / LAST_CHECKPOINT)
    assert all(torch.equal(other.state_dict()[name], v) for name, v in first.network.state_dict().items())


def test_a_kill_between_both_files_leaves_the_checkpoint_before_usable(tmp_path, monkeypatch):
    first = Run(tmp_path, epochs=2)()

    def killed(content, file):
        if file.name == LAST_CHECKPOINT:
            raise KeyboardInterrupt
        save(content, file)

    save = module.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(tmp_path, epochs=1, seed=1)()
    assert len(frozen_files(tmp_path)) == 2
    resumed = Run(tmp_path, epochs=3, seed=2).resume()
    assert torch.equal(resumed.network.encoder.weight, first.network.encoder.weight)
    resumed()
    assert frozen_files(tmp_path) == [frozen_file(tmp_path, digest_of(split_state(first.network)[1]))]


def test_short_epochs_are_saved_once_a_minute_and_the_last_one_always(tmp_path, monkeypatch):
    now, saved = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    run = Run(tmp_path, epochs=8, seconds=60)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: now.__setitem__(0, now[0] + 25))
    save = run.checkpoints.save_last
    run.checkpoints.save_last = lambda trainer: (saved.append(trainer.state.epoch), save(trainer))
    run()
    assert saved == [1, 4, 7, 8]
    run = Run(tmp_path, epochs=8, seconds=60).resume()()  # complete: nothing is trained or saved
    assert torch.load(tmp_path / LAST_CHECKPOINT, weights_only=True)["epoch"] == 8


def test_what_replaced_the_model_is_saved_with_it(tmp_path):
    run = Run(tmp_path, epochs=6, seconds=1e9)
    saved, save = [], run.checkpoints.save_last
    run.checkpoints.save_last = lambda trainer: (saved.append(trainer.state.epoch), save(trainer))
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: run.checkpoints.best.update(epoch=3) if run.trainer.state.epoch == 3 else None,
    )
    run()
    assert saved == [1, 3, 6]
