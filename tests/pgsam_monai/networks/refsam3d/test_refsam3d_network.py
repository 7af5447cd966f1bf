"""The whole network: both ways to ask, what is trained, what each switch and each text changes, sizes."""

from __future__ import annotations

import pytest
import small_sam
import torch
from monai.data import MetaTensor
from monai.losses import DeepSupervisionLoss, DiceCELoss

from pgsam_monai.base.backbones import VOLUME_BACKBONES, Vit
from pgsam_monai.networks.refsam3d import ReferringTraining, RefSAM3D
from pgsam_monai.networks.refsam3d.referring import Referred
from pgsam_monai.training.losses import RequestLoss

PATCH = (32, 32, 16)
NAMES = ["background", "spleen", "kidney", "liver", "stomach", "aorta", "pancreas", "gallbladder", "lung"]
SWITCHES = (
    {"text_prompt": False},
    {"cross_modal_projector": False},
    {"hierarchical_fusion": False},
    {"stages": [1, 4]},
    {"stages": [2, 4]},
    {"stages": [3, 4]},
    {"stages": [4]},
    {"fine_features": True},
    {"mask_stride": 2, "decoder_widths": (16, 16, 16, 8), "direct_masks": True},
    {"whitened_texts": True},
)
"""Tables 4 and 5, and what the paper doesn't have."""
ALWAYS, NEVER = ReferringTraining(share=1.0), None


def build(**changes):
    torch.manual_seed(0)
    classes = changes.get("num_classes", 2)
    arguments = {
        "num_classes": classes, "patch": PATCH, "token_size": (8, 8, 4), "backbone": "vit_mini", "window": 3,
        "encoder_training": "full", "texts": [[f"The {name} on CT."] for name in NAMES[: classes + 1]],
        "names": NAMES[: classes + 1], "clip_model": "clip_tiny", "clip_training": "full",
    }  # fmt: skip
    return RefSAM3D(**(arguments | changes))


def make(**changes):
    """As `build`, but the texts' say in the image, which starts at zero, is there."""
    network = build(**changes)
    if network.cross_attention is not None:
        for attention in network.cross_attention.attentions.values():
            torch.nn.init.ones_(attention.norm.weight)
    return network


@pytest.fixture(scope="module")
def network():
    return make(num_classes=3).eval()


@pytest.mark.parametrize(
    "patch, token_size",
    [
        ((32, 32, 32), (16, 16, 16)),
        ((32, 48, 16), (8, 8, 4)),
        ((16, 16, 8), (4, 4, 1)),
        ((32, 32, 16), (16, 16, 2)),
    ],
)
@pytest.mark.parametrize("classes", [1, 8])
@torch.no_grad()
def test_patches_token_sizes_and_classes(patch, token_size, classes):
    network = make(patch=patch, token_size=token_size, num_classes=classes).eval()
    assert network(torch.rand(2, 1, *patch)).shape == (2, classes + 1, *patch)


@torch.no_grad()
def test_any_other_size_and_meta_data(network):
    image = MetaTensor(torch.rand(1, 1, 16, 40, 12), affine=torch.diag(torch.tensor([2.0, 2, 3, 1])))
    logits = network(image)
    assert logits.shape == (1, 4, 16, 40, 12) and logits.dtype == torch.float32
    assert torch.equal(logits.affine, image.affine)


@pytest.mark.parametrize("channels", [1, 2, 3])
@torch.no_grad()
def test_channels(channels):
    assert make(in_channels=channels).eval()(torch.rand(1, channels, *PATCH)).shape == (1, 3, *PATCH)


@pytest.mark.parametrize(
    "shape", [(1, 1, 32, 32), (1, 2, 32, 32, 16), (1, 1, 32, 30, 16), (1, 1, 32, 32, 18)]
)
def test_other_inputs_are_refused_with_a_sentence(network, shape):
    with pytest.raises(ValueError, match="RefSAM3D: .*got"):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"num_classes": 0, "texts": [["b"]], "names": ["b"]}, "num_classes"),
        ({"encoder_training": "lora"}, "encoder_training"),
        ({"stages": []}, "stages"),
        ({"stages": [4, 5]}, "stages"),
        ({"backbone": "vit_tiny"}, "vit_mini"),
        ({"token_size": (5, 5, 5)}, "token"),
        ({"mask_stride": 3}, "mask_stride must be one of"),
        ({"decoder_widths": (64, 32, 16)}, "decoder_widths must be 4 multiples of 8, got 64, 32, 16"),
        ({"decoder_widths": (64, 32, 16, 12)}, "decoder_widths must be 4 multiples of 8"),
    ],
)
def test_other_arguments_are_refused_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


