"""The whole network: modes, what is trained, what prompts change, that nothing leaks between images and classes."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_sam import make_original

from pgsam_monai.networks.medsa import UNASKED, MedSA, PromptTraining
from pgsam_monai.networks.sam.image_encoder import ImageFeatures
from pgsam_monai.prompts.points import ABSENT, Prompts

CLICK = ([20.0, 30.0], 1)
OTHER = ([44.0, 12.0], 1)
WRONG = ([50.0, 50.0], 0)
BOX = (([10.0, 12.0], 2), ([40.0, 36.0], 3))


def make(**changes):
    torch.manual_seed(0)
    arguments = {
        "num_classes": 2,
        "image_size": 64,
        "backbone": "vit_tiny",
        "encoder_training": "full",
        "rank": 8,
    }
    return MedSA(**(arguments | changes))


def waken(network):
    """Adapters start without effect; here they have some."""
    for name, value in network.named_parameters():
        if (
            name.endswith(("up.weight", "up.bias", "gate", "class_prompts"))
            or "proj.weight" in name
            and "fusion" in name
        ):
            torch.nn.init.normal_(value, std=0.1)
    return network


def prompts(*images):
    """images: per image, per class, a list of (point, label)."""
    width = max(len(each) for image in images for each in image)
    points, labels = (
        torch.zeros(len(images), len(images[0]), width, 2),
        torch.full((len(images), len(images[0]), width), ABSENT),
    )
    for b, image in enumerate(images):
        for k, each in enumerate(image):
            for n, (point, label) in enumerate(each):
                points[b, k, n], labels[b, k, n] = torch.tensor(point), label
    return Prompts(points, labels)


@pytest.mark.parametrize("classes", [1, 2, 5])
@torch.no_grad()
def test_everything_by_the_same_network_that_answers_prompts(classes):
    network = make(num_classes=classes).eval()
    image = torch.rand(2, 1, 64, 64)
    assert network(image).shape == (2, classes + 1, 64, 64)
    asked = prompts([[CLICK]] + [[]] * (classes - 1), [[]] * (classes - 1) + [list(BOX)])
    logits = network(image, prompts=asked)
    assert logits.shape == (2, classes + 1, 64, 64) and logits.dtype == torch.float32
    assert (logits[:, 0] == 0).all() and (logits[0, 1] != UNASKED).all()
    assert classes == 1 or (logits[0, 2:] == UNASKED).all()


@pytest.mark.parametrize(
    ("stack", "fusion"), [(1, "add"), (4, "add"), (4, "gated"), (4, "cross"), (4, "concat")]
)
@torch.no_grad()
def test_volumes_any_depth_and_any_size(stack, fusion):
    network = make(stack_depth=stack, depth_fusion=fusion).eval()
    assert network(torch.rand(2, 1, 64, 64, 3)).shape == (2, 3, 64, 64, 3)
    assert network(torch.rand(1, 1, 96, 48, 4)).shape == (1, 3, 96, 48, 4)
    per_slice = prompts(*[[[CLICK], []]] * 3)
    assert network(torch.rand(1, 1, 64, 64, 3), prompts=per_slice).shape == (1, 3, 64, 64, 3)


@torch.no_grad()
def test_slices_see_each_other_only_in_stacks():
    volume = torch.rand(1, 1, 64, 64, 3)
    for stack in (1, 3):
        network = make(stack_depth=stack).eval()
        alone = torch.stack([network(volume[..., d]) for d in range(3)], dim=-1)
        assert torch.allclose(network(volume), alone, atol=1e-5) == (stack == 1)


@torch.no_grad()
def test_no_prompt_is_pooled_into_another_images_or_classes():
    network = waken(make()).eval()
    image = torch.rand(2, 1, 64, 64)
    first = network(image, prompts=prompts([[CLICK], []], [[CLICK], [OTHER]]))
    second = network(image, prompts=prompts([[CLICK], []], [[CLICK, WRONG, OTHER], [*BOX, WRONG]]))
    torch.testing.assert_close(
        first[0], second[0], atol=1e-5, rtol=1e-4
    )  # same prompt, more filling beside it
    assert (first[1, 1] - second[1, 1]).abs().max() > 1e-3
    alone = network(image[:1], prompts=prompts([[CLICK], []]))
    torch.testing.assert_close(first[:1], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_clicks_have_no_order_and_signs_matter():
    network = waken(make()).eval()
    image = torch.rand(1, 1, 64, 64)
    one, swapped = (
        network(image, prompts=prompts([list(each), []])) for each in ((CLICK, WRONG), (WRONG, CLICK))
    )
    torch.testing.assert_close(one, swapped, atol=1e-5, rtol=1e-4)
    flipped = network(image, prompts=prompts([[(CLICK[0], 0), (WRONG[0], 1)], []]))
    assert (one - flipped).abs().max() > 1e-3


@torch.no_grad()
def test_a_mask_is_a_prompt_of_its_own_and_beside_clicks():
    network = waken(make()).eval()
    image, mask = torch.rand(2, 1, 64, 64), 10 * torch.randn(2, 2, 16, 16)
    click = prompts([[CLICK], []], [[], []])
    plain = network(image, prompts=click)
    both = network(
        image, prompts=click._replace(masks=mask, has_mask=torch.tensor([[True, False], [False, True]]))
    )
    assert (both[0, 1] - plain[0, 1]).abs().max() > 1e-3
    assert (both[1, 2] != UNASKED).all() and (plain[1, 2] == UNASKED).all()
    unused = network(image, prompts=click._replace(masks=mask, has_mask=torch.zeros(2, 2, dtype=torch.bool)))
    torch.testing.assert_close(unused, plain)


@torch.no_grad()
def test_the_same_click_for_another_class_asks_for_something_else():
    network = waken(make()).eval()
    logits = network(torch.rand(1, 1, 64, 64), prompts=prompts([[CLICK], [CLICK]]))
    assert (logits[:, 1] - logits[:, 2]).abs().max() > 1e-3


@torch.no_grad()
def test_without_adapters_it_is_sam(small_backbone, tmp_path):
    """`segment_anything`'s own prompt encoder and decoder on clicks, a box, and a click with a mask."""
    original = make_original(64)
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    for training in ("frozen", "adapters"):  # new adapters have no effect
        network = make(
            backbone=small_backbone, weights=str(tmp_path / "sam.pth"), encoder_training=training
        ).eval()
        embedding, mask = original.image_encoder(torch.rand(1, 3, 64, 64)), torch.randn(1, 1, 16, 16)
        for points, given in (([CLICK, WRONG], None), ([*BOX], None), ([CLICK], mask)):
            mine = prompts([points, []])
            if given is not None:
                mine = mine._replace(masks=given.repeat(1, 2, 1, 1), has_mask=torch.tensor([[True, False]]))
            logits, quality = network.answer_with_quality(ImageFeatures(embedding, ()), mine)
            expected, iou = sam_answer(original, embedding, points, given)
            torch.testing.assert_close(logits[0, 0], expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(quality[0, 0], iou, atol=1e-4, rtol=1e-4)


def sam_answer(sam, embedding, points, mask):
    places = torch.tensor([[place for place, _ in points]])
    kinds = torch.tensor([[kind for _, kind in points]])
    box = kinds[0, 0] == 2
    sparse, dense = sam.prompt_encoder(
        points=None if box else (places, kinds), boxes=places.reshape(1, 4) if box else None, masks=mask
    )
    masks, iou = sam.mask_decoder(
        image_embeddings=embedding, image_pe=sam.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense, multimask_output=False,
    )  # fmt: skip
    return masks[0, 0], iou[0, 0]


ADAPTERS = ("after_attention", "beside_mlp", "on_image", "prompted", "fusion")
CLASSES = ("class_tokens", "class_mlps", "class_prompts", "no_prompt")
LABEL = torch.zeros(2, 1, 64, 64)
LABEL[0, 0, 8:30, 10:40] = 1
LABEL[0, 0, 40:60, 30:60] = 2
LABEL[1, 0, 20:50, 20:50] = 2
MODES = {
    "one point": PromptTraining(kinds=("point",), further_clicks=0),
    "points": PromptTraining(kinds=("points",), further_clicks=0),
    "box": PromptTraining(kinds=("box",), further_clicks=0),
    "iterative clicks": PromptTraining(kinds=("point",), further_clicks=3),
}


def step(network, image, label, which):
    outputs = network.train()(image, label=label)
    assert [output.shape for output in outputs] == [(2, 3, *image.shape[2:])] * 2
    classes = label[:, 0].long()
    sum(torch.nn.functional.cross_entropy(outputs[number], classes) for number in which).backward()


@pytest.mark.parametrize("mode", [*MODES, "everything", "box in stacks"])
def test_one_step_reaches_every_adapter_and_nothing_of_sam(mode, small_backbone):
    """Row 2: with prompts all adapters of encoder and decoder get gradients; SAM's own weights are frozen."""
    stacks = mode == "box in stacks"
    network = waken(
        make(
            backbone=small_backbone, encoder_training="adapters", prompt_training=MODES.get(mode, MODES["box"]),
            stack_depth=3 if stacks else 1, depth_fusion="gated",
        )
    )  # fmt: skip
    before = {name: value.clone() for name, value in network.named_parameters()}
    image, label = torch.rand(2, 1, 64, 64), LABEL
    if stacks:
        image, label = torch.rand(2, 1, 64, 64, 3), LABEL.unsqueeze(-1).expand(-1, -1, -1, -1, 3)
    step(network, image, label, which=[0] if mode == "everything" else [1])
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {name for name in before if any(part in name for part in (*ADAPTERS, *CLASSES))}
    for name, value in network.named_parameters():
        if any(part in name for part in ADAPTERS):
            assert value.grad is not None and value.grad.abs().max() > 0, name
    torch.optim.AdamW([value for value in network.parameters() if value.requires_grad]).step()
    assert all(
        torch.equal(value, before[name]) for name, value in network.named_parameters() if name not in trained
    )


def test_the_prompt_encoder_is_trained_where_that_is_asked_for(small_backbone):
    """Clicks, their signs and masks of a decoder that never saw any."""
    network = waken(
        make(
            backbone=small_backbone, encoder_training="adapters", prompt_encoder_training=True,
            prompt_training=PromptTraining(kinds=("points",), further_clicks=0),
        )
    )  # fmt: skip
    step(network, torch.rand(2, 1, 64, 64), LABEL, which=[1])
    assert network.prompt_encoder.point_embeddings[1].weight.grad.abs().max() > 0
    assert not network.mask_decoder.sam.iou_token.weight.requires_grad


def test_a_new_networks_second_step_reaches_every_adapter(small_backbone):
    """Up-projections start at zero, which holds back the gradient of what is before them for one step."""
    network = make(backbone=small_backbone, encoder_training="adapters")
    optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        step(network, torch.rand(2, 1, 64, 64), LABEL, which=[0, 1])
        optimizer.step()
    idle = [
        n
        for n, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or p.grad.abs().max() == 0)
    ]
    assert idle == []


