"""The whole network: what is trained, what each part and each text changes, sizes, exports' preconditions."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from pgsam_monai.networks.pgsam import PGSAM

NAMES = "background spleen kidney liver stomach aorta pancreas gallbladder lung heart brain colon bladder rib femur hip"


def texts_of(classes: int) -> list[list[str]]:
    return [[f"The {name} on CT."] for name in NAMES.split()[: classes + 1]]


def make_pgsam(**changes):
    torch.manual_seed(0)
    classes = changes.get("num_classes", 2)
    arguments = {
        "num_classes": classes, "image_size": 64, "backbone": "vit_tiny", "encoder_training": "full",
        "texts": texts_of(classes), "clip_model": "clip_tiny", "clip_training": "full",
    }  # fmt: skip
    return PGSAM(**(arguments | changes))


@pytest.fixture(scope="module")
def network():
    return make_pgsam(num_classes=3).eval()


@pytest.mark.parametrize("size", [128, 224, 256, 512])
@pytest.mark.parametrize("classes", [1, 2, 8, 15])
@torch.no_grad()
def test_sizes_and_classes(size, classes):
    network = make_pgsam(image_size=size, num_classes=classes).eval()
    assert network(torch.rand(1, 1, size, size)).shape == (1, classes + 1, size, size)


@pytest.mark.parametrize("batch", [1, 2, 8])
@torch.no_grad()
def test_batches_volumes_and_any_other_size(network, batch):
    assert network(torch.rand(batch, 1, 64, 64)).shape == (batch, 4, 64, 64)
    assert network(torch.rand(1, 1, 64, 64, batch)).shape == (1, 4, 64, 64, batch)
    assert network(torch.rand(batch, 1, 96, 48)).shape == (batch, 4, 96, 48)


@pytest.mark.parametrize("channels", [1, 2, 3])
@torch.no_grad()
def test_channels(channels):
    assert make_pgsam(in_channels=channels).eval()(torch.rand(1, channels, 64, 64)).shape == (1, 3, 64, 64)


def test_training_returns_both_resolutions():
    full, low = make_pgsam()(torch.rand(2, 1, 64, 64))
    assert full.shape == (2, 3, 64, 64) and low.shape == (2, 3, 16, 16)
    assert full.dtype == low.dtype == torch.float32


def one_step(network):
    """A step that moves LoRA's B off zero (where its A gets no gradient), then the gradients of another."""
    image, label = torch.rand(2, 1, 64, 64), torch.randint(network.num_classes + 1, (2, 64, 64))
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        full, low = network(image)
        (F.cross_entropy(full, label) + F.cross_entropy(low, label[:, ::4, ::4])).backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        optimizer.step()
    return gradients


@pytest.mark.parametrize(
    "training", [("lora", "lora", "both"), ("full", "full", "both"), ("lora", "lora", "text")]
)
def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(training):
    encoder, clip, towers = training
    network = make_pgsam(encoder_training=encoder, clip_training=clip, clip_towers=towers, rank=2).train()
    gradients = one_step(network)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert gradients.keys() == trained
    size = {name: float(gradient.norm()) / gradient.numel() ** 0.5 for name, gradient in gradients.items()}
    assert [name for name in size if size[name] < ROUNDING and not name.endswith(WITHOUT_EFFECT)] == []


ROUNDING = 2e-8
"""Gradients below are rounding errors of zero; the smallest true one here is six times as large."""
WITHOUT_EFFECT = (
    "k_proj.bias",
    "attn.k.bias",
    *(f"patch_embed.stage_{n}.{m}.bias" for n in (2, 4, 8) for m in (0, 3)),
)
"""Parameters that no result depends on: a softmax cancels a bias of its keys, as it does in SAM itself, and a norm the
bias of the convolution before it in `vit_tiny`'s stem."""


def test_only_adapters_of_the_towers_are_trained_with_lora():
    network = make_pgsam(encoder_training="lora", clip_training="lora", rank=2)
    for name, parameter in network.named_parameters():
        if name.startswith(("image_encoder.", "clip.")):
            assert parameter.requires_grad == ("lora_" in name), name
        assert parameter.requires_grad or not name.startswith(("aligner.", "mask_decoder.")), name