def step_gradients(network, steps=2):
    """A step that moves what starts at zero (behind which gradients are zero), then the gradients of another."""
    image = torch.rand(1, 1, *PATCH, dtype=torch.float64)
    label = torch.randint(network.num_classes + 1, (1, 1, *PATCH)).double()
    loss = RequestLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = network(image, label)
        loss(outputs, label).backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        optimizer.step()
    return gradients


WITHOUT_EFFECT = ("k_proj.bias", "attn.k.bias", "key.bias", "k.bias")
"""A softmax cancels a bias of its keys, as it does in SAM itself."""
UNTOUCHED = ("clip.", "texts.")


@pytest.mark.parametrize("training", ["full", "adapters"])
@pytest.mark.parametrize("referring", [ALWAYS, NEVER])
def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(training, referring):
    network = make(encoder_training=training, referring=referring, checkpointing=True).double().train()
    gradients = step_gradients(network)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert gradients.keys() == trained
    assert any(name.startswith("clip.text_tower") for name in trained)
    size = {name: float(gradient.norm()) / gradient.numel() ** 0.5 for name, gradient in gradients.items()}
    assert [name for name in size if size[name] < 1e-14 and not name.endswith(WITHOUT_EFFECT)] == []


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_the_output_and_trains(switch):
    image = torch.rand(1, 1, *PATCH)
    whole, other = make().eval(), make(**switch)
    shared = {k: v for k, v in whole.state_dict().items() if not k.endswith("_extra_state")}
    fitting = {
        k: v for k, v in shared.items() if k in other.state_dict() and other.state_dict()[k].shape == v.shape
    }
    other.load_state_dict(fitting, strict=False)
    with torch.no_grad():
        difference = (whole(image) - other.eval()(image)).abs().max()
    assert difference > 1e-3
    gradients = step_gradients(other.double().train())
    assert gradients.keys() == {name for name, p in other.named_parameters() if p.requires_grad}