@pytest.mark.parametrize("hyper", ["hyper", "add", "concat"])
@torch.no_grad()
def test_a_click_changes_the_output_inside_the_prompted_adapter(hyper):
    """Row 2: same tokens in, another click's embedding, other tokens out."""
    network = waken(make(hyper_prompt=hyper)).eval()
    adapter = network.mask_decoder.transformer.blocks[0].prompted
    tokens = torch.randn(1, 7, 256)
    given = []
    for point in (CLICK, OTHER):
        place, kind = torch.tensor([[point[0]]]), torch.tensor([[point[1]]])
        sparse = network.prompt_encoder.point_tokens(place, kind, size=(64, 64))
        given.append(adapter(tokens, network.mask_decoder.reduce_prompt(sparse, torch.tensor([[False]]))))
    assert (given[0] - given[1]).abs().max() > 1e-2


@torch.no_grad()
def test_switches_change_the_output():
    image, ask = torch.rand(1, 1, 64, 64), prompts([[CLICK], []])
    seen = [
        waken(make(**{"hyper_prompt": kind})).eval()(image, prompts=ask)
        for kind in ("hyper", "add", "concat", "none")
    ]
    seen += [
        waken(make(adapter_positions=which)).eval()(image, prompts=ask)
        for which in (("mlp",), ("attention",), ())
    ]
    seen += [
        waken(make(adapted_layers=(1,))).eval()(image, prompts=ask),
        waken(make(decoder_adapters=False)).eval()(image, prompts=ask),
    ]
    for one, two in itertools.combinations(seen, 2):
        assert (one - two).abs().max() > 1e-5