@pytest.mark.parametrize("rows", list(itertools.product([True, False], repeat=3)))
@torch.no_grad()
def test_every_combination_of_the_parts_runs(rows):
    prior, fusion, refinement = rows
    network = make_pgsam(prior_aligner=prior, feature_fusion=fusion, mask_optimizer=refinement).eval()
    assert network(torch.rand(1, 1, 64, 64)).shape == (1, 3, 64, 64)
    assert (network.clip is not None) == prior


FORMS = [
    {"image_prior": "patches", "text_match": "identity", "base_rates": True},
    {"image_prior": "none", "fusion": "attention"},
    {"text_encoder": "words", "image_prior": "patches", "text_match": "identity", "fusion": "attention"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_of_prior_and_fusion_trains_whole_and_keeps_its_own_checkpoint(form, words_encoder):
    network = make_pgsam(**form).train()
    gradients = one_step(network)
    assert gradients.keys() == {name for name, p in network.named_parameters() if p.requires_grad}
    still = [name for name, g in gradients.items() if not g.any() and not name.endswith(WITHOUT_EFFECT)]
    assert still == []
    again = make_pgsam(**form)
    again.load_state_dict(network.state_dict())
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), network.eval()(image))
    with pytest.raises((ValueError, RuntimeError)):
        make_pgsam().load_state_dict(network.state_dict())


@pytest.fixture
def words_encoder(monkeypatch):
    """A sentence encoder that counts letters."""
    from pgsam_monai.networks.text import sentences

    def encode(texts, encoder):
        counts = torch.tensor(
            [[text.count(letter) for letter in "abcdeghiklnorst"] for text in texts]
        ).float()
        return F.normalize(counts, dim=-1)

    monkeypatch.setattr(sentences, "_encode", encode)