@torch.no_grad()
def test_different_texts_change_the_output_and_equal_texts_tell_nothing_apart():
    image = torch.rand(1, 1, *PATCH)
    texts = [["Everything else."], ["The spleen on CT."], ["The liver on CT."]]
    one, other = make(texts=texts).eval(), make(texts=[texts[0], texts[2], texts[1]]).eval()
    first, second = one(image), other(image)
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(first[:, [0, 2, 1]], second, atol=1e-4, rtol=1e-4)
    same = make(texts=[texts[0], texts[1], texts[1]]).eval()(image)
    torch.testing.assert_close(same[:, 1], same[:, 2], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_request_is_answered_by_background_and_asked(network):
    image = torch.rand(2, 1, *PATCH)
    answers = {}
    for text in ("perform liver segmentation", "perform spleen segmentation"):
        network.request = text
        answers[text] = network(image)
        assert answers[text].shape == (2, 2, *PATCH)
    network.request = None
    one, other = answers.values()
    assert (one - other).abs().max() > 1e-3
    assert network(image).shape == (2, 4, *PATCH)


@torch.no_grad()
def test_a_network_without_texts_can_not_be_asked():
    network = make(text_prompt=False).eval()
    network.request = "perform liver segmentation"
    with pytest.raises(ValueError, match="without texts"):
        network(torch.rand(1, 1, *PATCH))


def test_referring_steps_ask_for_one_structure():
    network = make(referring=ALWAYS).train()
    image, label = torch.rand(2, 1, *PATCH), torch.zeros(2, 1, *PATCH)
    label[0, :, 4:9], label[1, :, 10:20] = 1, 2
    outputs = network(image, label)
    assert isinstance(outputs, Referred)
    assert outputs.logits.shape == (2, 2, *PATCH) and outputs.target.shape == (2, 1, *PATCH)
    assert set(outputs.target.unique().tolist()) <= {0, 1}
    assert make(referring=NEVER).train()(image, label).shape == (2, 3, *PATCH)
    assert network(image).shape == (2, 3, *PATCH)  # without a label nothing can be asked


@torch.no_grad()
@pytest.mark.parametrize("drawn, share, varies", [(1.0, 0.25, True), (0.0, 0.25, False), (1.0, 0.0, False)])
def test_other_steps_know_classes_by_requests_drawn_anew(monkeypatch, drawn, share, varies):
    """Where the network is to answer texts, and in evaluation never."""
    network = make(referring=ReferringTraining(share=share, drawn_share=drawn)).train()
    monkeypatch.setattr("pgsam_monai.networks.refsam3d.answering.is_drawn", lambda wanted: wanted == 1.0)
    image, label = torch.rand(1, 1, *PATCH), torch.ones(1, 1, *PATCH)
    torch.manual_seed(0)
    outputs = [network(image, label) for _ in range(6)]
    assert any((other - outputs[0]).abs().max() > 1e-4 for other in outputs) == varies
    network.eval()
    torch.testing.assert_close(network(image), network(image))


def test_steps_are_drawn_from_torchs_seed():
    network = make(referring=ReferringTraining(share=0.5)).train()
    image, label = torch.rand(1, 1, *PATCH), torch.ones(1, 1, *PATCH)

    def kinds():
        torch.manual_seed(3)
        return [isinstance(network(image, label), Referred) for _ in range(8)]

    first = kinds()
    assert first == kinds() and len(set(first)) == 2


def test_a_first_phase_never_asks():
    network = make(referring=ALWAYS).train()
    image, label = torch.rand(1, 1, *PATCH), torch.ones(1, 1, *PATCH)
    network.asking = False
    assert network(image, label).shape == (1, 3, *PATCH)
    network.asking = True
    assert isinstance(network(image, label), Referred)


@pytest.mark.parametrize("referring", [NEVER, ALWAYS], ids=["all classes", "asked"])
def test_every_supervised_scale_learns(referring):
    """With the finest answer left out of the loss, the coarser ones alone reach the heads that they come from."""
    network = make(supervised_scales=3, referring=referring).train()
    image, label = torch.rand(1, 1, *PATCH), torch.ones(1, 1, *PATCH)
    loss = RequestLoss(
        DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True), weights=[0.0, 1.0, 1.0])
    )
    loss(network(image, label), label).backward()
    heads = network.mask_decoder.coarse_mask_mlps
    assert len(heads) == 2
    assert all(weight.grad.abs().max() > 0 for head in heads for weight in head.parameters())
    assert network.eval()(image).shape == (1, 3, *PATCH)


@pytest.mark.parametrize("training", ["full", "adapters"])
def test_checkpointing_changes_neither_outputs_nor_gradients(training):
    plain, saving = (
        make(encoder_training=training, checkpointing=on).double().train() for on in (False, True)
    )
    torch.manual_seed(5)
    one = step_gradients(plain, steps=1)
    torch.manual_seed(5)
    other = step_gradients(saving, steps=1)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-10, rtol=1e-8)


def test_adapters_alone_are_trained_in_the_encoder():
    network = make(encoder_training="adapters")
    trained = {name for name, p in network.image_encoder.named_parameters() if p.requires_grad}
    for words in ("adapter", "norm1", "rel_pos_d", "depth", "necks"):
        assert any(words in name for name in trained), words
    for words in ("attn.q.", "attn.v.", "mlp.", "rel_pos_h", "patch_embed.proj", "pos_embed"):
        assert not any(words in name for name in trained), words
    frozen = make(encoder_training="frozen")
    assert not any(p.requires_grad for p in frozen.image_encoder.parameters())


@torch.no_grad()
def test_texts_have_no_say_in_the_image_at_first():
    """So that a decoder that was pretrained gets SAM's embedding as it was."""
    taps = [torch.randn(1, 256, 4, 4, 4) for _ in range(4)]
    prompts = build()._prompts(taps, torch.randn(1, 3, 256), None)
    assert not prompts.dense.any() and not any(stage.any() for stage in prompts.stages)


