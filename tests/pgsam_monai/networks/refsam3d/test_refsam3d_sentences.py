"""The whole network where a frozen sentence encoder reads: no part of it, and both ways to ask all the same."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss

from pgsam_monai.base.errors import UserFault
from pgsam_monai.networks.refsam3d import ReferringTraining, RefSAM3D
from pgsam_monai.networks.traced import TracedVolumeNetwork
from pgsam_monai.training.losses import RequestLoss

PATCH = (32, 32, 16)
NAMES = ["background", "left kidney", "right kidney", "liver"]


def make(**changes):
    torch.manual_seed(0)
    arguments = {
        "num_classes": 3, "patch": PATCH, "token_size": (8, 8, 4), "backbone": "vit_mini", "window": 3,
        "encoder_training": "full", "texts": [[f"The {name} on CT."] for name in NAMES], "names": NAMES,
        "text_encoder": "/models/letters",
    }  # fmt: skip
    return RefSAM3D(**(arguments | changes))


@pytest.mark.parametrize("share", [1.0, 0.25], ids=["asked", "all"])
def test_everything_is_trained_but_the_encoder(asked, share, monkeypatch):
    network = make(referring=ReferringTraining(share=share)).train()
    monkeypatch.setattr("pgsam_monai.networks.refsam3d.answering.is_drawn", lambda wanted: wanted > 0.4)
    assert network.clip is None and network.projector.layers[0].in_features == 26
    loss = RequestLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    label = torch.randint(4, (2, 1, *PATCH)).float()
    for _ in range(2):  # what starts at zero hides what lies behind it
        optimizer.zero_grad()
        loss(network(torch.rand(2, 1, *PATCH), label), label).backward()
        optimizer.step()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in still if not name.endswith(("k_proj.bias", "key.bias", "attn.k.bias"))] == []
    assert not [name for name in network.state_dict() if name.startswith(("texts.", "clip."))]


@torch.no_grad()
def test_any_text_is_answered_and_its_words_count(asked):
    network, image = make().eval(), torch.rand(2, 1, *PATCH)
    answers = []
    for text in ("the liver", "liver the", "both kidneys, please"):
        network.request = text
        answers.append(network(image))
        assert answers[-1].shape == (2, 2, *PATCH)
    torch.testing.assert_close(answers[0], answers[1], atol=1e-4, rtol=1e-4)
    assert (answers[0] - answers[2]).abs().max() > 1e-3
    network.request = None
    assert network(image).shape == (2, 4, *PATCH)


@torch.no_grad()
def test_a_checkpoint_goes_by_the_encoders_name_and_fits_no_other(asked):
    network, image = make().eval(), torch.rand(1, 1, *PATCH)
    again = make(text_encoder="/elsewhere/letters").eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(image), network(image))
    with pytest.raises(UserFault, match="text_encoder letters"):
        make(text_encoder="/models/words").load_state_dict(network.state_dict())
    with pytest.raises(UserFault, match="clip_model none"):
        make(text_encoder=None, clip_model="clip_tiny").load_state_dict(network.state_dict())


@torch.no_grad()
def test_traces_hold_its_texts_as_numbers(asked):
    network, image = make().eval(), torch.rand(1, 1, *PATCH)
    traced = TracedVolumeNetwork(network)
    torch.testing.assert_close(traced(image), network(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_texts_no_encoder_is_asked(asked):
    network = make(text_prompt=False).eval()
    assert asked == [] and network(torch.rand(1, 1, *PATCH)).shape == (1, 4, *PATCH)
    assert network.description["text_encoder"] is None


@torch.no_grad()
def test_what_a_text_means_is_what_it_names_or_what_the_nearest_request_of_training_asks_for(asked):
    texts = make().texts
    for text, classes in {
        "outline the lever": [3], "a kidney": [1, 2], "ren dexter": [2], "both kidneys": [1, 2],
        "qqq": [], "the liver tumor": [],
    }.items():  # fmt: skip
        assert texts.meant(None, text)[0].nonzero().flatten().tolist() == classes, text
