"""TorchScript archives are read tensor by tensor; whatever else they hold is neither run nor unpickled."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.weights.files import load_weights
from pgsam_monai.weights.torchscript import (
    Unreadable,
    code_holds,
    is_torchscript,
    module_tree,
    read_torchscript,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Tower(nn.Module):
    """Half and whole numbers, a scalar, views of one storage, lists, numbers and texts beside them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.halves = nn.Parameter(torch.randn(3, 4, dtype=torch.half))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.turned = nn.Parameter(torch.randn(2, 5).t())
        self.register_buffer("counts", torch.arange(70_000))
        self.blocks = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.LayerNorm(3))
        self.input_resolution, self.names, self.share = 224, ["a", "b"], 0.5

    def forward(self, x):
        return self.blocks(x) * torch.sigmoid(1.702 * x.sum()) + self.share + len(self.names)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder, network = tmp_path_factory.mktemp("scripted"), Tower()
    torch.jit.script(network).save(folder / "scripted.pt")
    torch.jit.trace(network, torch.zeros(1, 2)).save(folder / "traced.pt")
    torch.save(network.state_dict(), folder / "state.pt")
    return network, folder


@pytest.mark.parametrize("name", ["scripted.pt", "traced.pt"])
def test_an_archive_gives_the_state_dict_of_its_module(saved, name):
    network, folder = saved
    state, expected = load_weights(folder / name), network.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert state[key].dtype == value.dtype and torch.equal(state[key], value), key


def test_what_is_such_an_archive_and_what_its_code_says(saved, tmp_path):
    _, folder = saved
    assert [is_torchscript(folder / f"{name}.pt") for name in ("scripted", "traced", "state")] == [
        True,
        True,
        False,
    ]
    (tmp_path / "text.pt").write_bytes(b"no archive")
    assert not is_torchscript(tmp_path / "text.pt") and not is_torchscript(tmp_path / "none.pt")
    assert code_holds(folder / "traced.pt", "torch.sigmoid(") and code_holds(folder / "scripted.pt", "1.702")
    assert not code_holds(folder / "traced.pt", "torch.tanh(")


def changed(source, target, entry, content, *, compress=zipfile.ZIP_STORED):
    """A copy of an archive in which the entry of that end has other bytes; None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            ours = info.filename.endswith(entry)
            if not (ours and content is None):
                kind = compress if ours else info.compress_type
                new.writestr(info.filename, content if ours else old.read(info), kind)
    return target


class Attack:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [(os.mkdir, "ran"), (eval, "1/0"), (torch.load, "x")])
def test_what_would_be_called_is_refused_and_not_called(saved, tmp_path, monkeypatch, call, protocol):
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps(Attack(*call), protocol)
    with pytest.raises(Unreadable):
        module_tree(evil)
    file = changed(saved[1] / "scripted.pt", tmp_path / "evil.pt", "/data.pkl", evil)
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        load_weights(file)
    assert not (tmp_path / "ran").exists()


def test_damaged_and_dishonest_archives_are_refused(saved, tmp_path):
    source = saved[1] / "scripted.pt"
    with zipfile.ZipFile(source) as archive:
        tree = archive.read("scripted/data.pkl")
    for number, (entry, content, compress) in enumerate(
        [
            ("/data.pkl", tree[:-40], zipfile.ZIP_STORED),
            ("/data.pkl", b"", zipfile.ZIP_STORED),
            ("/data.pkl", pickle.dumps({"a": 1}, 2), zipfile.ZIP_STORED),
            ("/data.pkl", tree.replace(b"HalfStorage", b"OddsStorage"), zipfile.ZIP_STORED),
            ("/data/0", bytes(23), zipfile.ZIP_STORED),
            ("/data/0", bytes(22), zipfile.ZIP_STORED),
            ("/data/0", None, zipfile.ZIP_STORED),
            ("/data/0", bytes(24), zipfile.ZIP_DEFLATED),
        ]
    ):
        file = changed(source, tmp_path / f"{number}.pt", entry, content, compress=compress)
        with pytest.raises(Unreadable):
            read_torchscript(file)
        with pytest.raises(UserFault, match="can't be read as plain tensors"):
            load_weights(file)
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        place = archive.getinfo("scripted/data/3").header_offset
    content[place + 200] ^= 1
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        load_weights(tmp_path / "flipped.pt")


def test_a_tensor_larger_than_its_archive_is_refused(tmp_path):
    network = nn.Linear(1, 1)
    network.weight.data = torch.ones(1).expand(1 << 20, 1 << 20)[:, :1].as_strided((1 << 20, 1 << 12), (0, 0))
    torch.jit.script(network).save(tmp_path / "wide.pt")
    with pytest.raises(UserFault, match="'weight' is no plain tensor"):
        load_weights(tmp_path / "wide.pt")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    network = nn.Linear(1, 1)
    network.weight.data.fill_(float("nan"))
    torch.jit.script(network).save(tmp_path / "nan.pt")
    with pytest.raises(UserFault, match="no finite numbers"):
        load_weights(tmp_path / "nan.pt")


def test_a_tree_that_holds_itself_is_refused():
    tree = module_tree(_looped())
    from pgsam_monai.weights.torchscript import _views

    with pytest.raises(Unreadable, match="holds itself"):
        list(_views(tree))


def _looped():
    stream = io.BytesIO()
    stream.write(b"\x80\x02c__torch__\nA\n)\x81q\x00}X\x04\x00\x00\x00selfh\x00sb.")
    return stream.getvalue()
