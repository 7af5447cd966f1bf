import pytest
import torch

from pgsam_monai.networks.description import check_description, pack_description, unpack_description


def test_round_trip_survives_weights_only_loading(tmp_path):
    description = {"network": "samed", "rank": 4}
    torch.save(pack_description(description), tmp_path / "d.pt")
    assert unpack_description(torch.load(tmp_path / "d.pt", weights_only=True)) == description


def test_different_descriptions_differ_in_length():
    lengths = {len(pack_description({"num_classes": k})) for k in range(20)}
    assert len(lengths) == 20


def test_every_difference_is_named():
    with pytest.raises(ValueError, match=r"A.pt belongs .*: rank 8 \(this network: 4\), x unknown"):
        check_description({"rank": 4, "b": 1, "x": 1}, {"rank": 8, "b": 1}, source="A.pt")


def test_what_descriptions_did_not_tell_before_is_known():
    check_description({"rank": 4, "decoder_layers": 2}, {"rank": 4}, source="A.pt")
    with pytest.raises(ValueError, match=r"decoder_layers 2 \(this network: 4\)"):
        check_description({"rank": 4, "decoder_layers": 4}, {"rank": 4}, source="A.pt")
