"""Cases that a network was trained on are not measured as unseen ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.trained_for import TrainedFor
from pgsam_monai.base.trained_on import digests_of, trained_on
from pgsam_monai.evaluation.unseen import require_unseen
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.training.starting import start_from

PLAN = {"configurations": {}}
VALUES = {
    "labels": [0, 1], "label_names": ["background", "disc"], "orientation": "PLS", "intensity": {"scheme": "unit8"},
    "image_size": 64, "fit": "pad", "spacing": None,
}  # fmt: skip


class Net(DescribedNetwork):
    description = {"network": "net"}

    def __init__(self, *names, dataset="spine"):
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.trained_for = TrainedFor.planned(
            PLAN | {"dataset": {"name": dataset, "channels": ["CT"]}}, "net", VALUES
        )
        self.trained_on = digests_of(names, dataset=dataset) if names else None


def saved(folder, *names, **options):
    torch.save(Net(*names, **options).state_dict(), folder / "model.pt")
    return folder / "model.pt"


def cases(*names):
    return [{"name": name} for name in names]


def test_weights_tell_which_cases_they_learnt_from_and_not_their_names(tmp_path):
    file = saved(tmp_path, "anna", "bert")
    assert trained_on(file, ["bert", "carl", "anna"]) == ["bert", "anna"]
    assert b"anna" not in file.read_bytes()
    assert trained_on(saved(tmp_path), ["anna"]) is None


def test_seen_cases_are_refused_unless_they_are_wished_for(tmp_path):
    file = saved(tmp_path, "anna", "bert")
    require_unseen(cases("carl"), file)
    require_unseen(cases("anna"), file, allowed=True)
    with pytest.raises(
        UserFault, match=r"was trained on 1 of these 2 cases \('bert', …\).*--allow_trained True"
    ):
        require_unseen(cases("carl", "bert"), file)
    with pytest.raises(UserFault, match="has no cases"):
        require_unseen([], file)
    with pytest.raises(FileNotFoundError, match="train the bundle first"):
        require_unseen(cases("carl"), tmp_path / "none.pt")


def test_weights_of_an_older_version_are_let_through_with_a_line(tmp_path, capsys):
    require_unseen(cases("anna"), saved(tmp_path))
    assert "doesn't say which cases it was trained on" in capsys.readouterr().out


def test_what_goes_on_with_weights_has_learnt_from_their_cases_too(tmp_path):
    file, resumed, tuned = saved(tmp_path, "anna"), Net("bert"), Net("carl")
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.trained_on == digests_of(["anna", "bert"], dataset="spine")
    start_from(tuned, file)
    assert tuned.trained_on == digests_of(["anna", "carl"], dataset="spine")


def test_another_data_set_has_other_cases_of_the_same_names(tmp_path):
    tuned = Net("carl")
    start_from(tuned, saved(tmp_path, "anna", dataset="knee"))
    torch.save(tuned.state_dict(), tmp_path / "tuned.pt")
    assert trained_on(tmp_path / "tuned.pt", ["anna", "carl"]) == ["carl"]
