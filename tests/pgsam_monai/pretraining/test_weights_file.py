"""What a pretrained network is written as: SAM's three parts by SAM's names, which networks start from."""

from __future__ import annotations

import pytest
import torch
from drawn_stand_in import random_state

from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.samed import SAMed
from pgsam_monai.pretraining.network import PromptedSam
from pgsam_monai.pretraining.weights_file import sam_state, write_weights
from pgsam_monai.weights.files import load_weights


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return PromptedSam(image_size=32, backbone="vit_tiny").eval()


def test_names_and_shapes_are_sams(network):
    made, wanted = sam_state(network.state_dict()), random_state()
    assert made.keys() == wanted.keys()
    assert {value.dtype for value in made.values()} == {torch.float16}
    shapes = {key for key, value in made.items() if value.shape != wanted[key].shape}
    assert shapes == {"image_encoder.pos_embed"}  # which is carried to another size


def test_a_network_that_starts_from_the_file_answers_alike(network, tmp_path):
    file = tmp_path / "made.safetensors"
    write_weights(network, file, title="made")
    options = {"num_classes": 1, "image_size": 32, "backbone": "vit_tiny", "weights": str(file)}
    started = MedSA(encoder_training="frozen", prompt_maps=True, **options).eval()
    points, labels = torch.tensor([[[9.0, 20.0], [3.0, 4.0]]]), torch.tensor([[1, 0]])
    image, classes = torch.rand(1, 1, 32, 32), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        before, after = (
            each.answer_pairs(each.embed(image), points, labels, classes)[0] for each in (network, started)
        )
    assert before.std() > 0 and torch.allclose(before, after, atol=0.02 * float(before.abs().max()))
    assert SAMed(encoder_training="full", **options).image_encoder.pos_embed.dtype == torch.float32
    assert load_weights(file)["mask_decoder.mask_tokens.weight"].shape == (4, 256)


def test_no_mask_is_an_empty_mask(network, tmp_path):
    """The network never says "no mask"; what SAM has there would be random numbers."""
    file = tmp_path / "made.safetensors"
    write_weights(network, file, title="made")
    with torch.no_grad():
        empty = network.prompt_encoder.mask_embedding(torch.zeros(1, 1, 8, 8))[0]
    written = load_weights(file)["prompt_encoder.no_mask_embed.weight"][0].float()
    assert torch.allclose(written, empty[:, 1, 1], atol=1e-3)


def test_the_same_weights_give_the_same_bytes(network, tmp_path):
    digests = {
        write_weights(network, tmp_path / f"{number}.safetensors", title="made") for number in range(4)
    }
    assert len(digests) == 1