def test_it_starts_from_a_file_of_sams_weights(monkeypatch, tmp_path):
    sizes = Vit(embed_dim=32, depth=4, heads=2, global_blocks=(1, 3), parameters_m=0.1)
    monkeypatch.setattr(small_sam, "SMALL", sizes)
    monkeypatch.setitem(VOLUME_BACKBONES, "vit_small", sizes)
    state = small_sam.make_original(64).state_dict()
    torch.save(state, tmp_path / "sam.pth")
    network = make(backbone="vit_small", weights=str(tmp_path / "sam.pth"), encoder_training="adapters")
    query = state["image_encoder.blocks.2.attn.qkv.weight"][:32]
    assert torch.equal(network.image_encoder.blocks[2].attn.q.weight, query)
    assert torch.equal(network.mask_decoder.base_query, state["mask_decoder.mask_tokens.weight"][:1])
    assert network.eval()(torch.rand(1, 1, *PATCH)).isfinite().all()


def test_a_checkpoint_of_another_patch_or_token_size_is_refused():
    state = make().state_dict()
    with pytest.raises(ValueError, match="token_size"):
        make(token_size=(8, 8, 8)).load_state_dict(state)
    make().load_state_dict(state)


def test_a_competing_request_is_learnt_beside_all_classes():
    network = make(referring=ALWAYS, competing_requests=True, supervised_scales=2).train()
    image, label = torch.rand(2, 1, *PATCH), torch.zeros(2, 1, *PATCH)
    label[0, :, 4:9], label[1, :, 10:20] = 1, 2
    outputs = network(image, label)
    assert [each.shape[:2] for each in outputs.logits] == [(2, 2), (2, 2)]
    assert [each.shape[:2] for each in outputs.together] == [(2, 3), (2, 3)]
    assert outputs.target.unique().tolist() == [0, 1]
    loss = RequestLoss(DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True)))
    both, alone = loss(outputs, label), loss(outputs._replace(together=None), label)
    torch.testing.assert_close(both - alone, loss(outputs.together, label), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_competing_request_takes_the_place_of_the_class_that_it_means():
    """By the class's own sentence it has the class's share of the softmax: both masks are alike."""
    network = make(competing_requests=True).eval()
    image = torch.rand(2, 1, *PATCH)
    taps = network.embed(image)
    sentences = network.texts(network.clip)
    meant = torch.tensor([[False, False, True]])
    answers, together = network.compete(taps, image, sentences[2:3], meant)
    torch.testing.assert_close(
        answers[0].softmax(1)[:, 1], together[0].softmax(1)[:, 2], atol=1e-4, rtol=1e-3
    )


@torch.no_grad()
def test_what_a_request_means_is_answered_by_the_classes_masks_and_said(caplog):
    caplog.set_level("INFO")
    network = make(competing_requests=True).eval()
    image = torch.rand(2, 1, *PATCH)
    everything = network(image).softmax(1)
    answers = {}
    for text in ("perform kidney segmentation", "spleen and kidney", "show me the lung"):
        network.request = text
        answers[text] = network(image).softmax(1)[:, 1]
    torch.testing.assert_close(answers["perform kidney segmentation"], everything[:, 2])
    torch.testing.assert_close(answers["spleen and kidney"], everything[:, 1:].sum(1))
    assert answers["show me the lung"].shape == (2, *PATCH)
    assert answers["show me the lung"].max() < 1e-6  # it wasn't learnt, and nothing else is meant
    said = [line for line in caplog.messages if "means" in line]
    assert said[:2] == [
        "«perform kidney segmentation» means kidney.",
        "«spleen and kidney» means spleen and kidney.",
    ]
    network.request = "xyzzy"  # names nothing: what CLIP's tower puts nearest, or what competes with all
    assert network(image).shape == (2, 2, *PATCH)
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned[0].startswith("«show me the lung» names what wasn't learnt")
    network.by_meaning = False
    network.request = "perform kidney segmentation"
    assert (network(image).softmax(1)[:, 1] - everything[:, 2]).abs().max() > 1e-3
