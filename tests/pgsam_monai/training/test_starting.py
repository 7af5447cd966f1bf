"""What a training takes over from a trained network, and what starts anew."""

import logging

import pytest
import torch
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.description import pack_description
from pgsam_monai.networks.samed import SAMed
from pgsam_monai.training.starting import start_from


class Net(nn.Module):
    """A body of 16 numbers, a head of 5 per class, and a description of the classes."""

    def __init__(self, classes=2, body=4, value=0.0):
        super().__init__()
        self.classes = classes
        self.body = nn.Linear(4, body, bias=False)
        self.head = nn.Linear(4, classes)
        self.register_buffer("mean", torch.full((3,), value))
        for parameter in self.parameters():
            nn.init.constant_(parameter, value)

    def get_extra_state(self):
        return pack_description({"classes": self.classes})

    def set_extra_state(self, state):
        if not torch.equal(state, self.get_extra_state()):
            raise ValueError("described otherwise")


def saved(folder, network, name="model.pt"):
    (folder / "models").mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "models" / name)
    return folder


def constant(network):
    """The value of each entry, where it has but one."""
    state = {name: value for name, value in network.state_dict().items() if name != "_extra_state"}
    return {name: value.unique().tolist() for name, value in state.items()}


def test_nothing_to_start_from():
    network = Net(value=1.0)
    start_from(network, None)
    assert set(map(str, constant(network).values())) == {"[1.0]"}


def test_all_of_an_equal_network(tmp_path):
    network = Net()
    start_from(network, saved(tmp_path, Net(value=3.0)))
    assert constant(network) == {name: [3.0] for name in ("body.weight", "head.weight", "head.bias", "mean")}


def test_classes_start_anew_and_are_named(tmp_path, caplog):
    network = Net(classes=3, value=1.0)
    with caplog.at_level(logging.INFO, "pgsam_monai.training.starting"):
        start_from(network, saved(tmp_path, Net(classes=2, value=3.0)) / "models/model.pt")
    assert constant(network) == {
        "body.weight": [3.0],
        "head.weight": [1.0],
        "head.bias": [1.0],
        "mean": [3.0],
    }
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "pgsam_monai.training.starting"
    ]
    assert f"Training starts from {tmp_path}/models/model.pt: 2 of 4 entries taken, 51.6 %" in line
    assert (
        "other shapes, start anew: 2 (head.weight, head.bias)" in line
        and "not in the file, start anew: 0" in line
    )


def test_entries_that_one_side_lacks_are_told(tmp_path, caplog):
    other = Net(value=3.0)
    other.extra = nn.Linear(2, 2)
    file = saved(tmp_path, other)
    network = Net()
    network.added = nn.Parameter(torch.zeros(2))
    with caplog.at_level(logging.INFO, "pgsam_monai.training.starting"):
        start_from(network, file)
    assert "not in the file, start anew: 1 (added); 2 entries of the file left unread" in caplog.text


def test_a_checkpoint_of_a_training(tmp_path):
    file = tmp_path / "checkpoint_last.pt"
    torch.save({"model": Net(value=3.0).state_dict(), "optimizer": {}, "epoch": 4}, file)
    network = Net()
    start_from(network, str(file))
    assert constant(network)["body.weight"] == [3.0]


def test_another_network_is_refused_and_nothing_is_taken(tmp_path):
    network = Net(value=1.0)
    with pytest.raises(
        ValueError, match="another network's: 38% of this network's parameters fit, at least 50%"
    ):
        start_from(network, saved(tmp_path, Net(body=5, value=3.0)))
    assert constant(network)["head.weight"] == [1.0]


def test_files_that_are_not_there_or_no_tensors(tmp_path):
    with pytest.raises(FileNotFoundError, match="models/model.pt' does not exist; train that bundle first"):
        start_from(Net(), tmp_path)
    with pytest.raises(FileNotFoundError, match="none.pt"):
        start_from(Net(), tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        start_from(Net(), tmp_path / "text.pt")


@pytest.mark.parametrize("field", ["network", "backbone"])
def test_another_kind_of_network_is_refused_though_its_weights_fit(tmp_path, field):
    """SAM networks share a decoder of which more than half of a small one's weights are made."""

    def described(**changes):
        network = Net(value=1.0)
        network.description = {"network": "samed", "backbone": "vit_tiny", "num_classes": 2} | changes
        network.get_extra_state = lambda: pack_description(network.description)
        network.set_extra_state = lambda state: None
        return network

    folder = saved(tmp_path, described(**{field: "other", "num_classes": 7}))
    with pytest.raises(ValueError, match=rf"another network's: {field} other \(here: "):
        start_from(described(), folder)
    start_from(described(), saved(tmp_path / "same", described(num_classes=7)))


class Placed(nn.Module):
    """A body, and SAM's position tables for a square grid of tokens, one channel."""

    def __init__(self, side, value=0.0):
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.pos_embed = nn.Parameter(torch.full((1, side, side, 1), value))
        self.attention = nn.Module()
        self.attention.rel_pos_h = nn.Parameter(torch.full((2 * side - 1, 1), value))


def test_position_tables_of_another_image_size_are_resized(tmp_path, caplog):
    small, large = Placed(2), Placed(4, value=9.0)
    small.pos_embed.data[0, 1] = 4.0  # the lower row of tokens
    small.attention.rel_pos_h.data[1] = 7.0  # no offset
    with caplog.at_level(logging.INFO, "pgsam_monai.training.starting"):
        start_from(large, saved(tmp_path, small))
    assert large.pos_embed[0, :, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert large.attention.rel_pos_h[[0, 3, 6], 0].tolist() == [0.0, 7.0, 0.0]
    assert "position tables resized: 2 (attention.rel_pos_h, pos_embed)" in caplog.text


def test_a_samed_goes_on_at_a_larger_image_size(tmp_path):
    def samed(size):
        return SAMed(
            num_classes=2, image_size=size, in_channels=1, backbone="vit_tiny", weights=None, encoder_training="full"
        )  # fmt: skip

    small, large = samed(32), samed(64)
    start_from(large, saved(tmp_path, small))
    own, learnt = large.state_dict(), small.state_dict()
    differing = [name for name in own if not torch.equal(own[name], learnt[name])]
    assert differing == ["_extra_state", "image_encoder.pos_embed"]
    assert own["image_encoder.pos_embed"].shape[1:3] == (4, 4)