def test_simulated_prompts_of_absent_classes_cost_nothing():
    network = make(prompt_training=PromptTraining(kinds=("box",), further_clicks=0))
    _, prompted = network.train()(torch.rand(2, 1, 64, 64), label=LABEL)
    assert (prompted[1, 1] == UNASKED).all()  # the second image holds no class 1
    assert (prompted[0, 1] > UNASKED).all()
    loss = torch.nn.functional.cross_entropy(prompted, LABEL[:, 0].long())
    assert loss < 20


def test_a_class_that_was_not_asked_keeps_the_answer_without_prompts():
    network = make(prompt_training=PromptTraining(kinds=("box",), further_clicks=0, max_classes=1))
    everything, prompted = network.train()(torch.rand(2, 1, 64, 64), label=LABEL)
    own = everything[0, 1:] - everything[0, :1]
    kept = [torch.allclose(prompted[0, 1 + k], own[k], atol=1e-5) for k in range(2)]
    assert sorted(kept) == [False, True]


def test_slices_without_any_structure_train_too():
    network = make()
    outputs = network.train()(torch.rand(2, 1, 64, 64), label=torch.zeros(2, 1, 64, 64))
    assert (outputs[1][:, 1:] == UNASKED).all()
    outputs[0].mean().backward()


def test_wrong_arguments_are_refused():
    for changes, sentence in (
        ({"encoder_training": "lora"}, "encoder_training must be one of .*adapters.*got 'lora'"),
        ({"stack_depth": 0}, "stack_depth must be at least 1, got 0"),
        ({"depth_fusion": "sum"}, "depth_fusion must be one of add"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"hyper_prompt": "film"}, "hyper_prompt must be one of"),
        ({"adapted_layers": [9]}, "adapted_layers must be blocks 0 to 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make(**changes)
    with pytest.raises(ValueError, match=r"prompts must be for 2 images and 2 classes, got \(1, 2\)"):
        make().eval()(torch.rand(2, 1, 64, 64), prompts=prompts([[CLICK], []]))
