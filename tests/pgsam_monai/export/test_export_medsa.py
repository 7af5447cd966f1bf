"""Med-SA in other forms: TorchScript, ONNX as a whole, and as SAM's pair of encoder and decoder."""

from __future__ import annotations

import onnxruntime
import pytest
import torch

from pgsam_monai.export.network import load_adapters, save_adapters
from pgsam_monai.export.prompted import export_prompted
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.prompts.points import Prompts


def make(seed=0, **changes):
    torch.manual_seed(seed)
    arguments = {
        "num_classes": 2,
        "image_size": 64,
        "backbone": "vit_tiny",
        "encoder_training": "full",
        "rank": 4,
    }
    network = MedSA(**(arguments | changes))
    for name, value in network.named_parameters():
        if name.endswith(("up.weight", "class_prompts")):
            torch.nn.init.normal_(value, std=0.1)
    return network.eval()


@pytest.mark.parametrize("backbone", ["vit_tiny", "vit_small"])
@torch.no_grad()
def test_scripts_and_saves(small_backbone, backbone, tmp_path):
    network = make(backbone=backbone)
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    for shape in ((1, 1, 64, 64), (3, 1, 64, 64), (1, 1, 64, 64, 2)):
        image = torch.rand(shape)
        torch.testing.assert_close(loaded(image), network(image), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_scripted_stacks_see_their_own_slices(tmp_path):
    network = make(stack_depth=2)
    scripted = torch.jit.script(network)
    volume = torch.rand(2, 1, 64, 64, 4)
    expected = torch.cat([network(volume[..., :2]), network(volume[..., 2:])], dim=-1)
    torch.testing.assert_close(scripted(volume), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(torch.jit.Error, match="D a multiple of 2"):
        scripted(volume[..., :3])


@torch.no_grad()
def test_adapters_alone_restore_it(tmp_path, small_backbone):
    network = make(backbone=small_backbone, encoder_training="adapters")
    file = save_adapters(network, tmp_path / "adapters.safetensors")
    other = make(seed=1, backbone=small_backbone, encoder_training="adapters")
    frozen = {name: value for name, value in network.named_parameters() if not value.requires_grad}
    other.load_state_dict(
        frozen | dict(network.named_buffers()), strict=False
    )  # what SAM's weights would give
    load_adapters(other, file)
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(other(image), network(image), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "stack", "maps"),
    [("vit_tiny", 1, False), ("vit_tiny", 1, True), ("vit_small", 1, False), ("vit_small", 3, False)],
)
@torch.no_grad()
def test_encoder_and_decoder_answer_as_the_network_does(small_backbone, backbone, stack, maps, tmp_path):
    """Any number of points; clicks, a box, an earlier mask; the second class; numbers from another library."""
    network = make(backbone=backbone, stack_depth=stack, prompt_maps=maps)
    encoder, decoder = (
        onnxruntime.InferenceSession(str(file)) for file in export_prompted(network, tmp_path)
    )
    image = torch.rand(stack, 1, 64, 64)
    features = network.embed(image, stack)
    given = dict(
        zip(
            [each.name for each in encoder.get_outputs()],
            encoder.run(None, {"image": image.numpy()}),
            strict=True,
        )
    )
    torch.testing.assert_close(
        torch.from_numpy(given["image_embeddings"]), features.embedding, atol=1e-4, rtol=1e-3
    )
    mask = torch.randn(1, 1, 16, 16)
    for points, labels, has_mask in (
        ([[20, 30]], [1], 0), ([[20, 30], [50, 50], [9, 9]], [1, 0, 1], 1), ([[10, 12], [40, 36]], [2, 3], 0),
        ([[20, 30], [0, 0]], [1, -1], 0),
    ):  # fmt: skip
        places, kinds = torch.tensor([points]).float(), torch.tensor([labels])
        mine = Prompts(
            places.unsqueeze(0).repeat(1, 2, 1, 1), kinds.unsqueeze(0).repeat(1, 2, 1),
            mask.repeat(1, 2, 1, 1), torch.full((1, 2), bool(has_mask)),
        )  # fmt: skip
        first = type(features)(features.embedding[:1], tuple(skip[:1] for skip in features.skips))
        expected, quality = network.answer_with_quality(first, mine)
        inputs = {
            "point_coords": places.numpy(), "point_labels": kinds.float().numpy(), "mask_input": mask.numpy(),
            "has_mask_input": torch.tensor([float(has_mask)]).numpy(), "class_index": torch.tensor([2]).numpy(),
            **{name: array[:1] for name, array in given.items()},
        }  # fmt: skip
        masks, iou = decoder.run(None, inputs)
        torch.testing.assert_close(torch.from_numpy(masks)[0, 0], expected[0, 1], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(torch.from_numpy(iou)[0, 0], quality[0, 1], atol=1e-3, rtol=1e-3)