@pytest.mark.parametrize(
    "wrong",
    [{"image_prior": "all"}, {"text_match": "fixed"}, {"fusion": "sum"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_unknown_choices_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        make_pgsam(**wrong)


@torch.no_grad()
def test_turning_a_part_off_changes_the_output(network):
    image = torch.rand(1, 1, 64, 64)
    whole = network(image)
    decoder = network.mask_decoder
    for part in ("optimizer", "guided"):
        kept = getattr(decoder, part)
        setattr(decoder, part, None)
        assert (network(image) - whole).abs().max() > 1e-2, part
        setattr(decoder, part, kept)
    alignment, decoder.guided.alignment.offsets.bias.data[:] = decoder.guided.alignment, 1.5
    assert (network(image) - whole).abs().max() > 1e-2
    alignment.offsets.bias.data.zero_()
    assert torch.equal(network(image), whole)


@torch.no_grad()
def logits_with(network, texts, image):
    kept = network.texts
    network.texts = type(kept)(texts, network.clip.tokenize, num_classes=network.num_classes)
    found = network(image)
    network.texts = kept
    return found


def changes(before, after):
    return (before - after).abs().amax(dim=(0, 2, 3))


def test_exchanging_two_descriptions_changes_those_classes():
    network, image = make_pgsam(num_classes=3, mask_optimizer=False).eval(), torch.rand(1, 1, 64, 64)
    texts = texts_of(3)
    whole = logits_with(network, texts, image)
    exchanged = changes(whole, logits_with(network, [texts[0], texts[2], texts[1], texts[3]], image))
    assert exchanged[1] > 1e-3 and exchanged[2] > 1e-3
    assert exchanged[0] < 1e-4 and exchanged[3] < 1e-4


def test_blanking_and_shuffling_change_the_logits(network):
    image, texts = torch.rand(1, 1, 64, 64), texts_of(3)
    whole = logits_with(network, texts, image)
    blanked = changes(whole, logits_with(network, [*texts[:3], [" "]], image))
    assert blanked[3] > 1e-3
    shuffled = changes(whole, logits_with(network, texts[::-1], image))
    assert (shuffled > 1e-3).all()


@torch.no_grad()
def test_alternatives_of_a_class_are_averaged(network):
    texts = texts_of(3)
    kept = network.texts
    both = type(kept)([*texts[:3], ["One.", "Two."]], network.clip.tokenize, num_classes=3)(network.clip)
    each = [
        type(kept)([*texts[:3], [text]], network.clip.tokenize, num_classes=3)(network.clip)
        for text in ("One.", "Two.")
    ]
    assert torch.allclose(both[3], (each[0][3] + each[1][3]) / 2, atol=1e-5)
    assert torch.allclose(both[:3], each[0][:3], atol=1e-5)


@torch.no_grad()
def test_an_image_may_have_texts_of_its_own():
    texts, own = texts_of(2), [["The fatty liver on CT."], ["A spleen twice its size."]]
    network = make_pgsam(texts=texts, case_texts=own).eval()
    image = torch.rand(2, 1, 64, 64)
    plain = network(image)
    assert torch.allclose(network(image, text_rows=torch.tensor([[0, 1, 2]])), plain, atol=1e-5)
    mixed = network(image, text_rows=torch.tensor([[0, 1, 2], [0, 4, 2]]))
    assert torch.allclose(mixed[0], plain[0], atol=1e-4)
    assert (mixed[1] - plain[1]).abs().max() > 1e-3
    alone = make_pgsam(texts=[texts[0], own[1], texts[2]]).eval()(image[1:])
    assert torch.allclose(mixed[1], alone[0], atol=1e-4)
    volume = image.movedim(0, -1).unsqueeze(0)  # (1, 1, 64, 64, 2)
    assert torch.allclose(
        network(volume, text_rows=torch.tensor([[0, 4, 2]]))[0, ..., 1], mixed[1], atol=1e-4
    )


def test_a_training_step_encodes_the_texts_of_its_own_images_alone():
    network = make_pgsam(case_texts=[[f"Case {number}."] for number in range(50)]).train()
    encoded = []
    network.clip.text_tower.register_forward_hook(lambda _, tokens, __: encoded.append(len(tokens[0])))
    network(torch.rand(2, 1, 64, 64), text_rows=torch.tensor([[0, 7, 2], [0, 7, 40]]))
    assert encoded == [3, 2]
    encoded.clear()
    network(torch.rand(2, 1, 64, 64), text_rows=torch.tensor([[0, 1, 2], [0, 1, 2]]))
    assert encoded == [3]


@pytest.mark.parametrize("texts", [texts_of(1), texts_of(3), [["a"], [], ["b"]], ["one", "two", "three"]])
def test_wrong_texts_are_refused(texts):
    with pytest.raises(ValueError, match=r"PG-SAM: (texts must describe|each entry of texts)"):
        make_pgsam(texts=texts)


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@torch.no_grad()
def test_evaluation_encodes_the_text_once_and_each_image_once():
    network = make_pgsam()
    text, neck = count_calls(network.clip.text_tower), count_calls(network.image_encoder.neck)
    network.eval()
    for _ in range(3):
        network(torch.rand(2, 1, 64, 64))
    assert len(text) == 1 and len(neck) == 3
    next(network.clip.text_tower.parameters()).add_(1e-3)
    network(torch.rand(1, 1, 64, 64))
    assert len(text) == 2
    network.load_state_dict(network.state_dict())
    network(torch.rand(1, 1, 64, 64))
    assert len(text) == 3


def test_a_frozen_text_tower_is_encoded_once_in_training_too():
    network = make_pgsam(clip_training="lora", clip_towers="image").train()
    calls = count_calls(network.clip.text_tower)
    for _ in range(2):
        network(torch.rand(1, 1, 64, 64))[0].sum().backward()
    assert len(calls) == 1


@torch.no_grad()
def test_guide_maps_lie_on_the_image_grid(network):
    maps = network.guide_maps(torch.rand(2, 1, 64, 48))
    assert maps.shape == (2, 4, 64, 48)
    assert maps.min() >= 0 and maps.max() <= 1
    with pytest.raises(ValueError, match="built without it"):
        make_pgsam(prior_aligner=False).guide_maps(torch.rand(1, 1, 64, 64))


@torch.no_grad()
def test_texts_are_edited_without_touching_the_checkpoint():
    network, other = make_pgsam(), make_pgsam(texts=[["a"], ["b"], ["c", "d"]])
    other.load_state_dict(network.state_dict())
    assert not torch.allclose(
        network.eval()(torch.ones(1, 1, 64, 64)), other.eval()(torch.ones(1, 1, 64, 64))
    )


def test_another_ablation_does_not_load():
    with pytest.raises(ValueError, match="refinement_steps"):
        make_pgsam(mask_optimizer=False).load_state_dict(make_pgsam().state_dict())


def test_reduced_precision_stays_near_full():
    network, image = make_pgsam().eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        full = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(image)
    assert half.dtype == torch.float32
    assert (full - half).abs().max() < 0.1 * full.abs().max()
